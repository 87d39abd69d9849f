"""From a data set's name to batches. To add a data set: a module with ``load``, and its line in ``DATASETS``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from snnkit.data import (
    captioned_fashion_mnist,
    captioned_folder,
    captioned_photographs,
    coco,
    coco_captions,
    coco_keypoints,
    event_folder,
    fashion_mnist,
    image_folder,
    moving_things,
    pair_shards,
    parts,
    pass_images,
    photographs,
    pixel_folder,
    scene_sets,
    single_things,
    tar_shards,
    video_folder,
    video_lists,
)
from snnkit.data.batches import Batches, OrderedBatches
from snnkit.data.config import DataConfig
from snnkit.data.dense import check_augmentations
from snnkit.data.order import EpochOrder, Skipped
from snnkit.data.samples import Splits
from snnkit.data.tokens import BytePairs, Bytes
from snnkit.data.transforms import for_testing, for_training
from snnkit.errors import CorruptFileError, InvalidArgumentError, unknown_name


@dataclass(frozen=True)
class ImageData:
    """Two splits ready to be looped over, and what is known about them; ``validation`` is set aside of training.

    ``frames``, ``time_first``, ``views``, ``notes``, ``tokens``, ``prompts`` and ``targets`` are those of ``Splits``. A
    test batch of B samples in several views holds B · views of them, those of one sample side by side, and B labels.
    """

    train: Batches
    test: OrderedBatches
    classes: tuple[str, ...]
    origin: str
    frames: int = 0
    time_first: bool = False
    views: int = 1
    validation: OrderedBatches | None = None
    notes: tuple[str, ...] = ()
    tokens: Bytes | BytePairs | None = None
    prompts: torch.Tensor | None = None
    targets: str = "labels"

    @cached_property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a view of the first test sample that can be read: (C, H, W), (C, F, H, W), time first (T, C, H, W).

        Raises:
            CorruptFileError: none can be read.
        """
        dataset: Any = self.test.dataset
        for index in range(len(dataset)):
            found = dataset[index]
            if not isinstance(found, Skipped):
                first = found[0][0] if isinstance(found[0], list) else found[0]
                return tuple(first.shape[1 if self.views > 1 else 0 :])
        raise CorruptFileError(f"no test sample of {self.origin} can be read.")

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image, or of a frame."""
        shape = self.sample_shape
        return shape[1 if self.time_first else 0], shape[-2], shape[-1]

    def batch_shape(self, size: int) -> tuple[int, ...]:
        """Shape of a batch of so many samples."""
        shape = self.sample_shape
        return (shape[0], size, *shape[1:]) if self.time_first else (size, *shape)

    def share(self, rank: int, world: int) -> None:
        """Keep the part of process ``rank`` of ``world``; test images are dealt out without repetition."""
        self.train.share(rank, world)
        for name in ("test", "validation"):
            whole = getattr(self, name)
            if world > 1 and whole is not None:
                part = torch.utils.data.Subset(whole.dataset, range(rank, len(whole.dataset), world))
                loader = OrderedBatches(part, whole.batch_size, whole.collate, whole.workers, self.views)
                object.__setattr__(self, name, loader)


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
    return Splits(
        ArrayImages(arrays.x_train, arrays.y_train, for_training(config, size, mean, std)),
        ArrayImages(arrays.x_test, arrays.y_test, for_testing(config, size, mean, std)),
        arrays.classes,
        arrays.origin,
    )


def _fashion_mnist(config: DataConfig) -> Splits:
    arrays = fashion_mnist.load(config.source)
    return array_splits(config, arrays, [fashion_mnist.MEAN], [fashion_mnist.STD])


DATASETS: dict[str, Callable[[DataConfig], Splits]] = {
    "fashion_mnist": _fashion_mnist,
    "captioned_fashion_mnist": captioned_fashion_mnist.load,
    "captioned_folder": captioned_folder.load,
    "captioned_photographs": captioned_photographs.load,
    "coco": coco.load,
    "coco_captions": coco_captions.load,
    "coco_keypoints": coco_keypoints.load,
    "image_folder": image_folder.load,
    "photographs": photographs.load,
    "pixel_folder": pixel_folder.load,
    "scenes": scene_sets.load,
    "moving_things": moving_things.load,
    "tar_shards": tar_shards.load,
    "pair_shards": pair_shards.load,
    "video_folder": video_folder.load,
    "single_things": single_things.load,
    "video_lists": video_lists.load,
    "event_folder": event_folder.load,
    "pass": pass_images.load,
}


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
    _check_splits(config, splits)
    train = parts.limited(splits.train, config.train_limit, config.sample_seed)
    test, validation = parts.limited(splits.test, config.test_limit, config.sample_seed), None
    if config.validation:
        train, validation = parts.set_aside(train, test, config.validation, config.sample_seed)
    runs = parts.stretches(splits.runs, train)
    order = EpochOrder(len(train), config.batch_size, seed, config.repeats, runs=runs, window=config.shuffle_window)
    # A hundred images are little; as many clips may not fit into memory.
    batch_size = max(config.batch_size // splits.views, 1) if splits.frames else max(config.batch_size, 100)
    if splits.targets != "labels":
        batch_size = splits.test_batch or config.batch_size

    collate = time_first if splits.time_first else splits.collate

    def batches(dataset: Dataset) -> OrderedBatches:
        return OrderedBatches(dataset, batch_size, collate or default_collate, config.workers, splits.views)

    return ImageData(
        train=Batches(train, order, collate, config.workers),
        test=batches(test),
        classes=splits.classes,
        origin=splits.origin,
        frames=splits.frames,
        time_first=splits.time_first,
        views=splits.views,
        validation=None if validation is None else batches(validation),
        notes=splits.notes,
        tokens=splits.tokens,
        prompts=splits.prompts,
        targets=splits.targets,
    )


def _check_splits(config: DataConfig, splits: Splits) -> None:
    """Refuse settings that this data set has no use for, and targets that it does not have."""
    if splits.targets != (config.targets or "labels"):
        raise InvalidArgumentError(
            f"data.dataset={config.dataset}: has {splits.targets}, and {config.targets or 'labels'} are asked for; "
            "give a data set that has them (scenes has all but labels)."
        )
    if splits.targets != "labels":
        check_augmentations(config)
    if splits.views != config.test_clips * config.test_crops:
        raise InvalidArgumentError(
            f"data.test_clips={config.test_clips}, test_crops={config.test_crops}: {config.dataset} has "
            f"{splits.views} view{'s' if splits.views > 1 else ''} of a test sample; leave at 1 what it does not take."
        )
    for key in ("frames", "time_first"):
        if getattr(config, key) and not getattr(splits, key):
            raise InvalidArgumentError(
                f"data.{key}={getattr(config, key)}: {config.dataset} has still images; leave it at its default."
            )
    if config.views and splits.frames:
        raise InvalidArgumentError(f"data.views={config.views}: {config.dataset} has no still images; leave it empty.")


def time_first(samples: list[Any]) -> Any:
    """Make a batch (T, B, C, H, W), labels (B,) of sequences (T, C, H, W) and labels."""
    sequences, labels = zip(*samples, strict=True)
    return torch.stack(sequences, 1), torch.tensor(labels)
