"""Sums, differences, products and quotients of two signals, aligned at the end of their samples.

A product with stored numbers is not here: it is ``scale``, weights that meet a signal. Stored numbers that are added
become a ``constant`` node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Captures, CountRule, Operation, Shapes, TypeRule
from compiler.graph.signals import REAL, SignalType
from compiler.operations.call import Call
from compiler.operations.rules import align, each

TWO = (2, 2)


def _binary(
    name: str,
    kind: str,
    function: Callable[[Tensor, Tensor], Tensor],
    type_rule: TypeRule,
    count: CountRule,
    captures: Captures,
    linear: bool = False,
) -> Operation:
    def run(node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        return (function(*align(x, y)),)

    return Operation(name, kind, run, type_rule, count, captures, inputs=TWO, linear=linear)


def _sum_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].sum(types[1])


def _difference_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].sum(types[1].scaled(-1))


def _product_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].product(types[1])


def _quotient_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    divisor = types[1]
    if divisor.is_event and divisor.low == divisor.high != 0:
        return types[0].scaled(1 / (Fraction(divisor.low) * divisor.scale))
    return REAL


def _union_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].union(types[1])


def meet(facts: Facts, fan_out: Callable[[int], float] = lambda index: 1.0) -> dict[str, float]:
    """Count a product of two signals, element by element: what meets what.

    Two events: one accumulate for every unit of the one that meets a unit of the other. One event: one accumulate of
    the other operand for every unit. None: a multiplication.
    """
    first, second = facts.is_event(0), facts.is_event(1)
    if not first and not second:
        return {"multiplies": float(facts.outputs_size)}
    if first and second:
        a, b = align(facts.levels(0), facts.levels(1))
        done = float((a * b).sum())
    else:
        index = 0 if first else 1
        levels = facts.levels(index)
        done = float(levels.sum()) * facts.outputs_size / max(levels.numel(), 1)
    return {"ac": done, "synaptic_events": done}


def _count_product(node: Node, facts: Facts) -> Mapping[str, float]:
    return meet(facts)


def _capture_sum(sign: int) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        alpha = call["alpha"]
        second = call.operand("other")
        if alpha != 1:
            second = call.emit("scale", [second], {}, {"weight": call.number(alpha)})
        call.give(call.emit("add" if sign > 0 else "sub", [call.operand("self"), second]))

    return capture


def _capture_reverse_difference(call: Call) -> None:
    first = call.operand("self")
    if call["alpha"] != 1:
        first = call.emit("scale", [first], {}, {"weight": call.number(call["alpha"])})
    call.give(call.emit("sub", [call.operand("other"), first]))


def _capture_product(call: Call) -> None:
    for constant, signal in (("other", "self"), ("self", "other")):
        if call.is_constant(constant):
            call.give(call.emit("scale", [call.operand(signal)], {}, {"weight": call.factor(constant)}))
            return
    call.give(call.emit("mul", [call.operand("self"), call.operand("other")]))


def _capture_quotient(call: Call) -> None:
    call.give(call.emit("div", [call.operand("self"), call.operand("other")]))


def _capture_quotient_rounded(call: Call) -> None:
    mode = call["rounding_mode"]
    made = call.emit("div", [call.operand("self"), call.operand("other")])
    call.give(made if mode is None else call.emit(mode, [made]))


def _capture_extreme(name: str) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        call.give(call.emit(name, [call.operand("self"), call.operand("other")]))

    return capture


def _capture_addcmul(call: Call) -> None:
    """self + value · tensor1 · tensor2."""
    if call.is_constant("tensor1") and call.is_constant("tensor2"):
        raise call.refuse("adds a product of two stored tensors to a signal; add the product")
    if call.is_constant("tensor1") or call.is_constant("tensor2"):
        constant, signal = ("tensor1", "tensor2") if call.is_constant("tensor1") else ("tensor2", "tensor1")
        product = call.emit("scale", [call.operand(signal)], {}, {"weight": call.factor(constant)})
    else:
        product = call.emit("mul", [call.operand("tensor1"), call.operand("tensor2")])
    if call["value"] != 1:
        product = call.emit("scale", [product], {}, {"weight": call.number(call["value"])})
    call.give(call.emit("add", [call.operand("self"), product]))


def _capture_lerp(call: Call) -> None:
    """Linear interpolation: self + weight · (end − self)."""
    start, end = call.operand("self"), call.operand("end")
    difference = call.emit("sub", [end, start])
    part = call.emit("scale", [difference], {}, {"weight": call.number(call["weight"])})
    call.give(call.emit("add", [start, part]))


def _where(node: Node, condition: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    condition, x, y = align(condition, x, y)
    return (torch.where(condition.bool(), x, y),)


def _where_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[1].union(types[2])


def _capture_where(call: Call) -> None:
    call.give(call.emit("where", [call.operand("condition"), call.operand("self"), call.operand("other")]))


def _capture_masked_fill(call: Call) -> None:
    call.give(call.emit("where", [call.operand("mask"), call.operand("value"), call.operand("self")]))


WHERE = Operation(
    "where",
    "elementwise",
    _where,
    _where_type,
    each(activations=1),
    {
        "aten.where.self": _capture_where,
        "aten.where.ScalarOther": _capture_where,
        "aten.where.ScalarSelf": _capture_where,
        "aten.masked_fill.Scalar": _capture_masked_fill,
        "aten.masked_fill.Tensor": _capture_masked_fill,
    },
    inputs=(3, 3),
)

_SUMS: Any = {
    "aten.add.Tensor": _capture_sum(1),
    "aten.add.Scalar": _capture_sum(1),
    "aten.addcmul.default": _capture_addcmul,
    "aten.lerp.Scalar": _capture_lerp,
}
_DIFFERENCES: Any = {
    "aten.sub.Tensor": _capture_sum(-1),
    "aten.sub.Scalar": _capture_sum(-1),
    "aten.rsub.Scalar": _capture_reverse_difference,
    "aten.rsub.Tensor": _capture_reverse_difference,
}
_PRODUCTS: Any = {"aten.mul.Tensor": _capture_product, "aten.mul.Scalar": _capture_product}
_QUOTIENTS: Any = {
    "aten.div.Tensor": _capture_quotient,
    "aten.div.Scalar": _capture_quotient,
    "aten.div.Tensor_mode": _capture_quotient_rounded,
    "aten.div.Scalar_mode": _capture_quotient_rounded,
}

OPERATIONS = (
    _binary("add", "elementwise", torch.add, _sum_type, each(adds=1), _SUMS, linear=True),
    _binary("sub", "elementwise", torch.sub, _difference_type, each(adds=1), _DIFFERENCES, linear=True),
    _binary("mul", "product", torch.mul, _product_type, _count_product, _PRODUCTS),
    _binary("div", "elementwise", torch.true_divide, _quotient_type, each(divisions=1), _QUOTIENTS),
    _binary(
        "maximum",
        "elementwise",
        torch.maximum,
        _union_type,
        each(activations=1),
        {"aten.maximum.default": _capture_extreme("maximum"), "aten.max.other": _capture_extreme("maximum")},
    ),
    _binary(
        "minimum",
        "elementwise",
        torch.minimum,
        _union_type,
        each(activations=1),
        {"aten.minimum.default": _capture_extreme("minimum"), "aten.min.other": _capture_extreme("minimum")},
    ),
    WHERE,
)
