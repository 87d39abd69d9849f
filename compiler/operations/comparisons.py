"""Comparisons and logic: results are 0 or 1. One line each in ``OPERATIONS``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from compiler.graph.graph import Node
from compiler.graph.operation import Captures, Operation, Shapes
from compiler.graph.signals import BINARY, REAL, SignalType
from compiler.operations.call import Call
from compiler.operations.rules import TEXT, align, binary, each, free


def _comparison(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    def run(node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return (function(*align(x, y)),)

    def capture(call: Call) -> None:
        call.give(call.emit(name, [call.operand("self"), call.operand("other")]))

    captures: Captures = {f"aten.{name}.Tensor": capture, f"aten.{name}.Scalar": capture}
    return Operation(name, "elementwise", run, binary, each(activations=1), captures, inputs=(2, 2))


def _logic(name: str, function: Callable[..., Tensor], count: int, overloads: tuple[str, ...]) -> Operation:
    def run(node: Node, *values: Tensor) -> tuple[Tensor, ...]:
        return (function(*(value.bool() for value in align(*values))),)

    def capture(call: Call) -> None:
        names = ("self", "other")[:count]
        call.give(call.emit(name, [call.operand(argument) for argument in names]))

    captures: Captures = dict.fromkeys(overloads, capture)
    return Operation(name, "elementwise", run, binary, each(activations=1), captures, inputs=(count, count))


def _cast(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    to = node.attributes["to"]
    return (x.bool() if to == "bool" else x.long() if to == "int" else x.to(node.parameters["like"].dtype),)


def _capture_cast(call: Call) -> None:
    # Conversions between types of equal kind and width are left out before they come here.
    dtype = call.out_dtype
    kind = "bool" if dtype == torch.bool else "float" if dtype.is_floating_point else "int"
    like = {"like": torch.zeros((), dtype=dtype)} if kind == "float" else {}
    source = call.signal("self")
    if kind == "int" and call.dtype("self").is_floating_point:
        source = call.emit("trunc", [source])
    call.give(call.emit("cast", [source], {"to": kind}, like))


def _cast_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    kind, to = types[0], node.attributes["to"]
    if to == "bool":
        return BINARY
    if to == "int":
        return kind.rounded(math.trunc)
    # A format with few digits does not hold every whole number.
    return kind if kind.magnitude <= 1 / torch.finfo(node.parameters["like"].dtype).eps else REAL


CAST = Operation(
    "cast",
    "move",
    _cast,
    _cast_type,
    free,
    {
        "aten.to.dtype": _capture_cast,
        "aten.to.device": _capture_cast,
        "aten.to.dtype_layout": _capture_cast,
        "aten.type_as.default": _capture_cast,
        "aten._to_copy.default": _capture_cast,
    },
    {"to": TEXT},
    optional_parameters=("like",),
)

OPERATIONS = (
    _comparison("ge", torch.ge),
    _comparison("gt", torch.gt),
    _comparison("le", torch.le),
    _comparison("lt", torch.lt),
    _comparison("eq", torch.eq),
    _comparison("ne", torch.ne),
    _logic(
        "logical_and",
        torch.logical_and,
        2,
        ("aten.logical_and.default", "aten.bitwise_and.Tensor", "aten.__and__.Tensor"),
    ),
    _logic(
        "logical_or", torch.logical_or, 2, ("aten.logical_or.default", "aten.bitwise_or.Tensor", "aten.__or__.Tensor")
    ),
    _logic("logical_not", torch.logical_not, 1, ("aten.logical_not.default", "aten.bitwise_not.default")),
    CAST,
)
