"""Thresholds of rate-coded layers: the largest activation, a percentile, or the least error of T levels.

Statistics are over all values of all batches, zeros included. SpikingJelly 2.0's recipe takes the same numbers of one
batch, and of several a moving mean of each batch's number (momentum 0.1), which depends on their order and size: its
largest of several batches is below the largest of all. One batch gives the same threshold.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from compiler.converting.rate_data import values_of
from compiler.converting.rate_layers import Activation, per_sample
from compiler.graph import Graph
from snnkit.errors import InvalidArgumentError

KEPT = 2**20
"""Values of a layer that are kept for a percentile, and at least ``KEPT_PER_CHANNEL`` of a channel. Of more, every
value is kept with the same probability (fixed seed): the percentile is then that of a sample."""
KEPT_PER_CHANNEL = 2**14
GRID = 95
"""Candidates for the least error: the largest activation, and 1 % of it less each time."""


class Statistic(Protocol):
    """What is gathered of one layer's values, (rows, n) at a time; a row is a channel, or all of the layer."""

    def update(self, values: Tensor) -> None:
        """Take more values in."""

    def result(self) -> Tensor:
        """Return a number for every row."""
        ...


class Largest:
    """The largest value."""

    def __init__(self) -> None:
        self.found: Tensor | None = None

    def update(self, values: Tensor) -> None:
        """Take more values in."""
        largest = values.amax(1)
        self.found = largest if self.found is None else torch.maximum(self.found, largest)

    def result(self) -> Tensor:
        """Return the largest value of every row."""
        assert self.found is not None
        return self.found


class Percentile:
    """A percentile, interpolated between the two values next to it; where that is 0, the largest value."""

    def __init__(self, percent: float):
        self.percent, self.largest = percent, Largest()
        self.kept: Tensor | None = None
        self.keys, self.share = torch.empty(0), 1.0
        self.random = torch.Generator().manual_seed(0)

    def update(self, values: Tensor) -> None:
        """Take more values in; of all rows the same columns are kept."""
        self.largest.update(values)
        keys = torch.rand(values.shape[1], generator=self.random)
        chosen = keys < self.share
        values, keys = values[:, chosen], keys[chosen]
        self.kept = values if self.kept is None else torch.cat([self.kept, values], 1)
        self.keys = torch.cat([self.keys, keys])
        while self.kept.shape[1] > max(KEPT // len(values), KEPT_PER_CHANNEL):
            self.share /= 2
            chosen = self.keys < self.share
            self.kept, self.keys = self.kept[:, chosen], self.keys[chosen]

    def result(self) -> Tensor:
        """Return the percentile of every row."""
        assert self.kept is not None
        ordered = self.kept.sort(1).values
        place = (ordered.shape[1] - 1) * self.percent / 100
        low = int(place)
        high = min(low + 1, ordered.shape[1] - 1)
        found = torch.lerp(ordered[:, low], ordered[:, high], place - low)
        return torch.where(found > 0, found, self.largest.result())


class LeastError:
    """Of thresholds θ from the largest value down in steps of 1 %, the one whose T levels are nearest to the values.

    The error is the mean of (x − θ/T·clip(⌊x·T/θ⌋, 0, T))²; of equals the largest θ is taken.
    """

    def __init__(self, largest: Tensor, timesteps: int):
        self.steps = timesteps
        self.candidates = largest.double() * (1 - 0.01 * torch.arange(GRID, dtype=torch.float64)).unsqueeze(1)
        self.errors = torch.zeros_like(self.candidates)

    def update(self, values: Tensor) -> None:
        """Take more values in."""
        values, steps = values.double(), self.steps
        for candidate, error in zip(self.candidates, self.errors, strict=True):
            theta = candidate.clamp(min=torch.finfo(torch.float64).tiny).unsqueeze(1)
            levels = (values * steps / theta).floor_().clamp_(0, steps)
            error += (values - levels * theta / steps).square_().sum(1)

    def result(self) -> Tensor:
        """Return the threshold of every row."""
        return self.candidates.gather(0, self.errors.argmin(0, keepdim=True))[0]


def read_mode(mode: Any) -> float:
    """Return the percentile that is meant; 100 is the largest value.

    Raises:
        InvalidArgumentError: it is neither "max" nor a percentile.
    """
    allowed = "give 'max', a text such as '99.9%', or a percentile above 1 and up to 100"
    if isinstance(mode, str) and mode.lower() == "max":
        return 100.0
    number: Any = mode
    if isinstance(mode, str):
        try:
            number = float(mode[:-1]) if mode.endswith("%") else None
        except ValueError:
            number = None
    real = isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
    if not real or not 0 < number <= 100:
        raise InvalidArgumentError(f"mode={mode!r} is no way to find thresholds; {allowed}.")
    if not isinstance(mode, str) and number <= 1:
        raise InvalidArgumentError(f"mode={mode!r} would be the percentile {number:g} of 100; {allowed}.")
    return float(number)


def gathered(
    graph: Graph,
    layers: Sequence[Activation],
    batches: Iterable[Tensor],
    channel_wise: bool,
    statistics: Sequence[Statistic],
) -> list[Tensor]:
    """Run a graph on all batches and return one statistic of each activation, of its channels or of all of it."""
    signals = tuple(layer.node.output for layer in layers)
    for values in values_of(graph, signals, batches):
        for layer, statistic in zip(layers, statistics, strict=True):
            statistic.update(rows(values[layer.node.output], layer.axis if channel_wise else None))
    return [statistic.result() for statistic in statistics]


def rows(values: Tensor, axis: int | None) -> Tensor:
    """Return values (B, …) as (channels, n), or as (1, n) without an axis of channels."""
    return values.reshape(1, -1) if axis is None else values.movedim(axis, 0).reshape(values.shape[axis], -1)


def thresholds(
    graph: Graph,
    layers: Sequence[Activation],
    batches: Iterable[Tensor],
    channel_wise: bool,
    statistic: Callable[[int], Statistic],
) -> list[Tensor]:
    """Return the threshold of every activation, so that it broadcasts to it; ``statistic`` makes one for each number.

    A channel that never fires has no threshold of its own and takes the layer's largest, with a warning.

    Raises:
        InvalidArgumentError: a whole layer never fires.
    """
    made = [statistic(index) for index in range(len(layers))]
    found, silent = [], []
    for layer, numbers in zip(layers, gathered(graph, layers, batches, channel_wise, made), strict=True):
        never = numbers <= 0
        if bool(never.all()):
            raise InvalidArgumentError(
                f"{layer.name} ({layer.node.op}) is never above 0 on the calibration data, so it has no threshold; "
                "give real samples, or take the layer out."
            )
        if bool(never.any()):
            silent.append(f"{int(never.sum())} of {len(never)} in {layer.name}")
        numbers = torch.where(never, numbers.max(), numbers)
        found.append(per_sample(numbers, layer.axis if channel_wise else None))
    if silent:
        names = ", ".join(silent)
        warnings.warn(
            f"channels that never fire on the calibration data take their layer's largest threshold: {names}.",
            stacklevel=3,
        )
    return found
