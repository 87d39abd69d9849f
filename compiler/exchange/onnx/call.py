"""One node of a file, as the table's handlers see it.

A handler returns the node's result (or results) as tensors of torch. It runs up to three times: for a batch of 1
without data, which says every shape; with real numbers where everything that it reads is stored; and in the capture,
with the batch in its place (``batch``). What decides shapes, such as the target of a Reshape, comes from the first run.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from compiler.capturing.axes import Layout
from compiler.errors import CaptureError

Result = Tensor | Sequence[Tensor]
Shape = tuple[int, ...]
_FLOAT, _INT, _STRING, _TENSOR, _FLOATS, _INTS = 1, 2, 3, 4, 6, 7


def decimal(value: float) -> float:
    """Return the shortest decimal of a float32, which is how attributes are stored: 1e-5, not 9.99999974738e-6."""
    return float(str(np.float32(value)))


@dataclass(frozen=True)
class Attributes:
    """Attributes of a node by their names."""

    found: dict[str, Any]

    @classmethod
    def of(cls, node: Any, tensor: Callable[[Any], Tensor]) -> Attributes:
        """Read them; stored tensors through ``tensor``. Those that hold graphs are left out."""
        found: dict[str, Any] = {}
        for one in node.attribute:
            read: dict[int, Callable[[Any], Any]] = {
                _FLOAT: lambda a: decimal(a.f),
                _INT: lambda a: int(a.i),
                _STRING: lambda a: a.s.decode("utf-8", "replace"),
                _TENSOR: lambda a: tensor(a.t),
                _FLOATS: lambda a: [decimal(value) for value in a.floats],
                _INTS: lambda a: [int(value) for value in a.ints],
            }
            if one.type in read:
                found[one.name] = read[one.type](one)
        return cls(found)


@dataclass
class OnnxCall:
    """A node with what it reads.

    Args:
        name: the node, in words.
        op: its operator.
        opset: version of the operator set.
        attributes: of the node.
        values: what it reads, None where an optional input is missing.
        real: the same as arrays, only where it is stored: a run without data does not read tensors.
        shapes: shapes of ``values`` with a batch of 1.
        layouts: where the batch lies in ``values``; None for what is stored, and with a batch of 1.
        made: shapes of the results with a batch of 1, once they are known.
        batch: samples: 1, or the prime of the capture.
        parts: how many results the file names.
    """

    name: str
    op: str
    opset: int
    attributes: Attributes
    values: list[Tensor | None]
    real: list[NDArray[Any] | None]
    shapes: list[Shape]
    layouts: list[Layout | None]
    made: list[Shape] | None = None
    batch: int = 1
    parts: int = 1

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.found.get(name, default)

    def has(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.values) and self.values[index] is not None

    def x(self, index: int = 0) -> Tensor:
        """Return an input."""
        value = self.values[index] if index < len(self.values) else None
        if value is None:
            raise self.refuse(f"lacks its input {index}")
        return value

    def shape(self, index: int = 0) -> Shape:
        """Return an input's shape with a batch of 1."""
        self.x(index)
        return self.shapes[index]

    def is_stored(self, index: int) -> bool:
        """Whether an input does not depend on the network's input."""
        return self.has(index) and self.real[index] is not None

    def stored(self, index: int) -> NDArray[Any]:
        """Return a stored input's numbers."""
        self.x(index)
        value = self.real[index]
        if value is None:
            raise self.refuse(f"computes its input {index} from the network's input: graphs hold fixed numbers there")
        return value

    def ints(self, index: int) -> list[int]:
        """Return a stored input as whole numbers."""
        return [int(value) for value in self.stored(index).reshape(-1).tolist()]

    def number(self, index: int) -> float:
        """Return a stored input of one number."""
        value = self.stored(index)
        if value.size != 1:
            raise self.refuse(f"has {value.size} numbers as input {index}, not one")
        return float(value.item())

    def axis(self, axis: int, index: int = 0) -> int:
        """Return an axis of an input counted from the front."""
        rank = len(self.shape(index))
        if not -rank <= axis < rank:
            raise self.refuse(f"names axis {axis} of {rank}")
        return axis % rank

    def axes(self, at: int, since: int, name: str = "axes") -> list[int] | None:
        """Return axes, which were an attribute before version ``since`` of the operators and then the input ``at``."""
        if self.opset < since:
            found: list[int] | None = self.attribute(name)
            return found
        return self.ints(at) if self.has(at) else None

    def one_of(self, name: str, allowed: Sequence[Any], default: Any) -> Any:
        """Return an attribute that must be one of some values."""
        value = self.attribute(name, default)
        if value not in allowed:
            raise self.refuse(f"has {name}={value!r}; known: {', '.join(map(repr, allowed))}")
        return value

    def placed(self, result: int = 0, index: int = 0) -> Shape:
        """Return the shape of a result that has the values of an input in the same order, with the batch in its place.

        In a file of one sample a 1 stands where the batch belongs, or nothing where it is merged with windows or
        frames. The batch stays where it was if the axes up to it stay, else it takes the first axis of 1 that keeps
        every sample's values together, else it is merged with the first axis that does.
        """
        assert self.made is not None
        target, source = self.made[result], self.layouts[index]
        if source is None:
            return target
        before, end = self.shapes[index], source.axis + 1
        choices: list[tuple[int, int]] = []
        for axis, size in enumerate(target):
            front = math.prod(target[:axis])
            if not front or source.before % front:
                break
            outer = source.before // front
            if size % outer == 0:
                same = target[:end] == before[:end] and axis == source.axis
                choices.append((0 if same else 1 if size == 1 else 2, axis))
        if not choices:
            raise self.refuse("tears samples apart")
        axis = min(choices)[1]
        return (*target[:axis], target[axis] * self.batch, *target[axis + 1 :])

    def spread(self, index: int, like: Layout, axis: int) -> Tensor:
        """Return a stored input with the batch along ``axis``, as ``like`` has it."""
        value = self.x(index)
        size = value.shape[axis]
        outer, inner = (like.outer, like.inner) if size == like.merged else (1, size)
        front, back = value.shape[:axis], value.shape[axis + 1 :]
        split = value.reshape(*front, outer, 1, inner, *back)
        full = split.expand(*front, outer, self.batch, inner, *back)
        return full.reshape(*front, outer * self.batch * inner, *back)

    def operands(self) -> list[Tensor]:
        """Return all inputs so that they broadcast with a batch: stored windows are repeated for every sample."""
        values = [self.x(index) for index in range(len(self.values))]
        layouts = [layout for layout in self.layouts if layout is not None]
        if not layouts:
            return values
        leading = max(layouts, key=lambda layout: layout.merged)
        place = leading.axis - len(leading.shape)
        for index, value in enumerate(values):
            axis, layout = place + value.ndim, self.layouts[index]
            if leading.merged == 1 or axis < 0:
                continue
            if layout is None and value.shape[axis] == leading.merged:
                values[index] = self.spread(index, leading, axis)
            elif layout is not None and layout.merged == 1 and layout.axis == axis and leading.outer == 1:
                values[index] = value.repeat_interleave(leading.merged, axis)
        return values

    def refuse(self, why: str) -> CaptureError:
        """Return the error that names the node."""
        return CaptureError(f"{self.name} {why}.")


def as_float32(value: float) -> float:
    """Return a number as it is stored in 32 bits."""
    return float(struct.unpack("f", struct.pack("f", value))[0])
