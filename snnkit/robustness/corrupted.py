"""A test set with its images corrupted where ImageNet-C corrupts them: cut and resized, uint8, not yet normalised."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from snnkit.data.order import Skipped
from snnkit.data.parts import Part
from snnkit.errors import InvalidArgumentError
from snnkit.robustness.corruptions import checked, corrupt

_VIEWS_NDIM = 4  # (views, C, H, W)


def corrupted(dataset: Any, name: str, severity: int, seed: int = 0) -> Any:
    """Return a test set with its images corrupted; how depends on an image's place in the whole set, not in a part.

    Args:
        dataset: images with a ``transform`` that begins with uint8, such as ``ArrayImages``, ``Samples`` or ``Pairs``,
            or a part of one.
        name, severity, seed: as for ``corrupt``.

    Raises:
        UnknownNameError, InvalidArgumentError: see ``corrupt``; or a data set without a transform.
    """
    checked(name, severity)
    if isinstance(dataset, Part):
        return Part(corrupted(dataset.whole, name, severity, seed), dataset.indices)
    return Corrupted(dataset, name, severity, seed)


class Corrupted(Dataset):
    """See ``corrupted``."""

    def __init__(self, dataset: Any, name: str, severity: int, seed: int):
        if not callable(getattr(dataset, "transform", None)):
            raise InvalidArgumentError(
                f"{type(dataset).__name__} cannot be corrupted: it has no transform of stored images to put it before."
            )
        self.labels = dataset.labels
        if hasattr(dataset, "names"):
            self.names = dataset.names
        self._step = _Step(dataset.transform, name, severity, seed)
        self._dataset = copy.copy(dataset)
        self._dataset.transform = self._step

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Any:
        self._step.index = int(index)
        return self._dataset[index]


class _Step:
    """A transform that corrupts behind its last step that keeps uint8, or before all of it where it has no steps."""

    def __init__(self, transform: Callable[[Tensor], Tensor], name: str, severity: int, seed: int):
        self._steps = list(getattr(transform, "transforms", [transform]))
        self._what = name, severity, seed
        self.index = 0

    def __call__(self, image: Tensor) -> Tensor:
        done = False
        for step in self._steps:
            made = step(image)
            if not done and made.dtype != torch.uint8:
                made, done = step(self._corrupt(image)), True
            image = made
        return image if done else self._corrupt(image)

    def _corrupt(self, image: Tensor) -> Tensor:
        name, severity, seed = self._what
        if image.ndim == _VIEWS_NDIM:
            return torch.stack([corrupt(view, name, severity, seed, self.index) for view in image])
        return corrupt(image, name, severity, seed, self.index)


def check_images(dataset: Any, title: str, frames: int = 0) -> None:
    """Raise InvalidArgumentError, in one line, where a test set holds clips, events or nothing that can be corrupted.

    Args:
        dataset: to be looked at; the first sample that can be read is.
        title: what to call it.
        frames: of a sample, as the data set says.
    """
    try:
        if frames:
            raise InvalidArgumentError("its samples are clips or recordings of events, not images.")
        found = corrupted(dataset, "contrast", 1)
        for index in range(len(found)):
            if not isinstance(found[index], Skipped):
                return
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{title} cannot be corrupted: {error} Give still images (--dataset).") from None
    raise InvalidArgumentError(f"{title} holds no image that can be read.")
