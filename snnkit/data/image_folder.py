"""Images in folders by class: ``SOURCE/train/CLASS/….jpg`` and ``SOURCE/val/CLASS/….jpg`` (or ``test`` for ``val``).

Files are found by torchvision's rules; one that cannot be read stops the run or is skipped and counted, as asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets.folder import IMG_EXTENSIONS, find_classes, make_dataset
from torchvision.transforms.v2 import functional as F

from snnkit.data.config import DataConfig
from snnkit.data.order import Skipped
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError, InvalidArgumentError

# Mean and standard deviation of ImageNet's pixels, on the scale 0…1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FolderImages(Dataset):
    """(transformed image, label) by index; ``names`` are the paths.

    Args:
        samples: (path, label).
        transform: of a uint8 image (3, H, W).
        skip: return ``Skipped`` for an image that cannot be read, instead of raising.
    """

    def __init__(self, samples: Sequence[tuple[str, int]], transform: Callable[[Tensor], Tensor], skip: bool):
        self.names = [path for path, _ in samples]
        self.labels = [label for _, label in samples]
        self.transform = transform
        self.skip = skip

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        try:
            image = read_image(self.names[index])
        except CorruptFileError as error:
            if self.skip:
                return Skipped(str(error))
            raise
        return self.transform(image), self.labels[index]


def read_image(path: str | Path) -> Tensor:
    """Return an image file as uint8 (3, H, W).

    Raises:
        CorruptFileError: missing, truncated, or no image.
    """
    try:
        with Image.open(path) as file:
            return F.pil_to_tensor(file.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise CorruptFileError(
            f"{path} is not a readable image ({error}); mend or remove it, or set data.on_corrupt=skip."
        ) from None


def load(config: DataConfig) -> tuple[Dataset, Dataset, tuple[str, ...], str]:
    """Return train and test images, the classes and the origin of the folder ``config.source``.

    Raises:
        InvalidArgumentError: no such folder, no images in it, or other classes in the two splits (names them).
    """
    root = Path(config.source)
    if not root.is_dir():
        raise InvalidArgumentError(
            f"data.source={config.source!r} is not a folder: give one with train/CLASS/… and val/CLASS/… images."
        )
    if not config.img_size:
        raise InvalidArgumentError("data.img_size=0: photographs differ in size; give the side the model reads.")
    train, test = root / "train", next((root / n for n in ("val", "test") if (root / n).is_dir()), root / "val")
    classes = _classes(train)
    others = _classes(test)
    if classes != others:
        raise InvalidArgumentError(
            f"{root}: train and {test.name} have different classes: only in train {_some(set(classes) - set(others))}, "
            f"only in {test.name} {_some(set(others) - set(classes))}."
        )
    index = {name: number for number, name in enumerate(classes)}
    skip = config.on_corrupt == "skip"
    size = (0, 0)
    parts = []
    for folder, limit, transform in (
        (train, config.train_limit, for_training(config, size, MEAN, STD)),
        (test, config.test_limit, for_testing(config, size, MEAN, STD)),
    ):
        samples = make_dataset(str(folder), index, IMG_EXTENSIONS, allow_empty=True)
        if not samples:
            raise InvalidArgumentError(f"{folder} holds no images: files end in {', '.join(IMG_EXTENSIONS)}.")
        parts.append(FolderImages(samples[: limit or None], transform, skip))
    return parts[0], parts[1], tuple(classes), str(root)


def _classes(folder: Path) -> list[str]:
    try:
        return find_classes(str(folder))[0]
    except FileNotFoundError:
        raise InvalidArgumentError(
            f"{folder} holds no class folders: images belong into train/CLASS/ and val/CLASS/."
        ) from None


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:3]) or "none"
    return shown + (" …" if len(names) > 3 else "")
