"""Data set ``coco_captions``: a folder of images with captions in COCO's form, several an image.

    SOURCE/captions_train2017.json, captions_val2017.json           or in SOURCE/annotations
    SOURCE/train2017/….jpg, val2017/….jpg                           or in SOURCE/images/train2017, SOURCE/images, SOURCE

    {"images": [{"id": 9, "file_name": "9.jpg"}, …], "annotations": [{"image_id": 9, "caption": "A cat."}, …]}

The file with "train" in its name is trained on, the one with "val" or else "test" is tested on. A single file is both:
``data.holdout`` of its images, the last, are for tests. Images without captions are left out, which is said; an empty
caption stops, or is left out and counted (``data.on_corrupt``). Source of the form: cocodataset.org, "Data format".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from snnkit.data.coco_images import file_names, identity
from snnkit.data.config import DataConfig
from snnkit.data.dense import COLLATES, Dense
from snnkit.data.image_captions import Captions, Texts
from snnkit.data.image_folder import MEAN, STD, read_image
from snnkit.data.samples import Splits
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import read_json

_TESTED = ("val", "test")


@dataclass
class CaptionedFiles:
    """A ``DenseSource`` of image files: their paths, and the captions of each."""

    names: list[str] = field(default_factory=list)
    texts: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def labels(self) -> list[int]:
        """One class: parts are drawn from all images alike."""
        return [0] * len(self.names)

    def read(self, index: int) -> tuple[Tensor, Texts]:
        """Return an image and its captions.

        Raises:
            CorruptFileError: the image cannot be read; names it.
        """
        return read_image(self.names[index]), Texts(self.names[index], self.texts[index])

    def part(self, first: int, end: int) -> CaptionedFiles:
        """Return the images from one to before another."""
        return CaptionedFiles(self.names[first:end], self.texts[first:end])


def is_whole(text: str) -> bool:
    """Whether no half of a character is in a text, as JSON can hold, and no file in UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def load(config: DataConfig) -> Splits:
    """Return the images of the folder ``config.source`` with their captions.

    Raises:
        InvalidArgumentError: no such folder, no captions in it, or images for one split only.
        CorruptFileError: a file of captions cannot be read, names an image it does not list, or has an empty caption.
    """
    root, skip = Path(config.source), config.on_corrupt == "skip"
    notes: list[str] = []
    train, test = _splits(root, config.holdout, skip, notes)
    size = (config.img_size, config.img_size)
    made = [
        Dense(source, Captions(config, size, training, MEAN, STD), skip)
        for source, training in ((train, True), (test, False))
    ]
    return Splits(
        made[0],
        made[1],
        (),
        str(root),
        notes=tuple(notes),
        tokens=made[0].transform.tokens,  # type: ignore[attr-defined]
        targets="captions",
        collate=COLLATES["captions"],
    )


def _splits(root: Path, holdout: float, skip: bool, notes: list[str]) -> tuple[CaptionedFiles, CaptionedFiles]:
    """Read both splits; what was left out is added to ``notes``."""
    files = sorted([*root.glob("captions_*.json"), *(root / "annotations").glob("captions_*.json")])
    if not files:
        raise InvalidArgumentError(
            f"data.source={root}: holds no captions_*.json, nor does its folder annotations; give the folder of a set "
            "in COCO's form."
        )
    if len(files) == 1:
        whole = read_captions(files[0], image_folder(root, files[0]), skip, notes)
        tested = max(round(len(whole.names) * holdout), 1)
        if len(whole.names) < 2:
            raise InvalidArgumentError(f"{files[0]}: lists {len(whole.names)} images with captions; two are needed.")
        return whole.part(0, len(whole.names) - tested), whole.part(len(whole.names) - tested, len(whole.names))
    trained = [file for file in files if "train" in file.stem]
    tested_on = next((found for word in _TESTED if (found := [file for file in files if word in file.stem])), [])
    if len(trained) != 1 or len(tested_on) != 1:
        raise InvalidArgumentError(
            f"data.source={root}: holds {', '.join(file.name for file in files)}; one captions_train….json and one "
            "captions_val….json are needed, or a single file."
        )
    train, test = (read_captions(file, image_folder(root, file), skip, notes) for file in (trained[0], tested_on[0]))
    return train, test


def image_folder(root: Path, captions: Path) -> Path:
    """Return where the images of a file of captions lie: what there is first of the places above.

    Raises:
        InvalidArgumentError: the source is no folder.
    """
    if not root.is_dir():
        raise InvalidArgumentError(f"data.source={root}: there is no such folder.")
    split = captions.stem.removeprefix("captions_")
    places = (root / split, root / "images" / split, root / "images")
    return next((place for place in places if place.is_dir()), root)


def read_captions(path: Path, folder: Path, skip: bool, notes: list[str]) -> CaptionedFiles:
    """Return the images that a file lists and that have captions.

    Args:
        path: of the file.
        folder: of the images.
        skip: leave empty captions out, instead of raising.
        notes: a line is added for what was left out.

    Raises:
        CorruptFileError: no JSON of that form, an annotation of an image that is not listed, or an empty caption.
    """
    found: Any = read_json(path)
    try:
        files = file_names(found["images"])
        rows = [(identity(row["image_id"]), row["caption"]) for row in found["annotations"]]
    except (TypeError, KeyError, ValueError) as error:
        what = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise CorruptFileError(
            f"{path} is not in COCO's form of captions ({what}): images with id and file_name, annotations with "
            "image_id and caption."
        ) from None
    texts: dict[Any, list[str]] = {number: [] for number in files}
    empty = 0
    for number, (image, text) in enumerate(rows, 1):
        if image not in texts:
            raise CorruptFileError(f"{path}: annotation {number} is of image {image}, which is not among its images.")
        if isinstance(text, str) and text.strip() and is_whole(text):
            texts[image].append(" ".join(text.split()))
        elif skip:
            empty += 1
        else:
            raise CorruptFileError(
                f"{path}: annotation {number}, of {files[image]}, has a caption that is empty or no text; mend it, "
                "or set data.on_corrupt=skip."
            )
    kept = [image for image in files if texts[image]]
    left = [f"{empty} captions that are empty or no text"] * bool(empty)
    left += [f"{len(files) - len(kept)} of {len(files)} images, which have no caption"] * (len(kept) < len(files))
    if left:
        notes.append(f"{path.name}: {' and '.join(left)} left out")
    if not kept:
        raise CorruptFileError(f"{path}: no image of it has a caption.")
    return CaptionedFiles([str(folder / files[image]) for image in kept], [tuple(texts[image]) for image in kept])
