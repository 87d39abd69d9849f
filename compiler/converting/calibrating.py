"""Calibrate: find the scale and the bounds of every quantiser from samples, by the least squared error.

The float network runs on the samples; of every signal that is to be quantised a seeded random part of the values is
kept, and its extremes. Codes of signals that cannot be negative are 0 … L − 1; of all others L consecutive whole
numbers, of which as many are negative as the error asks for: half of them after a norm, one or two after GELU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from compiler.converting.places import Place, Places
from compiler.converting.quantisers import Quantiser
from compiler.graph import Node
from compiler.graph.facts import Facts
from compiler.interpreting import interpret, read_inputs
from snnkit.errors import InvalidArgumentError, NonFiniteError

SAMPLE = 2**16
"""Values kept of one signal, of all samples together."""
_PER_BATCH = 2**13
_COARSE, _FINE, _FINEST = 28, 9, 1 / 40
"""Scales tried: so many from the largest value down to this share of it, and so many around the best."""


@dataclass
class _Seen:
    """Values of one signal: (N,), or (C, N) where every channel gets a scale."""

    place: Place
    parts: list[Tensor] = field(default_factory=list)
    kept: int = 0
    low: Tensor | None = None
    high: Tensor | None = None

    def add(self, x: Tensor, generator: torch.Generator, per_channel: bool) -> None:
        """Keep a random part of the values of one batch, (B, …)."""
        if not bool(torch.isfinite(x).all()):
            raise NonFiniteError(f"while calibrating, {self.place.signal} holds values that are not finite.")
        rows = x.movedim(self.place.axis, 0).flatten(1) if per_channel and self.place.axis else x.reshape(1, -1)
        low, high = torch.aminmax(rows, dim=1)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
        count = min(rows.shape[1], max(_PER_BATCH // rows.shape[0], 64))
        if self.kept < SAMPLE:
            chosen = torch.randint(rows.shape[1], (count,), generator=generator)
            self.parts.append(rows[:, chosen].double())
            self.kept += self.parts[-1].numel()

    def sample(self) -> Tensor:
        """Return what was kept with the extremes, (1 or C, N)."""
        assert self.low is not None
        assert self.high is not None
        return torch.cat([*self.parts, self.low.double()[:, None], self.high.double()[:, None]], 1)


def calibrate(
    places: Places,
    batches: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]],
    levels: int,
    per_channel: bool = False,
    seed: int = 0,
    notes: Callable[[str], None] | None = None,
) -> dict[str, Quantiser]:
    """Return the quantiser of every place.

    Args:
        places: where the network is quantised.
        batches: inputs (B, …), or pairs whose first entry is that.
        levels: L, the number of codes, ≥ 2.
        per_channel: whether signals that only layers with weights read get one scale a channel.
        seed: of the choice of values.
        notes: told of signals and channels that never vary.

    Raises:
        InvalidArgumentError: levels < 2, no samples, or samples of the wrong shape.
        NonFiniteError: NaN or infinity in the samples or in what the network makes of them.
    """
    check_levels(levels)
    seen = {signal: _Seen(place) for signal, place in places.all.items()}
    generator = torch.Generator().manual_seed(seed)

    def watch(node: Node, facts: Facts) -> None:
        for name, result in zip(node.outputs, facts.results, strict=True):
            if name in seen:
                seen[name].add(result, generator, per_channel)

    count = 0
    for x in inputs_of(batches):
        read_inputs(places.graph, x, None)
        for name, tensor in zip(places.graph.inputs, (x,) if isinstance(x, Tensor) else x, strict=True):
            if not bool(torch.isfinite(tensor).all()):
                raise NonFiniteError(f"the calibration samples hold values that are not finite ({name}).")
            if name in seen:
                seen[name].add(tensor, generator, per_channel)
        interpret(places.graph, x, 1, watch=watch)
        count += 1
    if not count:
        raise InvalidArgumentError("calibration needs at least one batch of samples.")
    return {signal: _fit(one, levels, notes or (lambda note: None)) for signal, one in seen.items()}


def check_levels(levels: int) -> None:
    """Raise InvalidArgumentError unless there are at least two levels, and few enough for whole numbers."""
    if isinstance(levels, bool) or not isinstance(levels, int) or not 2 <= levels <= 2**16:
        raise InvalidArgumentError(f"levels={levels!r}: must be a whole number from 2 to 65536.")


def inputs_of(batches: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]]) -> Iterator[Tensor]:
    """Yield the inputs of batches, which may carry labels behind them."""
    if isinstance(batches, Tensor):
        yield batches
        return
    for batch in batches:
        yield batch[0] if isinstance(batch, (tuple, list)) else batch


def _fit(seen: _Seen, levels: int, note: Callable[[str], None]) -> Quantiser:
    place, x = seen.place, seen.sample()
    still = x.amin(1) == x.amax(1)
    if bool(still.all()):
        value = f"always {float(x[0, 0]):g}" if len(x) == 1 else "the same in every channel"
        note(f"{place.signal} never varies on the calibration samples ({value}); its scale is a guess.")
    elif bool(still.any()):
        note(
            f"{int(still.sum())} of {len(x)} channels of {place.signal} never vary on the calibration samples; "
            "they get the largest scale of the others."
        )
    best: tuple[float, Tensor, int] | None = None
    for low in _bounds(place, x, levels):
        scale, error = _search(x, low, low + levels - 1)
        total = float(error.sum())
        if best is None or total < best[0]:
            best = total, scale, low
    assert best is not None
    _, scale, low = best
    if bool(still.any()) and not bool(still.all()):
        scale = torch.where(still, scale[~still].max(), scale)
    shape = () if len(x) == 1 else (-1, *[1] * (-1 - (place.axis or -1)))
    return Quantiser(place.signal, scale.reshape(shape), low, low + levels - 1)


def _bounds(place: Place, x: Tensor, levels: int) -> list[int]:
    """Return the lowest codes to try."""
    if place.positive:
        return [0]
    half, found = levels // 2, []
    while half >= 1:
        found.append(-half)
        half //= 2
    return found if float(x.min()) > -float(x.max()) else found[:1]


def _search(x: Tensor, low: int, high: int) -> tuple[Tensor, Tensor]:
    """Return the best scale of every row and its squared error, (C,) each."""
    ends = [x.amax(1) / high if high > 0 else torch.zeros(len(x)).double()]
    if low < 0:
        ends.append(x.amin(1) / low)
    largest = torch.stack(ends).amax(0)
    largest = torch.where(largest > 0, largest, torch.ones_like(largest))
    ratio = _FINEST ** (1 / (_COARSE - 1))
    scale, _ = _best(x, [largest * ratio**index for index in range(_COARSE)], low, high)
    around = torch.linspace(-1, 1, _FINE).tolist()
    return _best(x, [scale * ratio**exponent for exponent in around], low, high)


def _best(x: Tensor, scales: list[Tensor], low: int, high: int) -> tuple[Tensor, Tensor]:
    errors = []
    for scale in scales:
        s = scale[:, None]
        errors.append((x - torch.floor(x / s + 0.5).clamp(low, high) * s).square().mean(1))
    error, index = torch.stack(errors).min(0)
    return torch.stack(scales).gather(0, index[None])[0], error
