"""From a data set's name to batches. To add a data set: a module with ``load``, and its line in ``DATASETS``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from snnkit.data import fashion_mnist, image_folder
from snnkit.data.batches import Batches
from snnkit.data.config import DataConfig
from snnkit.data.order import EpochOrder, Skipped
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError, unknown_name


@dataclass(frozen=True)
class ImageData:
    """Two splits ready to be looped over, and what is known about them."""

    train: Batches
    test: DataLoader
    classes: tuple[str, ...]
    origin: str

    def share(self, rank: int, world: int) -> None:
        """Keep the part of process ``rank`` of ``world``; test images are dealt out without repetition."""
        self.train.share(rank, world)
        if world > 1:
            part = torch.utils.data.Subset(self.test.dataset, range(rank, len(self.test.dataset), world))  # type: ignore[arg-type]
            object.__setattr__(self, "test", _test_loader(part, self.test.batch_size))


@dataclass(frozen=True)
class Splits:
    """A data set as its module gives it.

    Attributes:
        train, test: samples by index: (image uint8 (C, H, W), label), transformed by what they are given.
        classes: names by label.
        origin: where it came from, for the record.
    """

    train: Dataset
    test: Dataset
    classes: tuple[str, ...]
    origin: str


class ArrayImages(Dataset):
    """(transformed image, label int) by index, from arrays uint8 (N, H, W) or (N, C, H, W)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Any):
        images = np.array(images)
        self.images = torch.from_numpy(images[:, None] if images.ndim == 3 else images)
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def array_splits(config: DataConfig, arrays: Any, mean: Sequence[float], std: Sequence[float]) -> Splits:
    """Make splits of a whole image set in memory (``fashion_mnist.ImageArrays``)."""
    size = tuple(arrays.x_train.shape[-2:])
    train, test = config.train_limit or None, config.test_limit or None
    return Splits(
        ArrayImages(arrays.x_train[:train], arrays.y_train[:train], for_training(config, size, mean, std)),
        ArrayImages(arrays.x_test[:test], arrays.y_test[:test], for_testing(config, size, mean, std)),
        arrays.classes,
        arrays.origin,
    )


def _fashion_mnist(config: DataConfig) -> Splits:
    arrays = fashion_mnist.load(config.source)
    return array_splits(config, arrays, [fashion_mnist.MEAN], [fashion_mnist.STD])


def _image_folder(config: DataConfig) -> Splits:
    return Splits(*image_folder.load(config))


DATASETS = {"fashion_mnist": _fashion_mnist, "image_folder": _image_folder}


def load_images(config: DataConfig, seed: int) -> ImageData:
    """Load a data set and wrap its splits in loaders; training order and augmentation follow from ``seed``.

    Raises:
        UnknownNameError: no such data set.
        InvalidArgumentError: a setting outside its range.
        CorruptFileError: files are missing or damaged.
    """
    if config.dataset not in DATASETS:
        raise unknown_name("dataset", config.dataset, DATASETS)
    config.check()
    splits = DATASETS[config.dataset](config)
    order = EpochOrder(len(splits.train), config.batch_size, seed, config.repeats)  # type: ignore[arg-type]
    return ImageData(
        train=Batches(splits.train, order, workers=config.workers),
        test=_test_loader(splits.test, max(config.batch_size, 100)),
        classes=splits.classes,
        origin=splits.origin,
    )


def _test_loader(dataset: Dataset, batch_size: int | None) -> DataLoader:
    """Test images in their order; one that cannot be read is left out."""
    # A generator of its own: see ``Batches``.
    return DataLoader(dataset, batch_size, collate_fn=_readable, generator=torch.Generator())


def _readable(samples: list[Any]) -> Any:
    good = [sample for sample in samples if not isinstance(sample, Skipped)]
    if not good:
        raise CorruptFileError(f"nothing of a batch of {len(samples)} could be read, first: {samples[0].reason}")
    return default_collate(good)
