"""Data set ``coco``: a folder of images whose things have boxes and perhaps outlines, in COCO's form.

Of each split the first of these files that there is, SPLIT being one of train2017, train2014, train, training and of
val2017, val2014, val, valid, validation, test:

    SOURCE/annotations/instances_SPLIT.json, SOURCE/instances_SPLIT.json         (COCO)
    SOURCE/annotations/SPLIT.json, SOURCE/SPLIT.json
    SOURCE/SPLIT/_annotations.coco.json                                          (Roboflow)
    SOURCE/SPLIT/annotations.json, instances.json, labels.json                   (labels.json: FiftyOne)

Its images lie beside it, in SOURCE/SPLIT, SOURCE/images/SPLIT, SOURCE/images, SOURCE, or in a folder images or data of
these: where the first ones that it lists are. ``coco_file`` says what is read of a file, and what is wrong in one.
Images that are not there stop, or are left out and named (``data.on_corrupt=skip``); both splits must have the same
categories. Crowds are not trained on. Images keep their shape and differ in size; ``data.img_size`` is their shorter
side (``object_transforms`` has all ways of scaling).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from snnkit.data.coco_file import Instances, Listed, coco_masks, objects_of, read_instances
from snnkit.data.coco_images import read_listed
from snnkit.data.config import DataConfig
from snnkit.data.dense import COLLATES, Dense
from snnkit.data.image_folder import MEAN, STD
from snnkit.data.object_transforms import Objects
from snnkit.data.samples import Splits
from snnkit.errors import CorruptFileError, InvalidArgumentError

_TRAIN = ("train2017", "train2014", "train", "training")
_TEST = ("val2017", "val2014", "val", "valid", "validation", "test")
_FILES = (
    *("annotations/instances_{}.json", "instances_{}.json", "annotations/{}.json", "{}.json"),
    *("{}/_annotations.coco.json", "{}/annotations.json", "{}/instances.json", "{}/labels.json"),
)
_LOOKED_AT, _SHOWN = 20, 3


class ObjectFiles:
    """A ``DenseSource`` of image files and what is on them.

    Args:
        folder: of the images.
        images: as they are listed.
        classes: names by label.
        masks: whether outlines become masks.
    """

    def __init__(self, folder: Path, images: list[Listed], classes: tuple[str, ...], masks: bool):
        self._images, self._masks, self.classes = images, masks, classes
        self.names = [str(folder / image.file) for image in images]
        self.labels = [image.rows[0].label if image.rows else 0 for image in images]

    def read(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        """Return an image uint8 (3, H, W) and its things.

        Raises:
            CorruptFileError: the image cannot be read, or is of another size than is listed.
        """
        listed = self._images[index]
        return read_listed(self.names[index], listed.size), objects_of(listed, self._masks)


def load(config: DataConfig) -> Splits:
    """Return the images of the folder ``config.source`` and what is on them.

    Raises:
        InvalidArgumentError: no such folder, no file of a split in it, splits with other categories, or settings that
            do not go together.
        CorruptFileError: a file is not of COCO's form, something in it is wrong, or images are missing.
    """
    root, skip = Path(config.source), config.on_corrupt == "skip"
    if not root.is_dir():
        raise InvalidArgumentError(f"data.source={config.source!r} is not a folder: give one in COCO's form.")
    transforms = [Objects(config, (0, 0), train, MEAN, STD) for train in (True, False)]
    places = [find_file(root, words) for words in (_TRAIN, _TEST)]
    files = [read_instances(path, skip) for path, _ in places]
    _check_categories(*files)
    for file in files:
        if not any(image.rows for image in file.images):
            raise CorruptFileError(f"{file.path}: nothing is on its {len(file.images)} images, no annotation is left.")
    masks = all(file.masks for file in files)
    if masks:
        coco_masks()
    classes, notes, parts = tuple(files[0].categories.values()), [], []
    for file, (path, split), transform in zip(files, places, transforms, strict=True):
        folder = image_folder(root, path, split, file.images)
        images, note = _there(file, folder, skip)
        notes += [*file.notes, *note]
        parts.append(Dense(ObjectFiles(folder, images, classes, masks), transform, skip))
    if not masks and any(file.masks for file in files):
        notes.append("only one of the two splits has outlines: boxes alone are read")
    return Splits(
        *parts,
        classes,
        str(root),
        notes=tuple(notes),
        targets="objects",
        collate=COLLATES["objects"],
        test_batch=1,  # sizes differ, and filled up a network would see what is not there
    )


def find_file(root: Path, words: tuple[str, ...]) -> tuple[Path, str]:
    """Return the first file of instances of a split, and what the split is called there.

    Raises:
        InvalidArgumentError: there is none; says where it was looked for.
    """
    for word in words:
        for pattern in _FILES:
            path = root / pattern.format(word)
            if path.is_file():
                return path, word
    shown = ", ".join(pattern.format(words[-1] if words is _TEST else "train") for pattern in _FILES[:5])
    raise InvalidArgumentError(
        f"data.source={root}: there is no file of instances of {words[0]} or {' or '.join(words[1:])}; it was looked "
        f"for at {shown} …"
    )


def image_folder(root: Path, path: Path, split: str, images: list[Listed]) -> Path:
    """Return the folder in which the first images of a file are."""
    places = [path.parent, root / split, root / "images" / split, root / "images", root]
    places += [place / name for place in places for name in ("images", "data")]
    for place in places:
        if any((place / image.file).is_file() for image in images[:_LOOKED_AT]):
            return place
    return next((place for place in places[1:] if place.is_dir()), root)


def _there(file: Instances, folder: Path, skip: bool) -> tuple[list[Listed], list[str]]:
    """Return the images of a file that are in the folder, and what is to be said of the others.

    Raises:
        CorruptFileError: some are missing and are not to be left out, or all are.
    """
    known = set(os.listdir(folder))  # one look for all: a hundred thousand single ones take a minute on a network
    missing = [image for image in file.images if not _is_there(image, folder, known)]
    if not missing:
        return file.images, []
    named = ", ".join(image.file for image in missing[:_SHOWN]) + (" …" if len(missing) > _SHOWN else "")
    words = f"{file.path}: {len(missing)} of its {len(file.images)} images are not in {folder}: {named}"
    if not skip or len(missing) == len(file.images):
        raise CorruptFileError(f"{words}; add them" + ("." if skip else ", or leave them out by data.on_corrupt=skip."))
    return [image for image in file.images if _is_there(image, folder, known)], [f"{words}; left out"]


def _is_there(image: Listed, folder: Path, known: set[str]) -> bool:
    return image.file in known or (os.sep in image.file and (folder / image.file).is_file())


def _check_categories(train: Instances, test: Instances) -> None:
    """Raise InvalidArgumentError where the splits' categories differ; names the first that do."""
    if train.categories == test.categories:
        return
    lines = []
    for file, other in ((train, test), (test, train)):
        own = [f"{number} {name!r}" for number, name in file.categories.items() if other.categories.get(number) != name]
        if own:
            more = f" … ({len(own)})" if len(own) > _SHOWN else ""
            lines.append(f"{file.path.name} alone has {', '.join(own[:_SHOWN])}{more}")
    raise InvalidArgumentError(
        f"data.source={train.path.parent}: the splits have other categories: {'; '.join(lines)}. Give both the same "
        "numbers and names."
    )
