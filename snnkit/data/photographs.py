"""Crops of a few photographs: each is a class, training crops come from its left part, test crops from its right part.

``data.source`` is a folder of images, or "auto" for sixteen photographs that the library scikit-image holds. A crop is
square, and between a fifth and a half of the photograph's shorter side; it is stored at 64 pixels. The two parts share
no pixel, so that a network is asked whether it knows the stuff of a photograph and not its spots. Which crops there are
follows from the names of the files alone.

The photographs of scikit-image have licences of their own, which stand in its file ``skimage/data/README`` and in the
docstrings of ``skimage.data``; most are in the public domain.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from snnkit.data.config import DataConfig
from snnkit.data.image_folder import MEAN, STD, read_image
from snnkit.data.samples import Samples, Splits
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import InvalidArgumentError

SIDE = 64
TRAIN_CROPS, TEST_CROPS = 400, 50
_TRAIN_SHARE, _SHARES = 0.6, (0.2, 0.5)
_SMALLEST = 40  # pixels of a photograph's shorter side, so that a crop has eight
SCIKIT_IMAGE = (
    *("astronaut", "brick", "camera", "cell", "chelsea", "clock_motion", "coffee", "coins", "grass", "gravel"),
    *("hubble_deep_field", "ihc", "moon", "motorcycle_left", "retina", "rocket"),
)


@dataclass(frozen=True)
class Crop:
    """Where a crop lies: of photograph ``photo``, top, left and side in pixels; ``height`` where its centre is, 0…1."""

    photo: int
    top: int
    left: int
    side: int
    height: float


class Crops:
    """A ``Source`` of crops, uint8 (3, 64, 64).

    Args:
        files: the photographs; kept, for whoever asks whether they have changed.
        train: of their left parts; else of the right ones.
        count: of each photograph.

    Raises:
        CorruptFileError: a photograph cannot be read.
        InvalidArgumentError: one is too small.
    """

    def __init__(self, files: Sequence[Path], train: bool, count: int):
        self.files = tuple(files)
        self.photographs = [read_image(file) for file in files]
        self.crops: list[Crop] = []
        for number, (file, image) in enumerate(zip(files, self.photographs, strict=True)):
            if min(image.shape[1:]) < _SMALLEST:
                raise InvalidArgumentError(
                    f"{file}: {image.shape[2]} by {image.shape[1]} pixels; crops want {_SMALLEST} at least."
                )
            drawn = random.Random(f"{file.stem} {train}")
            self.crops += [_drawn(drawn, number, image, train) for _ in range(count)]
        # One of each photograph after the other, so that the first so many are of all.
        self.crops = [self.crops[p * count + n] for n in range(count) for p in range(len(files))]
        self.labels = [crop.photo for crop in self.crops]
        self.names = [f"{files[c.photo].name} {c.side}x{c.side}+{c.left}+{c.top}" for c in self.crops]

    def __len__(self) -> int:
        return len(self.crops)

    def read(self, index: int) -> Tensor:
        """Return a crop."""
        crop = self.crops[index]
        part = vision.crop(self.photographs[crop.photo], crop.top, crop.left, crop.side, crop.side)
        return vision.resize(part, [SIDE, SIDE], interpolation=v2.InterpolationMode.BICUBIC, antialias=True)


def _drawn(drawn: random.Random, photo: int, image_CHW: Tensor, train: bool) -> Crop:
    height, width = image_CHW.shape[1:]
    border = round(width * _TRAIN_SHARE)
    first, last = (0, border) if train else (border, width)
    side = min(round(min(height, width) * drawn.uniform(*_SHARES)), last - first)
    top, left = drawn.randint(0, height - side), drawn.randint(first, last - side)
    return Crop(photo, top, left, side, (top + side / 2) / height)


def find_photographs(source: str) -> list[Path]:
    """Return the image files of a folder in the order of their names, or scikit-image's.

    Raises:
        InvalidArgumentError: no such folder, fewer than two images in it, two of one name, or no scikit-image.
    """
    if source == "auto":
        return _of_scikit_image()
    root = Path(source)
    if not root.is_dir():
        raise InvalidArgumentError(f"data.source={source!r} is not a folder: give one of images, or auto.")
    found = sorted(p for p in root.iterdir() if p.suffix.lower() in IMG_EXTENSIONS and not p.name.startswith("."))
    found.sort(key=lambda path: path.stem)
    if len(found) < 2:
        raise InvalidArgumentError(f"{root} holds {len(found)} images: two at least are to be told apart.")
    twice = [b for a, b in itertools.pairwise(found) if a.stem == b.stem]
    if twice:
        raise InvalidArgumentError(f"{root}: two images are called {twice[0].stem}; rename one, names are classes.")
    return found


def _of_scikit_image() -> list[Path]:
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise InvalidArgumentError(
            "data.source=auto takes photographs of scikit-image, which is not installed: pip install "
            "'snnkit[photographs]', or set data.source to a folder of images."
        )
    folder = Path(found.submodule_search_locations[0]) / "data"
    files = [next((p for p in folder.glob(f"{name}.*")), folder / f"{name}.png") for name in SCIKIT_IMAGE]
    return [path for path in files if path.is_file()]


def origin(files: Sequence[Path], source: str) -> str:
    """Return where the photographs are from, for the record."""
    return f"{len(files)} photographs of scikit-image" if source == "auto" else f"{len(files)} photographs of {source}"


def load(config: DataConfig) -> Splits:
    """Return crops, labelled by photograph.

    Raises:
        InvalidArgumentError: as for ``find_photographs``, or one is too small.
        CorruptFileError: one cannot be read.
    """
    files, skip, size = find_photographs(config.source), config.on_corrupt == "skip", (SIDE, SIDE)
    return Splits(
        Samples(Crops(files, True, TRAIN_CROPS), for_training(config, size, MEAN, STD), skip),
        Samples(Crops(files, False, TEST_CROPS), for_testing(config, size, MEAN, STD), skip),
        tuple(file.stem for file in files),
        origin(files, config.source),
    )
