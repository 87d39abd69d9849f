"""Reductions over ``axes`` (negative) of a sample: sum, mean, max, min, var, norm. ``keepdim`` keeps them as 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Captures, CountRule, Operation, Shapes, TypeRule
from compiler.graph.signals import SignalType, integer
from compiler.operations.call import Call
from compiler.operations.rules import BOOL, INT, INTS, NUMBER, compared, each, each_input, real, reduced, same

Reduce = Callable[[Tensor, tuple[int, ...], bool], Tensor]


def _reduction(
    name: str,
    function: Reduce,
    type_rule: TypeRule,
    count: CountRule,
    overloads: tuple[str, ...],
    linear: bool = False,
) -> Operation:
    def run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
        return (function(x, node.attributes["axes"], node.attributes["keepdim"]),)

    captures: Captures = {overload: _capture(name) for overload in overloads}
    if name in ("max", "min"):
        captures = {**captures, f"aten.{name}.dim": _capture_extreme_with_index(name)}
    return Operation(name, "pool", run, type_rule, count, captures, {"axes": INTS, "keepdim": BOOL}, linear=linear)


def _dims(call: Call) -> Sequence[int] | None:
    try:
        dim = call["dim"] if call.has("dim") else None
    except KeyError:  # over everything
        return None
    return [dim] if isinstance(dim, int) else dim


def _capture(name: str) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        axes, x = call.axes("self", _dims(call)), call.signal("self")
        made = call.emit(name, [x], {"axes": axes, "keepdim": True}) if axes else x
        call.give(call.reshape(made, call.out.sample))

    return capture


def _capture_extreme_with_index(name: str) -> Callable[[Call], None]:
    """max and min along one axis also say where; only the values are known."""

    def capture(call: Call) -> None:
        axes = call.axes("self", [call["dim"]])
        values = call.emit(name, [call.signal("self")], {"axes": axes, "keepdim": True})
        call.give_many([call.reshape(values, call.out.sample)])

    return capture


def _sum_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].times(reduced(shapes[0], node.attributes["axes"]))


def _mean_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    count = reduced(shapes[0], node.attributes["axes"])
    return types[0].times(count).scaled(Fraction(1, count))


def _count_mean(node: Node, facts: Facts) -> Mapping[str, float]:
    scaled = {} if facts.is_event(0) else {"multiplies": float(facts.outputs_size)}
    return {"adds": float(facts.inputs_size), **scaled}


def _var(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    return (torch.var(x, a["axes"], correction=a["correction"], keepdim=a["keepdim"]),)


def _count_var(node: Node, facts: Facts) -> Mapping[str, float]:
    """Mean, differences, their squares, and the sum of those; both sums are divided by known numbers."""
    size = float(facts.inputs_size)
    return {"adds": 3 * size, "multiplies": size + 2.0 * facts.outputs_size}


def _capture_var(root: bool) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        correction: float = 1
        for name in ("correction", "unbiased"):
            try:
                correction = float(call[name]) if call.has(name) else correction
            except KeyError:
                continue
        axes = call.axes("self", _dims(call))
        attributes = {"axes": axes, "keepdim": True, "correction": int(correction)}
        made = call.emit("var", [call.signal("self")], attributes)
        made = call.emit("sqrt", [made]) if root else made
        call.give(call.reshape(made, call.out.sample))

    return capture


def _count_logsumexp(node: Node, facts: Facts) -> Mapping[str, float]:
    """The largest, its distance from all, their exponentials and sum, one logarithm and one addition."""
    values, rows = float(facts.inputs_size), float(facts.outputs_size)
    return {"activations": values - rows, "adds": 2 * values, "exponentials": values + rows}


def _norm(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    return (torch.linalg.vector_norm(x, a["order"], a["axes"], a["keepdim"]),)


def _count_norm(node: Node, facts: Facts) -> Mapping[str, float]:
    """(Σ |x|^p)^(1/p); the largest value for p = ∞, the number of values ≠ 0 for p = 0."""
    size, results, order = float(facts.inputs_size), float(facts.outputs_size), node.attributes["order"]
    if order == 2:
        return {"adds": size, "multiplies": size, "roots": results}
    if math.isinf(order):
        return {"activations": 2 * size - results}
    powers = {} if order in (0, 1) else {"exponentials": 2 * (size + results), "multiplies": size + results}
    return {"adds": size, "activations": size, **powers}


def _capture_norm(call: Call) -> None:
    axes = call.axes("self", _dims(call))
    attributes = {"order": float(call["ord"]), "axes": axes, "keepdim": True}
    made = call.emit("norm", [call.signal("self")], attributes)
    call.give(call.reshape(made, call.out.sample))


def _cumsum(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.cumsum(x, node.attributes["axis"]),)


def _cumsum_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    count, kind = shapes[0][node.attributes["axis"]], types[0]
    whole = kind.times(count)
    return integer(min(kind.low, whole.low), max(kind.high, whole.high), kind.scale) if kind.is_event else whole


def _capture_cumsum(call: Call) -> None:
    axis = call.axis("self", call["dim"])
    if axis is None:
        raise call.refuse("adds up time steps")
    call.give(call.emit("cumsum", [call.signal("self")], {"axis": axis}))


OPERATIONS = (
    _reduction(
        "sum",
        lambda x, axes, keep: x.sum(axes, keepdim=keep),
        _sum_type,
        each_input(adds=1),
        ("aten.sum.dim_IntList", "aten.sum.default"),
        linear=True,
    ),
    _reduction(
        "mean",
        lambda x, axes, keep: x.mean(axes, keepdim=keep),
        _mean_type,
        _count_mean,
        ("aten.mean.dim", "aten.mean.default"),
        linear=True,
    ),
    _reduction("max", lambda x, axes, keep: x.amax(axes, keepdim=keep), same, compared, ("aten.amax.default",)),
    _reduction("min", lambda x, axes, keep: x.amin(axes, keepdim=keep), same, compared, ("aten.amin.default",)),
    _reduction(
        "logsumexp",
        lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
        real,
        _count_logsumexp,
        ("aten.logsumexp.default",),
    ),
    Operation(
        "var",
        "pool",
        _var,
        real,
        _count_var,
        {
            "aten.var.dim": _capture_var(False),
            "aten.var.correction": _capture_var(False),
            "aten.std.dim": _capture_var(True),
            "aten.std.correction": _capture_var(True),
        },
        {"axes": INTS, "keepdim": BOOL, "correction": INT},
    ),
    Operation(
        "norm",
        "pool",
        _norm,
        real,
        _count_norm,
        {"aten.linalg_vector_norm.default": _capture_norm},
        {"order": NUMBER, "axes": INTS, "keepdim": BOOL},
    ),
    Operation(
        "cumsum", "pool", _cumsum, _cumsum_type, each(adds=1), {"aten.cumsum.default": _capture_cumsum}, {"axis": INT}
    ),
)
