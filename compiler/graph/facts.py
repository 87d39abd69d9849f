"""What a counting rule is told: shapes, types and the units of its signals on data.

An event of level k is k *units*: k times a weight is added where it arrives. An event of a power of two is one unit,
since a machine for such events shifts the weight and adds it once. A real number that is not zero is one unit as well:
what a machine that skips zeros multiplies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from compiler.graph.signals import Signal, SignalType

Amount = float | Tensor
"""What a rule counts: of each evaluation, whole numbers (N,) in float64, or one number for all evaluations together."""

_EXACT = {torch.float32: 2**24, torch.float64: 2**53}
"""Whole numbers up to here have no rounding error, sums included."""


@dataclass(frozen=True)
class Facts:
    """One evaluation of a node on N (sample, step) pairs at once.

    ``inputs`` and ``outputs`` are its signals, ``values`` the tensors (N or 1, …) that its inputs hold, ``results``
    what it made of them; both are empty where only shapes are known. With ``repeats`` the same happened in so many
    steps; rules count one of them.
    """

    evaluations: int
    inputs: Sequence[Signal]
    outputs: Sequence[Signal]
    values: Sequence[Tensor]
    results: Sequence[Tensor]
    repeats: int = 1
    _totals: dict[int, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def known(self) -> bool:
        """Whether there are values, and not shapes alone."""
        return bool(self.values)

    def is_event(self, index: int) -> bool:
        """Whether input ``index`` carries events."""
        return self.inputs[index].type.is_event

    def units(self, index: int) -> Tensor:
        """Return the units of every value of an input, whole numbers (N or 1, *shape)."""
        return units_of(self.values[index], self.inputs[index])

    def unit_sums(self, index: int, axes: Sequence[int]) -> Tensor:
        """Return the exact sums of an input's units over ``axes``, which stay as 1: (N, …) in float64."""
        sums = exact_sum(self.units(index), axes, largest_unit(self.inputs[index]))
        return sums.expand(self.evaluations, *sums.shape[1:])

    def total_units(self, index: int) -> Tensor:
        """Return the exact number of units that came in by an input in every evaluation, (N,) in float64."""
        if index not in self._totals:
            self._totals[index] = total_units(self.values[index], self.inputs[index], self.evaluations)
        return self._totals[index]

    @property
    def inputs_size(self) -> int:
        """Values of the first input in all evaluations."""
        return self.evaluations * self.inputs[0].size

    @property
    def outputs_size(self) -> int:
        """Values of the first output in all evaluations."""
        return self.evaluations * self.outputs[0].size


def largest_unit(signal: Signal) -> int:
    """Return the most units that one value of a signal can have."""
    return 1 if signal.type.kind in ("pow2", "real") else signal.type.magnitude


def units_of(value: Tensor, signal: Signal) -> Tensor:
    """Return the units of a signal's values: |level| of an event, else 1 where it is not 0. May be ``value`` itself."""
    kind, x = signal.type, value.detach()
    if kind.kind in ("pow2", "real"):
        return (x != 0).float()
    if not x.is_floating_point() or x.dtype not in _EXACT:
        x = x.float() if x.dtype.itemsize < 4 else x.double()
    if kind.scale != 1:
        # Rounding undoes what floats make of steps such as 1/9.
        x = x if kind.magnitude < 2**20 else x.double()
        x = (x / float(kind.scale)).round_()
        return x.abs_() if kind.low < 0 else x
    return x.abs() if kind.low < 0 else x


def total_units(value: Tensor, signal: Signal, evaluations: int) -> Tensor:
    """Return the exact sums of a signal's units, (evaluations,) in float64; ``value`` is (evaluations or 1, …)."""
    units = units_of(value, signal)
    return exact_sum(units, range(1, units.ndim), largest_unit(signal)).flatten().expand(evaluations)


def total_events(value: Tensor, signal: Signal, evaluations: int) -> Tensor:
    """Return how many of a signal's values are not zero, (evaluations,) in float64."""
    return total_units(value, replace(signal, type=SignalType()), evaluations)


def exact_sum(x: Tensor, axes: Sequence[int], largest: int) -> Tensor:
    """Add up whole numbers of at most ``largest`` over ``axes``, which stay as 1, without any rounding: in float64.

    Sums stay in the type of ``x`` as long as that holds them exactly: whole activations are never copied to float64.
    """
    room = _EXACT[x.dtype]
    waiting = sorted((axis % x.ndim for axis in axes), key=lambda axis: (-axis, x.shape[axis]))
    now: list[int] = []
    for axis in waiting:
        if largest * math.prod(x.shape[a] for a in (*now, axis)) <= room:
            now.append(axis)
    sums = (x.sum(now, keepdim=True) if now else x).double()
    rest = [axis for axis in waiting if axis not in now]
    return sums.sum(rest, keepdim=True) if rest else sums
