"""What operations share: aligning tensors behind the batch, and common rules for types and counts.

A count rule returns amounts under the names of ``hw.counts.LayerCounts``: of each evaluation where they hang on the
data, else one number for all evaluations it is told of.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import CountRule, Shapes, TypeRule
from compiler.graph.signals import BINARY, REAL, SignalType
from snnkit.signals import stored as stored

INTS: tuple[type, ...] = (tuple,)
INT: tuple[type, ...] = (int,)
NUMBER: tuple[type, ...] = (float, int)
BOOL: tuple[type, ...] = (bool,)
TEXT: tuple[type, ...] = (str,)


def align(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Give all tensors the same rank: unit axes go behind the batch, since samples are aligned at their end."""
    rank = max(tensor.ndim for tensor in tensors)
    return tuple(t if t.ndim == rank else t.reshape(t.shape[0], *[1] * (rank - t.ndim), *t.shape[1:]) for t in tensors)


def folded(x: Tensor, kept: int, run: Callable[[Tensor], Tensor]) -> Tensor:
    """Run what takes one batch axis on ``x``, whose axes before the last ``kept`` are all folded into it."""
    if x.ndim == kept + 1:
        return run(x)
    lead = x.shape[: x.ndim - kept]
    y = run(x.reshape(-1, *x.shape[x.ndim - kept :]))
    return y.reshape(*lead, *y.shape[1:])


def real(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    """The result is any real number."""
    return REAL


def same(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    """The result takes the values of the first input."""
    return types[0]


def binary(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    """The result is 0 or 1."""
    return BINARY


def union(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    """The result takes the values of any input."""
    return union_of(types)


def free(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """Values change place only: no arithmetic (what moving them costs depends on the machine)."""
    return {}


def each(**costs: float) -> CountRule:
    """Return the rule that every value of the output costs so much."""

    def rule(node: Node, facts: Facts) -> Mapping[str, Amount]:
        return {name: cost * facts.outputs_size for name, cost in costs.items()}

    return rule


def each_input(**costs: float) -> CountRule:
    """Return the rule that every value of the first input costs so much."""

    def rule(node: Node, facts: Facts) -> Mapping[str, Amount]:
        return {name: cost * facts.inputs_size for name, cost in costs.items()}

    return rule


def synaptic(facts: Facts, events: Sequence[int], amount: Amount) -> dict[str, Amount]:
    """Return ``amount`` of synaptic events by what a machine does with the inputs ``events``: powers of two shift."""
    shifted = any(facts.inputs[index].type.kind == "pow2" for index in events)
    return {"shift_adds" if shifted else "ac": amount, "synaptic_events": amount}


def compared(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """One of n values is found by n − 1 comparisons."""
    return {"activations": float(facts.inputs_size - facts.outputs_size)}


def union_of(types: Sequence[SignalType]) -> SignalType:
    """Return the type of a signal that takes the values of any of ``types``."""
    return functools.reduce(lambda one, other: one.union(other), types)


def scaled_by(function: Callable[[SignalType], SignalType]) -> TypeRule:
    """Return the rule that the first input's type is changed by ``function``."""

    def rule(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
        return function(types[0])

    return rule


def reduced(shape: tuple[int, ...], axes: Sequence[int]) -> int:
    """Return how many values of one sample become one when ``axes`` (negative) are reduced."""
    return math.prod(shape[axis] for axis in axes)


def pair(values: Any, rank: int) -> tuple[int, ...]:
    """Return ``rank`` numbers: one number repeated, or as many as there are."""
    numbers = tuple(values) if isinstance(values, (list, tuple)) else (values,)
    return tuple(int(v) for v in (numbers if len(numbers) == rank else numbers * rank))
