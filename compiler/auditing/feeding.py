"""How a network takes time: an image that it repeats itself, or sequences, and on which axis of them time lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from compiler.auditing.stepped import first_tensor, run
from compiler.errors import CaptureError

_BATCHES = (5, 7)


@dataclass
class Seen:
    """What a run showed of one stateful module: the shapes that it was called with, for two batches."""

    shapes: tuple[list[tuple[int, ...]], list[tuple[int, ...]]] = field(default_factory=lambda: ([], []))

    @property
    def calls(self) -> int:
        """Calls in one run."""
        return len(self.shapes[0])

    def leading(self) -> tuple[int, int]:
        """Return the first axis as (a, b): a + b · batch, with one of them 0 or b a factor of the batch."""
        (one, *_), (other, *_) = self.shapes
        per_sample, rest = divmod(other[0] - one[0], _BATCHES[1] - _BATCHES[0])
        return (one[0] - per_sample * _BATCHES[0], per_sample) if not rest else (one[0], 0)


@dataclass(frozen=True)
class Feed:
    """What a network takes: an image where ``steps`` is None, else so many steps, with time on ``axis`` 0 or 1."""

    steps: int | None = None
    axis: int = 0

    def front(self, batch: int) -> tuple[int, ...]:
        """Return the axes before those of a sample."""
        if self.steps is None:
            return (batch,)
        return (batch, self.steps) if self.axis else (self.steps, batch)


def find_feed(
    module: nn.Module,
    stateful: Mapping[str, nn.Module],
    sample: Sequence[int],
    timesteps: int | None,
    axis: int | None,
) -> Feed:
    """Return what a network takes; images where it takes both.

    Raises:
        CaptureError: it takes neither, or sequences whose length or order of axes is not known.
    """
    orders, steps = {0: "(T, B, …)", 1: "(B, T, …)"}, timesteps or 3
    feeds = [Feed(steps, one) for one in orders if axis in (None, one)]
    error = None if axis is not None else _refused(module, (2, *sample))
    images = [_calls(module, stateful, (batch, *sample)) for batch in _BATCHES] if axis is None and not error else []
    if images and images[0] == images[1] > 1:
        return Feed()
    if images == [1, 1]:  # one step a call, or an axis of the sample was taken for time
        feeds = [one for one in feeds if _loops_along(module, stateful, one, sample)]
        if not feeds:
            return Feed()
    failed = {feed.axis: _refused(module, (*feed.front(steps + 1), *sample)) for feed in feeds}
    runs = [feed for feed in feeds if failed[feed.axis] is None]
    if not runs:
        raise error or next(one for one in failed.values() if one is not None)
    if axis is None:
        runs = [feed for feed in runs if _axis_of(module, stateful, feed, sample) in (None, feed.axis)] or runs
    if timesteps is None:
        order = orders[runs[0].axis]
        raise CaptureError(f"{type(module).__name__} takes sequences {order}: say how long with --timesteps N.")
    return runs[0]


def observe(module: nn.Module, stateful: Mapping[str, nn.Module], sample: Sequence[int], feed: Feed) -> dict[str, Seen]:
    """Run two batches and note what every stateful module was called with."""
    seen = {name: Seen() for name in stateful}
    for index, batch in enumerate(_BATCHES):
        for name, shapes in _called(module, stateful, (*feed.front(batch), *sample)).items():
            seen[name].shapes[index].extend(shapes)
    return {name: one for name, one in seen.items() if one.calls}


def _called(
    module: nn.Module, stateful: Mapping[str, nn.Module], shape: tuple[int, ...]
) -> dict[str, list[tuple[int, ...]]]:
    """Return the shapes that every stateful module is called with, as the network runs on zeros."""
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in stateful}

    def noting(name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        return lambda _, given: found[name].append(tuple(first_tensor(given).shape))

    hooks = [part.register_forward_pre_hook(noting(name)) for name, part in stateful.items()]
    try:
        run(module, torch.zeros(shape))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _refused(module: nn.Module, shape: tuple[int, ...]) -> CaptureError | None:
    try:
        run(module, torch.zeros(shape))
    except CaptureError as error:
        return error
    return None


def _calls(module: nn.Module, stateful: Mapping[str, nn.Module], shape: tuple[int, ...]) -> int:
    """Return how often the neuron that is called most is called as the network runs."""
    return max((len(shapes) for shapes in _called(module, stateful, shape).values()), default=0)


def _loops_along(module: nn.Module, stateful: Mapping[str, nn.Module], feed: Feed, sample: Sequence[int]) -> bool:
    """Whether a network runs on sequences, and calls its neurons as often as they are long."""
    assert feed.steps is not None
    for steps in (feed.steps + 2, feed.steps):
        shape = (*Feed(steps, feed.axis).front(feed.steps + 1), *sample)
        if _refused(module, shape) or _calls(module, stateful, shape) != steps:
            return False
    return True


def _axis_of(module: nn.Module, stateful: Mapping[str, nn.Module], feed: Feed, sample: Sequence[int]) -> int | None:
    """Return the axis of a sequence that neurons run along; None where they do not say."""
    assert feed.steps is not None
    sizes = feed.front(feed.steps + 1)
    votes = []
    for shapes in _called(module, stateful, (*sizes, *sample)).values():
        if len(shapes) in sizes:
            votes.append(sizes.index(len(shapes)))
        elif len(shapes) == 1 and sorted(shapes[0][:2]) == sorted(sizes):
            votes.append(sizes.index(shapes[0][0]))
    return max(set(votes), key=votes.count) if votes else None
