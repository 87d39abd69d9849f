"""A small folder of images with captions in COCO's form."""

import json

from PIL import Image

WAYS = ("Grey number {}.", " a number {}\n in grey ")


def coco(folder, parts=(("train2017", 6), ("val2017", 3)), annotations="annotations", images="{}", ways=WAYS):
    """Grey images; the captions of image n say n in several ways."""
    (folder / annotations).mkdir(parents=True, exist_ok=True)
    number = 0
    for split, count in parts:
        place = folder / images.format(split)
        place.mkdir(parents=True, exist_ok=True)
        listed, rows = [], []
        for _ in range(count):
            Image.new("RGB", (12, 10), (10 * number,) * 3).save(place / f"{number:03d}.png")
            listed.append({"id": 100 + number, "file_name": f"{number:03d}.png"})
            rows += [
                {"id": 2 * number + k, "image_id": 100 + number, "caption": way.format(number)}
                for k, way in enumerate(ways)
            ]
            number += 1
        about = {"images": listed, "annotations": rows[::-1], "licenses": []}
        (folder / annotations / f"captions_{split}.json").write_text(json.dumps(about))
    return folder
