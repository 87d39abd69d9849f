"""Data set ``pixel_folder``: images with a map of classes each, in one of three layouts below ``data.source``.

    ADE20K   images/training/NAME.jpg, annotations/training/NAME.png; validation likewise. 0 is "none of them" and
             counts as unknown, k + 1 is class k; names from objectInfo150.txt where it lies beside them
    VOC      JPEGImages/NAME.jpg, SegmentationClass/NAME.png, ImageSets/Segmentation/train.txt and val.txt; 255 unknown
    plain    images/train/NAME.*, maps/train/NAME.png; val likewise; 255 unknown; names, a line each, from classes.txt

Training images are scaled and cut to ``data.img_size``; tests see each as it is. A map without an image, an image
without a map and a class that nothing names are said by name.

Sources: Zhou et al., "Scene Parsing through ADE20K Dataset", CVPR 2017; Everingham et al., "The PASCAL Visual Object
Classes Challenge", IJCV 2010.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision import tv_tensors
from torchvision.datasets.folder import IMG_EXTENSIONS

from snnkit.data.config import DataConfig
from snnkit.data.dense import COLLATES, IGNORED, Dense, Maps
from snnkit.data.image_folder import MEAN, STD, read_image
from snnkit.data.samples import Splits
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import read_lines, read_names

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
ADE_CLASSES = 150
_SHOWN = 3


class PixelFiles:
    """A ``DenseSource`` of image files and map files.

    Args:
        pairs: (image, map).
        classes: names.
        from_one: whether 0 in a map is unknown, and k + 1 class k.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], classes: Sequence[str], from_one: bool):
        self._pairs, self._classes, self._from_one = pairs, classes, from_one
        self.names = [str(image) for image, _ in pairs]
        self.labels = [0] * len(pairs)  # no image is of one class

    def read(self, index: int) -> tuple[Tensor, tv_tensors.Mask]:
        """Return an image uint8 (3, H, W) and its classes uint8 (H, W).

        Raises:
            CorruptFileError: one of the two cannot be read, they differ in size, or a class has no name.
        """
        image_file, map_file = self._pairs[index]
        image, classes = read_image(image_file), read_map(map_file)
        if self._from_one:
            classes = torch.where(classes == 0, IGNORED, classes.int() - 1).to(torch.uint8)
        if image.shape[1:] != classes.shape:
            raise CorruptFileError(
                f"{map_file}: {classes.shape[1]} by {classes.shape[0]} pixels, its image has {image.shape[2]} by "
                f"{image.shape[1]}; mend or remove it, or set data.on_corrupt=skip."
            )
        known = classes[classes != IGNORED]
        if known.numel() and int(known.max()) >= len(self._classes):
            raise CorruptFileError(
                f"{map_file}: holds class {int(known.max()) + self._from_one}, but there are {len(self._classes)}; "
                "name it (classes.txt), or set data.on_corrupt=skip."
            )
        return image, tv_tensors.Mask(classes)


_SCALED = {"L;2": 85, "L;4": 17}
"""What Pillow multiplies grey numbers of fewer than eight bits with, so that the largest is 255."""


def read_map(file: Path) -> Tensor:
    """Return the numbers that a file holds for its pixels, uint8 (H, W): of grey images, or indices of a palette.

    Raises:
        CorruptFileError: missing, no image, or one of colours.
    """
    try:
        with Image.open(file) as image:
            if image.mode not in ("L", "P"):
                raise ValueError(f"of mode {image.mode}; one number of eight bits a pixel is read")
            scale = _SCALED.get(image.tile[0][3], 1) if image.tile and isinstance(image.tile[0][3], str) else 1
            return torch.from_numpy(np.array(image, dtype=np.uint8) // scale)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise CorruptFileError(f"{file} is no readable map ({error}); mend it, or set data.on_corrupt=skip.") from None


def load(config: DataConfig) -> Splits:
    """Return images with maps.

    Raises:
        InvalidArgumentError: no such folder, none of the layouts, or no size to train at.
        CorruptFileError: a list or a file cannot be read.
    """
    root = Path(config.source)
    if not root.is_dir():
        raise InvalidArgumentError(f"data.source={config.source!r} is not a folder: give one of images and maps.")
    if not config.img_size:
        raise InvalidArgumentError("data.img_size=0: give the side in pixels of the parts that are trained on.")
    train, test, classes, from_one, notes = _layout(root)
    skip, side = config.on_corrupt == "skip", config.img_size
    return Splits(
        Dense(PixelFiles(train, classes, from_one), Maps(config, (side, side), True, MEAN, STD), skip),
        Dense(PixelFiles(test, classes, from_one), Maps(config, (0, 0), False, MEAN, STD), skip),
        classes,
        str(root),
        notes=notes,
        targets="maps",
        collate=COLLATES["maps"],
        test_batch=1,  # sizes differ, and filled up a network would see what is not there
    )


_Pairs = list[tuple[Path, Path]]


def _layout(root: Path) -> tuple[_Pairs, _Pairs, tuple[str, ...], bool, tuple[str, ...]]:
    """Return training and test pairs, classes, whether classes count from one, and what was left out."""
    notes: list[str] = []
    if (root / "annotations" / "training").is_dir():
        parts = [_paired(root / "images" / p, root / "annotations" / p, notes) for p in ("training", "validation")]
        return parts[0], parts[1], _ade_classes(root), True, tuple(notes)
    lists = root / "ImageSets" / "Segmentation"
    if lists.is_dir():
        parts = [_listed(root, lists / f"{part}.txt") for part in ("train", "val")]
        return parts[0], parts[1], VOC_CLASSES, False, ()
    if (root / "maps").is_dir():
        parts = [_paired(root / "images" / p, root / "maps" / p, notes) for p in ("train", "val")]
        file = root / "classes.txt"
        if not file.exists():
            raise InvalidArgumentError(f"{root} lacks classes.txt: the name of every class, a line each, from 0 on.")
        return parts[0], parts[1], tuple(read_names(file)), False, tuple(notes)
    raise InvalidArgumentError(
        f"{root} is of no known layout: annotations/training (ADE20K), ImageSets/Segmentation (VOC), or images/train "
        "and maps/train."
    )


def _paired(images: Path, maps: Path, notes: list[str]) -> _Pairs:
    """Return images and maps of one name; what has no partner is noted."""
    for folder in (images, maps):
        if not folder.is_dir():
            raise InvalidArgumentError(f"{folder} is not a folder; it is to hold {folder.parent.name}.")
    files = [p for p in sorted(images.iterdir()) if p.suffix.lower() in IMG_EXTENSIONS]
    found = {p.stem: p for p in files}
    if twice := next((p for p in files if found[p.stem] != p), None):
        raise InvalidArgumentError(
            f"{images} holds {twice.name} and {found[twice.stem].name}, and one map is for both; keep one of them."
        )
    drawn = {p.stem: p for p in sorted(maps.iterdir()) if p.suffix.lower() == ".png"}
    for missing, what in ((sorted(set(found) - set(drawn)), "map"), (sorted(set(drawn) - set(found)), "image")):
        if missing:
            more = f" … ({len(missing)} in all)" if len(missing) > _SHOWN else ""
            notes.append(f"{images.name}: no {what} for {', '.join(missing[:_SHOWN])}{more}; left out")
    both = sorted(set(found) & set(drawn))
    if not both:
        raise InvalidArgumentError(f"{images} and {maps} have no image and map of one name.")
    return [(found[name], drawn[name]) for name in both]


def _listed(root: Path, file: Path) -> _Pairs:
    if not file.exists():
        raise InvalidArgumentError(f"{file} is missing: the names of its images, a line each.")
    names = read_lines(file)
    if not names:
        raise InvalidArgumentError(f"{file} names no image.")
    return [(root / "JPEGImages" / f"{name}.jpg", root / "SegmentationClass" / f"{name}.png") for name in names]


def _ade_classes(root: Path) -> tuple[str, ...]:
    """Names of ADE20K's classes from its own table (index, ratio, train, val, names, tab-separated), else numbers."""
    file = root / "objectInfo150.txt"
    if not file.exists():
        return tuple(f"class {number}" for number in range(1, ADE_CLASSES + 1))
    rows = [line.split("\t") for line in read_lines(file)[1:]]
    if len(rows) != ADE_CLASSES or any(len(row) < 2 for row in rows):
        raise CorruptFileError(f"{file} has {len(rows)} classes, ADE20K has {ADE_CLASSES}; fetch it again.")
    return tuple(row[-1].split(",")[0].strip() for row in rows)
