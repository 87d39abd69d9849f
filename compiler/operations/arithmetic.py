"""Sums, differences, products and quotients of two signals, aligned at the end of their samples.

A product with stored numbers is not here: it is ``scale``, weights that meet a signal. Stored numbers that are added
become a ``constant`` node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from compiler.graph.facts import Amount, Facts, total_units
from compiler.graph.graph import Node
from compiler.graph.operation import Captures, CountRule, Operation, Shapes, TypeRule
from compiler.graph.signals import REAL, SignalType
from compiler.operations.call import Call
from compiler.operations.rules import align, each, synaptic

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


def _is_number(divisor: SignalType) -> bool:
    """Whether a divisor is always the same number, so that to divide is to multiply."""
    return divisor.is_event and divisor.low == divisor.high != 0


def _quotient_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    divisor = types[1]
    return types[0].scaled(1 / (divisor.low * divisor.scale)) if _is_number(divisor) else REAL


def _count_quotient(node: Node, facts: Facts) -> Mapping[str, Amount]:
    size = float(facts.outputs_size)
    if not _is_number(facts.inputs[1].type):
        return {"divisions": size}
    if not facts.is_event(0):
        return {"multiplies": size}
    return synaptic(facts, [0], facts.total_units(0) * (size / max(facts.inputs_size, 1)))


def _maximum_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].maximum(types[1])


def _minimum_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].minimum(types[1])


def _count_product(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """Count a product of two signals, value by value: what meets what.

    Two events: one accumulate for every unit of the one that meets a unit of the other. One event: one accumulate of
    the other operand for every unit. None: a multiplication.
    """
    events = [index for index in (0, 1) if facts.is_event(index)]
    if not events:
        return {"multiplies": float(facts.outputs_size)}
    if len(events) == 2:
        return synaptic(facts, events, _units_met(facts))
    size = facts.evaluations * facts.inputs[events[0]].size
    return synaptic(facts, events, facts.total_units(events[0]) * (facts.outputs_size / max(size, 1)))


def _units_met(facts: Facts) -> Tensor:
    kinds, made = {signal.type.kind for signal in facts.inputs}, facts.outputs[0]
    if made.type.is_event and "pow2" not in kinds:
        # |a|·|b| is the level of the product.
        return total_units(facts.results[0], made, facts.evaluations)
    x, y = align(facts.units(0), facts.units(1))
    met = x.double() * y
    return met.flatten(1).sum(1).expand(facts.evaluations)


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


def _capture_triangle(lower: bool) -> Callable[[Call], None]:
    """tril and triu: the last two axes with zeros on one side of a diagonal."""

    def capture(call: Call) -> None:
        x = call.apart("self", 2)
        mask = torch.ones(call.shape_of(x)[-2:], dtype=torch.bool)
        mask = mask.tril(call["diagonal"]) if lower else mask.triu(call["diagonal"])
        kept = call.emit("constant", [], {}, {"value": mask})
        zero = call.emit("constant", [], {}, {"value": torch.zeros((), dtype=call.out_dtype)})
        call.give(call.emit("where", [kept, x, zero]))

    return capture


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
        "aten.tril.default": _capture_triangle(True),
        "aten.triu.default": _capture_triangle(False),
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
    _binary("div", "elementwise", torch.true_divide, _quotient_type, _count_quotient, _QUOTIENTS),
    _binary(
        "maximum",
        "elementwise",
        torch.maximum,
        _maximum_type,
        each(activations=1),
        {"aten.maximum.default": _capture_extreme("maximum"), "aten.max.other": _capture_extreme("maximum")},
    ),
    _binary(
        "minimum",
        "elementwise",
        torch.minimum,
        _minimum_type,
        each(activations=1),
        {"aten.minimum.default": _capture_extreme("minimum"), "aten.min.other": _capture_extreme("minimum")},
    ),
    WHERE,
)
