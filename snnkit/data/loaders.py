"""From image arrays to batches: augmentation by torchvision, batching by torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from snnkit.data import fashion_mnist
from snnkit.errors import InvalidArgumentError, unknown_name


@dataclass
class DataConfig:
    """Which images, and how they are fed.

    ``dataset`` is a name in ``DATASETS``; ``source`` says where it lies (see the dataset's module); ``train_limit`` and
    ``test_limit`` keep only the first so many images (0 = all); ``workers`` processes augment (0 = the training one).
    """

    dataset: str = "fashion_mnist"
    source: str = "auto"
    batch_size: int = 64
    shift_pixels: int = 2
    flip: bool = True
    train_limit: int = 0
    test_limit: int = 0
    workers: int = 0


@dataclass(frozen=True)
class ImageData:
    """Two splits ready to be looped over, and what is known about them."""

    train: DataLoader
    test: DataLoader
    classes: tuple[str, ...]
    origin: str


DATASETS = {"fashion_mnist": fashion_mnist}


class _Images(Dataset):
    """(image float (C, H, W) normalised, label int) by index."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: v2.Transform):
        self.images = torch.from_numpy(np.array(images)).unsqueeze(1)
        self.labels = torch.from_numpy(labels.astype(np.int64))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def load_images(config: DataConfig, seed: int) -> ImageData:
    """Load a data set and wrap its splits in loaders; the training order follows from ``seed``.

    Raises:
        UnknownNameError: no such data set.
        InvalidArgumentError: a setting outside its range.
        CorruptFileError: files are missing or damaged.
    """
    if config.dataset not in DATASETS:
        raise unknown_name("dataset", config.dataset, DATASETS)
    if config.batch_size < 1:
        raise InvalidArgumentError(f"data.batch_size={config.batch_size}: must be ≥ 1.")
    for key in ("shift_pixels", "train_limit", "test_limit", "workers"):
        if getattr(config, key) < 0:
            raise InvalidArgumentError(f"data.{key}={getattr(config, key)}: must be ≥ 0.")
    module = DATASETS[config.dataset]
    arrays = module.load(config.source)
    plain = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([module.MEAN], [module.STD])]
    augment: list[v2.Transform] = []
    if config.flip:
        augment.append(v2.RandomHorizontalFlip())
    if config.shift_pixels:
        augment.append(v2.RandomCrop(arrays.x_train.shape[1:], padding=config.shift_pixels))

    def split(images: np.ndarray, labels: np.ndarray, limit: int, transform: list[v2.Transform]) -> _Images:
        end = limit or len(labels)
        return _Images(images[:end], labels[:end], v2.Compose(transform))

    train = split(arrays.x_train, arrays.y_train, config.train_limit, [*augment, *plain])
    test = split(arrays.x_test, arrays.y_test, config.test_limit, plain)
    order = torch.Generator().manual_seed(seed)
    return ImageData(
        train=DataLoader(
            train,
            config.batch_size,
            shuffle=True,
            generator=order,
            drop_last=len(train) >= config.batch_size,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        ),
        test=DataLoader(test, max(config.batch_size, 100)),
        classes=arrays.classes,
        origin=arrays.origin,
    )
