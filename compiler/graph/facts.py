"""What a counting rule is told: shapes, types and, for events, their levels on data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from compiler.graph.signals import Signal


@dataclass(frozen=True)
class Facts:
    """One evaluation of a node on N (sample, step) pairs at once.

    ``inputs`` and ``outputs`` are its signals, ``values`` the tensors (N or 1, …) that its inputs hold, ``results``
    what it made of them.
    """

    evaluations: int
    inputs: Sequence[Signal]
    outputs: Sequence[Signal]
    values: Sequence[Tensor]
    results: Sequence[Tensor]

    def is_event(self, index: int) -> bool:
        """Whether input ``index`` carries events."""
        return self.inputs[index].type.is_event

    def levels(self, index: int) -> Tensor:
        """Return |level| of every value of an event input, (N, *shape), whole numbers in float64.

        A level is the value divided by the type's scale: a weight is added so many times.
        """
        return levels_of(self.values[index], self.inputs[index], self.evaluations)

    @property
    def outputs_size(self) -> int:
        """Values of the first output in all evaluations."""
        return self.evaluations * self.outputs[0].size


def levels_of(value: Tensor, signal: Signal, evaluations: int) -> Tensor:
    """Return |value| / scale of an event signal, rounded to whole numbers: (N, *shape) in float64."""
    levels = value.detach().double()
    if signal.type.scale != 1:
        levels = (levels / float(signal.type.scale)).round_()
    levels = levels.abs_() if signal.type.scale != 1 else levels.abs()
    return levels.expand(evaluations, *levels.shape[1:])
