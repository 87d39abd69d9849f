"""Functions of one value beside the activations: powers, roots, exponentials, rounding; a line each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import CountRule, Operation, Shapes, TypeRule
from compiler.graph.signals import BINARY, REAL, SIGNED, SignalType, integer
from compiler.operations.call import Call
from compiler.operations.rules import NUMBER, binary, each, free, real, scaled_by


def _function(
    name: str, function: Callable[[Tensor], Tensor], count: CountRule, type_rule: TypeRule = real, linear: bool = False
) -> Operation:
    def run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
        return (function(x),)

    def capture(call: Call) -> None:
        call.give(call.emit(name, [call.signal("self")]))

    return Operation(name, "elementwise", run, type_rule, count, {f"aten.{name}.default": capture}, linear=linear)


def _absolute(x: SignalType) -> SignalType:
    return x.maximum(x.scaled(-1)).clamped(0, math.inf)


def _rounded(function: Callable[[Fraction], int]) -> TypeRule:
    return scaled_by(lambda x: x.rounded(function))


def _sign(x: SignalType) -> SignalType:
    if not x.is_event:
        return SIGNED
    low, high = ((end > 0) - (end < 0) for end in (x.low, x.high))
    return {(0, 1): BINARY, (-1, 1): SIGNED}.get((low, high)) or integer(low, high)


def _pow(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.pow(x, node.attributes["exponent"]),)


def _pow_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    exponent = node.attributes["exponent"]
    return types[0].power(int(exponent)) if exponent in range(9) else REAL


def _pow_count(node: Node, facts: Facts) -> Mapping[str, float]:
    exponent, size = node.attributes["exponent"], float(facts.outputs_size)
    divided = {"divisions": size} if exponent < 0 else {}
    if abs(exponent) in range(9):
        return {"multiplies": max(abs(int(exponent)) - 1, 0) * size, **divided}
    if abs(exponent) == 0.5:
        return {"roots": size, **divided}
    return {"exponentials": 2 * size, "multiplies": size}


def _capture_pow(call: Call) -> None:
    call.give(call.emit("pow", [call.signal("self")], {"exponent": _number(call["exponent"])}))


def _capture_square(call: Call) -> None:
    call.give(call.emit("pow", [call.signal("self")], {"exponent": 2}))


def _power_of(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.pow(node.attributes["base"], x),)


def _capture_power_of(call: Call) -> None:
    call.give(call.emit("power_of", [call.signal("exponent")], {"base": _number(call["self"])}))


def _number(value: float) -> float:
    return int(value) if float(value).is_integer() else float(value)


POW = Operation(
    "pow",
    "elementwise",
    _pow,
    _pow_type,
    _pow_count,
    {"aten.pow.Tensor_Scalar": _capture_pow, "aten.square.default": _capture_square},
    {"exponent": NUMBER},
)
POWER_OF = Operation(
    "power_of",
    "elementwise",
    _power_of,
    real,
    each(exponentials=1, multiplies=1),
    {"aten.pow.Scalar": _capture_power_of},
    {"base": NUMBER},
)

OPERATIONS = (
    _function("neg", torch.neg, free, scaled_by(lambda x: x.scaled(-1)), linear=True),
    _function("abs", torch.abs, each(activations=1), scaled_by(_absolute)),
    _function("sign", torch.sign, each(activations=2), scaled_by(_sign)),
    _function("exp", torch.exp, each(exponentials=1)),
    _function("log", torch.log, each(exponentials=1)),
    _function("sqrt", torch.sqrt, each(roots=1)),
    _function("rsqrt", torch.rsqrt, each(roots=1, divisions=1)),
    _function("reciprocal", torch.reciprocal, each(divisions=1)),
    _function("sin", torch.sin, each(exponentials=1)),
    _function("cos", torch.cos, each(exponentials=1)),
    _function("floor", torch.floor, each(activations=1), _rounded(math.floor)),
    _function("ceil", torch.ceil, each(activations=1), _rounded(math.ceil)),
    _function("round", torch.round, each(activations=1), _rounded(round)),
    _function("trunc", torch.trunc, each(activations=1), _rounded(math.trunc)),
    _function("isnan", torch.isnan, each(activations=1), binary),
    POW,
    POWER_OF,
)
