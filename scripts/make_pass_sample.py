"""Make the small PASS-shaped set that tests read: crops of photographs that may be given to anybody.

    pip install scikit-image==0.26.0
    python scripts/make_pass_sample.py

The photographs come with scikit-image, whose documentation names their makers and says that they are CC0 or in the
public domain; none shows people. Each crop is a JPEG named by the MD5 of its bytes, in PASS's layout, with a table of
PASS's columns and one more, ``licence``.
"""

import csv
import hashlib
import io
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "pass_sample"
SIDE, QUALITY = 72, 85
# File of scikit-image: creator, licence, date taken, latitude, longitude. Empty: not known.
PHOTOGRAPHS = {
    "chelsea.png": ("Stefan van der Walt", "CC0-1.0", "", "", ""),
    "clock_motion.png": ("Stefan van der Walt", "public domain", "", "", ""),
    "coffee.png": ("Rachel Michetti, Pikolo Espresso Bar", "CC0-1.0", "", "", ""),
    "rocket.jpg": ("SpaceX", "public domain", "2015-02-11 23:03:00.0", "28.5620", "-80.5772"),
    "hubble_deep_field.jpg": ("NASA, ESA", "public domain", "", "", ""),
    "brick.png": ("CC0Textures", "CC0-1.0", "", "", ""),
    "gravel.png": ("CC0Textures", "CC0-1.0", "", "", ""),
    "grass.png": ("linolafett", "CC0-1.0", "", "", ""),
}


def crops(image: Image.Image) -> list[Image.Image]:
    """Return three squares along the diagonal, at half of the image's size."""
    image = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    places = [((image.width - SIDE) * n // 2, (image.height - SIDE) * n // 2) for n in range(3)]
    return [image.crop((x, y, x + SIDE, y + SIDE)) for x, y in places]


def main() -> None:
    """Write images and table."""
    import skimage

    source = Path(skimage.__file__).parent / "data"
    rows = []
    for number, (file, about) in enumerate(PHOTOGRAPHS.items()):
        with Image.open(source / file) as photograph:
            kind = "L" if photograph.mode == "L" else "RGB"
            pieces = crops(photograph.convert(kind))
        for piece in pieces:
            buffer = io.BytesIO()
            piece.save(buffer, "JPEG", quality=QUALITY)
            name = hashlib.md5(buffer.getvalue()).hexdigest()
            path = FOLDER / "PASS_dataset" / str(number % 2) / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(buffer.getvalue())
            creator, licence, date, latitude, longitude = about
            rows.append([name, creator, date, latitude, longitude, licence])
    with open(FOLDER / "pass_metadata.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["hash", "unickname", "datetaken", "latitude", "longitude", "licence"])
        writer.writerows(sorted(rows))
    print(f"wrote {len(rows)} images into {FOLDER.name}")


if __name__ == "__main__":
    main()
