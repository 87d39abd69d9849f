"""One call of a torch function while a network is listened to: its arguments, and the types of what it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from snnkit.signals import REAL, SignalType, single, stored

_LARGEST = 1 << 20
"""Stored tensors above this many values are not looked through for whole numbers: they are real."""


@dataclass(frozen=True)
class Known:
    """What is known of a tensor that depends on the network's input.

    Attributes:
        type: the values it takes.
        scaled: number of the count that a product with stored numbers made, or −1: a layer with weights behind it
            takes the factor up, and the product is no work then.
        source: of a batch norm's result, the events that it read: a layer with weights behind it takes the norm up and
            reads those. Shaped as the result.
    """

    type: SignalType
    scaled: int = -1
    source: Tensor | None = None


@dataclass(frozen=True)
class Call:
    """Arguments of a function, and ``known``: those of its tensors that depend on the network's input, by id.

    ``add(name, values, evaluate, dense)`` is how a rule adds a count; it returns the count's number.
    """

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    known: Mapping[int, Known]
    add: Callable[[str, Sequence[Tensor], Callable[..., Tensor], float], int]
    drop: Callable[[int], None]

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument given by place or by name."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def is_signal(self, value: Any) -> bool:
        """Whether a value depends on the network's input; else it is stored, or a number."""
        return id(value) in self.known

    def is_event(self, value: Any) -> bool:
        """Whether a value is a signal of events."""
        return self.is_signal(value) and self.known[id(value)].type.is_event

    def type(self, value: Any) -> SignalType:
        """Return the type of a tensor or number: of stored ones what they hold; trained ones are real."""
        if id(value) in self.known:
            return self.known[id(value)].type
        if isinstance(value, (bool, int, float)):
            return single(value) if abs(value) < float("inf") else REAL
        if not isinstance(value, Tensor) or value.is_complex():
            return REAL
        if value.numel() == 1:
            number = float(value.detach())
            return single(number) if abs(number) < float("inf") else REAL
        return REAL if value.requires_grad or value.numel() > _LARGEST else stored(value)

    def operands(self) -> tuple[Any, Any]:
        """Return the two operands of a sum or product, in the order in which they are written."""
        first, second = self.get(0, "input"), self.get(1, "other")
        return (second, first) if self.name in REFLECTED else (first, second)


REFLECTED = frozenset({"rsub", "rdiv", "rmatmul", "rpow"})


def tensors(values: Any) -> list[Tensor]:
    """Return the tensors among arguments or results, those in lists and tuples too."""
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, (list, tuple)):
        return [tensor for value in values for tensor in tensors(value)]
    return []


def broadcast(*values: Any) -> int:
    """Return how many values an element-wise function of these tensors and numbers has."""
    return joint_size(*(v.shape for v in values if isinstance(v, Tensor)))


def joint_size(*shapes: torch.Size) -> int:
    """Return how many values the shape has that all of these broadcast to."""
    return int(torch.broadcast_shapes(*shapes).numel())  # type: ignore[no-untyped-call]
