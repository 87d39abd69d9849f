"""What a counting rule is told: shapes, types and, for events, their units on data.

An event of level k is k *units*: k times a weight is added where it arrives. An event of a power of two is one unit,
since a machine for such events shifts the weight and adds it once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from compiler.graph.signals import Signal

_EXACT = {torch.float32: 2**24, torch.float64: 2**53}
"""Whole numbers up to here have no rounding error, sums included."""


@dataclass(frozen=True)
class Facts:
    """One evaluation of a node on N (sample, step) pairs at once.

    ``inputs`` and ``outputs`` are its signals, ``values`` the tensors (N or 1, …) that its inputs hold, ``results``
    what it made of them. With ``repeats`` the same happened in so many steps; rules count one of them.
    """

    evaluations: int
    inputs: Sequence[Signal]
    outputs: Sequence[Signal]
    values: Sequence[Tensor]
    results: Sequence[Tensor]
    repeats: int = 1

    def is_event(self, index: int) -> bool:
        """Whether input ``index`` carries events."""
        return self.inputs[index].type.is_event

    def units(self, index: int) -> Tensor:
        """Return the units of every value of an event input, whole numbers (N or 1, *shape)."""
        return units_of(self.values[index], self.inputs[index])

    def unit_sums(self, index: int, axes: Sequence[int]) -> Tensor:
        """Return the exact sums of an event input's units over ``axes``, which stay as 1, in float64.

        The batch is axis 0; where it is not summed up, the result has all N.
        """
        units = self.units(index)
        sums = exact_sum(units, axes, largest_unit(self.inputs[index]))
        if 0 in axes:
            return sums * (self.evaluations // max(units.shape[0], 1))
        return sums.expand(self.evaluations, *sums.shape[1:])

    def total_units(self, index: int) -> float:
        """Return the exact number of units that came in by an event input, in all evaluations."""
        return total_units(self.values[index], self.inputs[index], self.evaluations)

    @property
    def inputs_size(self) -> int:
        """Values of the first input in all evaluations."""
        return self.evaluations * self.inputs[0].size

    @property
    def outputs_size(self) -> int:
        """Values of the first output in all evaluations."""
        return self.evaluations * self.outputs[0].size


def largest_unit(signal: Signal) -> int:
    """Return the most units that one value of an event signal can have."""
    return 1 if signal.type.kind == "pow2" else signal.type.magnitude


def units_of(value: Tensor, signal: Signal) -> Tensor:
    """Return the units of an event signal's values: |level|, 1 for a power of two. May be ``value`` itself."""
    kind, x = signal.type, value.detach()
    if kind.kind == "pow2":
        return (x != 0).float()
    if not x.is_floating_point() or x.dtype not in _EXACT:
        x = x.float() if x.dtype.itemsize < 4 else x.double()
    if kind.scale != 1:
        # Rounding undoes what floats make of steps such as 1/9.
        x = x if kind.magnitude < 2**20 else x.double()
        x = (x / float(kind.scale)).round_()
        return x.abs_() if kind.low < 0 else x
    return x.abs() if kind.low < 0 else x


def total_units(value: Tensor, signal: Signal, evaluations: int) -> float:
    """Return the exact sum of an event signal's units over ``evaluations``; ``value`` is (evaluations or 1, …)."""
    units = units_of(value, signal)
    total = float(exact_sum(units, range(units.ndim), largest_unit(signal)))
    return total * (evaluations // units.shape[0]) if units.shape[0] else 0.0


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
