"""Parts of a data set: so many samples of it, or those set aside, of every class its share, drawn from a seed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from snnkit.errors import InvalidArgumentError


def stratified(labels: Any, count: int, seed: int) -> np.ndarray:
    """Return the indices, ascending, of ``count`` samples: one of each class first, then of each its share.

    Args:
        labels: of all samples, integers (N,).
        count: of the samples to draw; all are taken where there are not more.
        seed: which samples of a class, and which classes where they do not go evenly.
    """
    labels = np.asarray(labels)
    if count >= len(labels):
        return np.arange(len(labels))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, each in random order
    _, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    share = rank / np.repeat(sizes, sizes)  # of its class that is taken before a sample
    return np.sort(order[np.lexsort((generator.random(len(order)), share))[:count]])


class Part(Dataset):
    """Some samples of a data set that has ``labels``, and ``names`` and ``credits`` where its samples have some."""

    def __init__(self, whole: Any, indices: np.ndarray):
        if isinstance(whole, Part):
            whole, indices = whole.whole, whole.indices[indices]
        if hasattr(getattr(whole, "source", None), "among"):  # samples that show others beside their own
            whole = copy.copy(whole)
            whole.source = whole.source.among(indices)
        self.whole, self.indices = whole, indices
        self.labels = [int(whole.labels[index]) for index in indices]
        if hasattr(whole, "names"):
            self.names = _Chosen(whole.names, indices)
        if hasattr(whole, "credits"):
            self.credits = _Chosen(whole.credits, indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.whole[int(self.indices[index])]


class _Chosen(Sequence[Any]):
    """Names or credits of the samples of a part, made when asked for."""

    def __init__(self, whole: Sequence[Any], indices: np.ndarray):
        self._whole, self._indices = whole, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: Any) -> Any:
        return self._whole[int(self._indices[index])]


def limited(dataset: Any, limit: int, seed: int) -> Any:
    """Return a data set with at most ``limit`` samples (0 = all), of every class its share."""
    return Part(dataset, stratified(dataset.labels, limit, seed)) if 0 < limit < len(dataset) else dataset


def set_aside(train: Any, test: Any, share: float, seed: int) -> tuple[Any, Any]:
    """Part a training set in two: what is left, and a share to validate on, read and transformed as ``test`` is.

    Raises:
        InvalidArgumentError: one of the two would be empty.
    """
    count = round(share * len(train))
    if not 0 < count < len(train):
        raise InvalidArgumentError(
            f"data.validation={share}: {count} of {len(train)} training samples; both parts need at least one."
        )
    chosen = stratified(train.labels, count, seed)
    rest = np.setdiff1d(np.arange(len(train)), chosen)
    return Part(train, rest), Part(as_tested(train, test), chosen)


def as_tested(train: Any, test: Any) -> Any:
    """The samples of ``train`` as those of ``test`` are read and transformed."""
    while isinstance(test, Part):
        test = test.whole
    if isinstance(train, Part):
        return Part(as_tested(train.whole, test), train.indices)
    twin = copy.copy(train)
    twin.transform = test.transform
    if hasattr(getattr(test, "source", None), "reader"):  # clips are drawn while training
        twin.source = copy.copy(train.source)
        twin.source.reader = test.source.reader
    if hasattr(getattr(train, "source", None), "as_tested"):  # wordings are drawn while training
        twin.source = train.source.as_tested()
    return twin


def stretches(runs: tuple[int, ...], dataset: Any) -> tuple[int, ...]:
    """Return what is left of the stretches ``runs`` of a whole data set in a part of it, or of a part of that."""
    if not runs or not isinstance(dataset, Part):
        return runs
    stretch = np.searchsorted(np.cumsum(runs), dataset.indices, side="right")
    return tuple(np.bincount(stretch, minlength=len(runs)).tolist())
