"""Features of both splits of a data set, computed once of images as they are tested: no augmentation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from snnkit.data import DataConfig, ImageData, load_images
from snnkit.data.batches import OrderedBatches
from snnkit.data.loaders import ArrayImages, time_first
from snnkit.data.order import Skipped
from snnkit.data.parts import Part, as_tested
from snnkit.data.samples import Samples
from snnkit.errors import InvalidArgumentError, NonFiniteError, SnnkitError
from snnkit.probing.cache import FeatureCache
from snnkit.probing.encoder import Encoder
from snnkit.tasks.pretraining import feature_spread

Watch = Callable[[Iterator[Any], str, int], Iterator[Any]]
_VERSION = 1  # of how features are computed: another one makes kept ones invalid
_ALIKE = 1e-5  # deviation, as a share of the largest feature, up to which features count as equal
_WITNESSES = 8  # samples whose transformed pixels stand for the transform


class CollapsedError(SnnkitError, ArithmeticError):
    """All images have the same features: no probe of them would measure anything."""


@dataclass(frozen=True)
class Split:
    """Features float32 (N, F) and labels int64 (N,) of the images of one split."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class Features:
    """What probes read.

    Attributes:
        train, test: of both splits.
        classes: their names.
        key: of encoder, data and transform; features of another key are others.
        pooling: what the features are.
        notes: what was done to the images that a reader must know.
        skipped: images that could not be read.
    """

    train: Split
    test: Split
    classes: tuple[str, ...]
    key: str = ""
    pooling: str = ""
    notes: tuple[str, ...] = ()
    skipped: int = 0

    @property
    def spread(self) -> float:
        """How much the directions of the test features differ, from 0 (collapsed) to about 1."""
        return float(feature_spread(self.test.x))

    @property
    def silent(self) -> int:
        """Images of both splits whose features are all zero: no spike came."""
        return sum(int((~split.x.any(1)).sum()) for split in (self.train, self.test))


@dataclass(frozen=True)
class Feeding:
    """Both splits as an encoder of some channels reads them, batch by batch."""

    data: ImageData
    train: OrderedBatches
    channels: int

    @property
    def note(self) -> str:
        """What is done to the images; "" if nothing."""
        return "grey images repeated to three channels" if self.channels != self.data.image_shape[0] else ""

    def drawn(self, seed: int, count: int = 16) -> Iterator[Tensor]:
        """Yield the images of ``count`` training batches drawn at random, as training would; whole ones where it can.

        Args:
            seed: of the draw.
            count: of batches; fewer where there are not so many images.
        """
        train = self.train
        size = min(train.batch_size, len(train.dataset))  # type: ignore[arg-type]
        order = np.random.default_rng(seed).permutation(len(train.dataset))  # type: ignore[arg-type]
        part = Part(train.dataset, order[: min(count, len(order) // size) * size])
        batches = OrderedBatches(part, size, train.collate, train.workers, self.data.views)
        yield from (images for images, _ in self.images(batches))

    def images(self, batches: OrderedBatches) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels); of B · views images for B labels those of one label lie side by side."""
        axis = -3 if not self.data.frames or self.data.time_first else -4
        for images, labels in batches:
            grey = self.channels == 3 and images.shape[axis] == 1
            yield (images.repeat_interleave(3, axis) if grey else images), labels


def feeding(config: DataConfig, channels: int, called: str) -> Feeding:
    """Load a data set for an encoder that reads so many channels (0 = as many as there are).

    Raises:
        InvalidArgumentError: no labels, or images of other channels.
    """
    data = load_images(config, seed=0)
    if len(data.classes) < 2 or data.tokens is not None or data.targets != "labels":
        raise InvalidArgumentError(
            f"{config.dataset} has no labels to probe with; give a data set that has (--dataset, --source)."
        )
    found = data.image_shape[0]
    if channels and channels != found and (found, channels) != (1, 3):
        raise InvalidArgumentError(
            f"{called} reads images of {channels} channels, {data.origin} has {found}; give other data (--dataset)."
        )
    dataset = as_tested(data.train.dataset, data.test.dataset)
    collate = time_first if data.time_first else default_collate
    train = OrderedBatches(dataset, data.test.batch_size, collate, config.workers, data.views)
    return Feeding(data, train, channels or found)


def unwatched(items: Iterator[Any], _title: str, _count: int) -> Iterator[Any]:
    """Return the batches as they are."""
    return items


def compute(
    encoder: Encoder,
    feed: Feeding,
    cache: str | Path = "",
    watch: Watch = unwatched,
) -> Features:
    """Return the features of both splits.

    Args:
        encoder: whose.
        feed: the images.
        cache: folder in which features are kept by encoder, data and transform; "" keeps none.
        watch: passes batches on, and shows how far it is: (batches, split, their number).

    Raises:
        InvalidArgumentError: images that the encoder cannot read.
        NonFiniteError: a feature is NaN or infinite.
        CollapsedError: all features are equal.
        DiskError: the cache cannot be written.
    """
    key = _key(encoder, feed)
    kept = FeatureCache(Path(cache)) if cache and key else None
    notes = tuple(note for note in (feed.note, *feed.data.notes) if note)
    tensors = kept.get(key) if kept is not None else None
    if tensors is None:
        train = _of_split(encoder, feed, feed.train, "train", watch)
        test = _of_split(encoder, feed, feed.data.test, "test", watch)
        skipped = len(feed.train.skipped) + len(feed.data.test.skipped)
        tensors = {"train.x": train.x, "train.y": train.y, "test.x": test.x, "test.y": test.y}
        tensors["skipped"] = torch.tensor(skipped)
        _check_finite(encoder, tensors)
        if kept is not None:
            kept.put(key, tensors)
    train, test = (Split(tensors[f"{name}.x"], tensors[f"{name}.y"]) for name in ("train", "test"))
    features = Features(train, test, feed.data.classes, key, encoder.pooling, notes, int(tensors["skipped"]))
    check_features(features, encoder.called)
    return features


def check_features(features: Features, called: str) -> None:
    """Raise CollapsedError where the training images all have the same features."""
    x = features.train.x
    if len(x) < 2:
        raise InvalidArgumentError(f"{len(x)} training images: a probe needs at least two.")
    deviation, largest = float((x - x[0]).abs().max()), float(x.abs().max())
    if deviation <= _ALIKE * largest:
        why = "all zero: nothing fires" if not largest else f"equal within {deviation / largest:.0e} of the largest"
        raise CollapsedError(
            f"{called} has collapsed: the features of all {len(x):,} training images are {why}, so that no probe could "
            "tell one from another. Train with another learning rate, or look at an earlier checkpoint."
        )


def _check_finite(encoder: Encoder, tensors: dict[str, Tensor]) -> None:
    for name in ("train.x", "test.x"):
        bad = int((~torch.isfinite(tensors[name])).any(1).sum())
        if bad:
            raise NonFiniteError(
                f"{encoder.called}: features of {bad:,} {name.partition('.')[0]} images are NaN or infinite; look at "
                "its weights and its precision."
            )


def _of_split(
    encoder: Encoder,
    feed: Feeding,
    batches: OrderedBatches,
    title: str,
    watch: Watch,
) -> Split:
    device = next(encoder.model.parameters()).device
    x, y = [], []
    with torch.no_grad():
        for images, labels in watch(feed.images(batches), title, len(batches)):
            found = encoder.features(images.to(device)).float().cpu()
            if len(found) != len(labels):
                found = found.unflatten(0, (len(labels), -1)).mean(1)
            x.append(found)
            y.append(labels)
    if not x:
        raise InvalidArgumentError("no images to compute features of.")
    return Split(torch.cat(x), torch.cat(y).long())


def _key(encoder: Encoder, feed: Feeding) -> str:
    """Return a key of all that features depend on; "" where nothing tells whether the data are the same."""
    found = hashlib.sha256(f"{_VERSION} {encoder.key()} {feed.channels} {feed.data.views}".encode())
    for dataset in (feed.train.dataset, feed.data.test.dataset):
        content = _content(dataset)
        if content is None:
            return ""
        found.update(content)
    return found.hexdigest()


def _content(dataset: Any) -> bytes | None:
    """Return a digest of a data set: its files or arrays, which samples of them, their labels, and its transform."""
    found = hashlib.sha256(np.asarray(dataset.labels, np.int64).tobytes())
    count = len(dataset)
    for index in sorted({count * n // _WITNESSES for n in range(_WITNESSES)} | {count - 1}):
        sample = dataset[index]
        if isinstance(sample, Skipped):
            found.update(sample.reason.encode())
        else:
            found.update(repr(tuple(sample[0].shape)).encode())
            found.update(sample[0].contiguous().numpy().tobytes())
    while isinstance(dataset, Part):
        found.update(np.asarray(dataset.indices, np.int64).tobytes())
        dataset = dataset.whole
    if isinstance(dataset, ArrayImages):
        found.update(dataset.images.numpy().tobytes())
        return found.digest()
    if not isinstance(dataset, Samples):
        return None
    names = [str(name) for name in dataset.names]
    found.update("\n".join(names).encode("utf-8", "surrogateescape"))
    for file in getattr(dataset.source, "files", names):
        try:
            state = os.stat(file)
        except OSError:
            return None
        found.update(f"{state.st_size} {state.st_mtime_ns}".encode())
    return found.digest()
