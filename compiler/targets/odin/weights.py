"""Whole-number weights: what feeds a population, neuron by neuron, in units of which each neuron has its own size.

    w_int = round(w · scale)            within the chip's weights, for all sources of a neuron
    threshold_int = ⌈threshold · scale⌉ whole-number membranes reach the one exactly when they reach the other

The smallest scale at which all weights of a neuron are whole is taken, where there is one: nothing is rounded then.
Else that of a grid up to the largest weight that fits, whose weights are nearest to the float network's.

Shapes: N neurons, S values of all sources together, R rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.targets.odin.arithmetic import Format
from compiler.targets.odin.operations import ALWAYS

_GRID = 48
_WHOLE = 1e-9


@dataclass(frozen=True, eq=False)
class Whole:
    """Weights (N, S) and biases (N,) as whole numbers, the scale of each neuron (N,), and what was rounded.

    ``error`` (N, S + 1): |float − whole / scale|, the bias last.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor
    error: Tensor


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in the order in which they are sent: ``weight`` (N, R), ``source`` (R,), −1 for the biases."""

    weight: Tensor
    source: Tensor


def largest(chip: Format) -> tuple[float, float]:
    """Return the magnitudes of the largest negative and positive weight that a chip adds."""
    low, high = chip.weight
    return float(-low or high), float(high)


def whole(
    limits: tuple[float, float], weight: Tensor, bias: Tensor, highest: Tensor, lowest: Tensor, shared: bool
) -> Whole:
    """Choose scales between ``lowest`` and ``highest`` (N,), one for all neurons where ``shared``, and round.

    ``limits``: magnitudes of the largest negative and positive weight; where no scale fits them, weights are cut off. A
    bias may be as large as it likes: it takes rows of its own.
    """
    negative, positive = limits
    every = torch.cat([weight, bias[:, None]], 1)
    if shared:
        every, highest, lowest = every.reshape(1, -1), highest.min()[None], lowest.max()[None]
    inner = weight.reshape(len(every), -1)
    room = torch.minimum(negative / (-inner).clamp(min=1e-30).amax(1), positive / inner.clamp(min=1e-30).amax(1))
    top = torch.minimum(room, highest).maximum(lowest)
    scale = _exact(every, top, max(negative, positive), lowest)
    missing = scale.isnan()
    if bool(missing.any()):
        fractions = torch.linspace(0.5, 1.0, _GRID, dtype=torch.float64)
        tried = (top[missing, None] * fractions).maximum(lowest[missing, None])
        wrong = ((every[missing, None] * tried[..., None]).round() / tried[..., None] - every[missing, None]) ** 2
        best = wrong.sum(-1).argmin(1, keepdim=True)
        scale[missing] = tried.gather(1, best)[:, 0]
    scale = scale.expand(len(weight)).clone()
    rounded = (weight * scale[:, None]).round().clamp(-negative, positive)
    biases = (bias * scale).round()
    error = torch.cat([rounded / scale[:, None] - weight, (biases / scale - bias)[:, None]], 1).abs()
    return Whole(rounded, biases, scale, torch.where(error < _WHOLE * weight.abs().amax().clamp(min=1e-30), 0, error))


def _exact(every: Tensor, top: Tensor, most: float, lowest: Tensor) -> Tensor:
    """Return the smallest scale at which all of a row of ``every`` is whole, NaN where none up to ``top`` is."""
    found = torch.full((len(every),), torch.nan, dtype=torch.float64)
    magnitude = every.abs()
    empty = magnitude.amax(1) == 0
    smallest = torch.where(magnitude > 0, magnitude, torch.inf).amin(1)
    for units in range(int(most), 0, -1):
        scale = units / smallest
        # Doubled until the threshold takes at least one unit.
        scale = scale * 2 ** (lowest / scale).log2().ceil().clamp(min=0)
        scaled = every * scale[:, None]
        fits = ((scaled - scaled.round()).abs() <= _WHOLE * scaled.abs().clamp(min=1)).all(1)
        found = torch.where(fits & (scale <= top * (1 + _WHOLE)), scale, found)
    return torch.where(empty, torch.minimum(lowest.clamp(min=1.0), top), found)


def ordered(chip: Format, weight: Tensor, bias: Tensor, split: bool) -> Rows:
    """Lay weights (N, S) and biases (N,) out as rows, in the order in which a step sends them.

    ``split``: a source that raises some membranes and lowers others gets two rows, one of each kind.
    """
    negative, positive = largest(chip)
    parts, sources = [], []
    numbers = torch.arange(weight.shape[1])
    for part in (weight.clamp(max=0), weight.clamp(min=0)) if split else (weight,):
        parts.append(part)
        sources.append(numbers)
    for part, limit in ((bias.clamp(max=0), negative), (bias.clamp(min=0), positive)):
        left = part
        while bool(left.any()):
            once = left.clamp(-limit, limit)
            parts.append(once[:, None])
            sources.append(torch.full((1,), ALWAYS))
            left = left - once
    rows, source = torch.cat(parts, 1), torch.cat(sources)
    used = (rows != 0).any(0)
    rows, source = rows[:, used], source[used]
    order = _inhibition_first(rows) if chip.state[0] < 0 else _alternating(rows, source)
    return Rows(rows[:, order], source[order])


def _inhibition_first(rows: Tensor) -> list[int]:
    """Purely inhibitory rows, mixed ones by their sum, purely excitatory ones.

    A membrane that has taken all inhibition of a step before its excitation reaches the threshold exactly when the sum
    of both does.
    """

    def key(row: int) -> tuple[int, float]:
        values = rows[:, row]
        kind = int(float(values.min()) >= 0) - int(float(values.max()) <= 0)
        return kind, 0.0 if kind else float(values.sum())

    return sorted(range(rows.shape[1]), key=key)


def _alternating(rows: Tensor, source: Tensor) -> list[int]:
    """Excitation while the sum of what was sent is not above 0, else inhibition, each by the number of its source.

    Membranes end at 0: inhibition that comes first finds nothing to lower, excitation that comes first fires too soon.
    """
    sums = rows.sum(0).tolist()
    waiting = {
        kind: sorted((r for r in range(len(sums)) if (sums[r] > 0) is kind), key=lambda r: -int(source[r]))
        for kind in (True, False)
    }
    order: list[int] = []
    total = 0.0
    while any(waiting.values()):
        kind = total <= 0
        row = (waiting[kind] or waiting[not kind]).pop()
        total += sums[row]
        order.append(row)
    return order


def signs_mixed(weight: Tensor) -> int:
    """Return how many sources (columns) of weights (N, S) both raise and lower membranes."""
    return int(((weight.amax(0) > 0) & (weight.amin(0) < 0)).sum())
