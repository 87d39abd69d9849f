"""Functions of one value beside the activations: powers, roots, exponentials, rounding; a line each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from compiler.graph.graph import Node
from compiler.graph.operation import CountRule, Operation, Shapes, TypeRule
from compiler.graph.signals import BINARY, SIGNED, SignalType, integer
from compiler.operations.call import Call
from compiler.operations.rules import NUMBER, each, free, real, scaled_by


def _function(
    name: str, function: Callable[[Tensor], Tensor], count: CountRule, type_rule: TypeRule = real, linear: bool = False
) -> Operation:
    def run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
        return (function(x),)

    def capture(call: Call) -> None:
        call.give(call.emit(name, [call.signal("self")]))

    return Operation(name, "elementwise", run, type_rule, count, {f"aten.{name}.default": capture}, linear=linear)


def _absolute(x: SignalType) -> SignalType:
    if not x.is_event:
        return x
    if x.low >= 0:
        return x
    return integer(0, x.magnitude, x.scale) if x.kind != "signed" else SignalType("binary", 0, 1, x.scale)


def _rounded(x: SignalType) -> SignalType:
    """Whole numbers stay; other steps are not followed."""
    return x if x.is_event and x.scale.denominator == 1 else SignalType()


def _pow(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.pow(x, node.attributes["exponent"]),)


def _pow_type(node: Node, types: list[SignalType], shapes: Shapes) -> SignalType:
    exponent, kind = node.attributes["exponent"], types[0]
    if exponent != int(exponent) or not 1 <= exponent <= 8:
        return SignalType()
    if kind == BINARY:
        return BINARY
    if kind.kind == "signed" and kind.scale == 1:
        return SIGNED if exponent % 2 else BINARY
    result = kind
    for _ in range(int(exponent) - 1):
        result = result.product(kind)
    if result.is_event and exponent % 2 == 0:
        return integer(0, result.high, result.scale)
    return result


def _pow_count(node: Node, facts: object) -> dict[str, float]:
    exponent, size = node.attributes["exponent"], facts.outputs_size  # type: ignore[attr-defined]
    if exponent == int(exponent) and abs(exponent) <= 8:
        divided = {"divisions": 1.0 * size} if exponent < 0 else {}
        return {"multiplies": (max(abs(int(exponent)), 1) - 1.0) * size, **divided}
    if abs(exponent) == 0.5:
        return {"roots": 1.0 * size, **({"divisions": 1.0 * size} if exponent < 0 else {})}
    return {"exponentials": 2.0 * size, "multiplies": 1.0 * size}


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
    _pow_type,  # type: ignore[arg-type]
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
    _function("sign", torch.sign, each(activations=2), lambda node, types, shapes: SIGNED),
    _function("exp", torch.exp, each(exponentials=1)),
    _function("log", torch.log, each(exponentials=1)),
    _function("sqrt", torch.sqrt, each(roots=1)),
    _function("rsqrt", torch.rsqrt, each(roots=1, divisions=1)),
    _function("reciprocal", torch.reciprocal, each(divisions=1)),
    _function("sin", torch.sin, each(exponentials=1)),
    _function("cos", torch.cos, each(exponentials=1)),
    _function("floor", torch.floor, each(activations=1), scaled_by(_rounded)),
    _function("ceil", torch.ceil, each(activations=1), scaled_by(_rounded)),
    _function("round", torch.round, each(activations=1), scaled_by(_rounded)),
    _function("trunc", torch.trunc, each(activations=1), scaled_by(_rounded)),
    _function("isnan", torch.isnan, each(activations=1), lambda node, types, shapes: BINARY),
    POW,
    POWER_OF,
)
