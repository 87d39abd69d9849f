"""Activations: functions of one value. To add one: its line in ``_TABLE``.

Counted as comparisons (``activations``) where that is all they are, else as the multiplications, divisions and
exponentials of their usual form: GELU's error function and tanh count as one exponential and one division.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Captures, CountRule, Operation, TypeRule
from compiler.graph.signals import REAL, SignalType
from compiler.operations.call import Call
from compiler.operations.rules import NUMBER, TEXT, each, real, scaled_by

_COMPARED = each(activations=1)
_SMOOTH = each(multiplies=2, adds=1, exponentials=1, divisions=1)
_HARD = each(activations=2, multiplies=1, adds=1)


def _of_positive(x: SignalType) -> SignalType:
    """What leaves positive values as they are, and events with them."""
    return x if x.is_event and x.low >= 0 else REAL


def _unary(
    name: str,
    function: Callable[..., Tensor],
    count: CountRule,
    type_rule: TypeRule = real,
    defaults: dict[str, Any] | None = None,
    more: Captures = NOT_CAPTURED,
) -> Operation:
    """Return an activation whose further arguments are attributes of the same names; ``more`` calls lead to it."""
    own = defaults or {}

    def run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
        return (function(x, **{key: node.attributes[key] for key in own}),)

    def capture(call: Call) -> None:
        call.give(call.emit(name, [call.signal("self")], {key: _plain(call[key], own[key]) for key in own}))

    kinds = {key: TEXT if isinstance(value, str) else NUMBER for key, value in own.items()}
    captures = {f"aten.{name}.default": capture, **more}
    return Operation(name, "activation", run, type_rule, count, captures, kinds)


def _plain(value: Any, default: Any) -> Any:
    return default if value is None else value


def _gelu(x: Tensor, approximate: str) -> Tensor:
    return F.gelu(x, approximate=approximate)


def _clamp(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x.clamp(node.attributes["low"], node.attributes["high"]),)


def _clamp_type(node: Node, types: Any, shapes: Any) -> Any:
    return types[0].clamped(node.attributes["low"], node.attributes["high"])


def _count_clamp(node: Node, facts: Facts) -> Mapping[str, float]:
    """A comparison with each end that there is."""
    ends = sum(math.isfinite(node.attributes[end]) for end in ("low", "high"))
    return {"activations": float(ends * facts.outputs_size)}


def _ends(low: str, high: str) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        ends = {}
        for end, key, none in (("low", low, -torch.inf), ("high", high, torch.inf)):
            ends[end] = float(call[key]) if key and call.has(key) else none
        call.give(call.emit("clamp", [call.signal("self")], ends))

    return capture


def _fixed_clamp(low: float, high: float) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        call.give(call.emit("clamp", [call.signal("self")], {"low": low, "high": high}))

    return capture


CLAMP = Operation(
    "clamp",
    "activation",
    _clamp,
    _clamp_type,
    _count_clamp,
    {
        "aten.clamp.default": _ends("min", "max"),
        "aten.clamp_min.default": _ends("min", ""),
        "aten.clamp_max.default": _ends("", "max"),
        "aten.hardtanh.default": _ends("min_val", "max_val"),
        "aten.relu6.default": _fixed_clamp(0.0, 6.0),
    },
    {"low": NUMBER, "high": NUMBER},
)


def _capture_glu(call: Call) -> None:
    """The first half of an axis times the sigmoid of the second."""
    axis = call.axis("self", call["dim"])
    if axis is None:
        raise call.refuse("is a gate over time steps")
    x = call.signal("self")
    half = call.shape_of(x)[axis] // 2
    first, second = (
        call.emit("slice", [x], {"axis": axis, "start": start, "stop": start + half, "step": 1}) for start in (0, half)
    )
    call.give(call.emit("mul", [first, call.emit("sigmoid", [second])]))


OPERATIONS = (
    _unary("relu", torch.relu, _COMPARED, scaled_by(lambda x: x.clamped(0, torch.inf))),
    _unary(
        "leaky_relu",
        F.leaky_relu,
        each(activations=1, multiplies=1),
        scaled_by(_of_positive),
        {"negative_slope": 0.01},
    ),
    _unary("gelu", _gelu, _SMOOTH, defaults={"approximate": "none"}),
    _unary("silu", F.silu, each(adds=1, exponentials=1, divisions=1)),
    _unary("mish", F.mish, each(multiplies=2, adds=1, exponentials=2, divisions=1)),
    _unary(
        "sigmoid",
        torch.sigmoid,
        each(adds=1, exponentials=1, divisions=1),
        more={"aten.glu.default": _capture_glu},
    ),
    _unary("tanh", torch.tanh, each(adds=2, exponentials=1, divisions=1)),
    _unary(
        "elu",
        F.elu,
        each(activations=1, multiplies=1, adds=1, exponentials=1),
        scaled_by(_of_positive),
        {"alpha": 1.0},
    ),
    _unary("selu", F.selu, each(activations=1, multiplies=2, adds=1, exponentials=1)),
    _unary(
        "softplus",
        F.softplus,
        each(activations=1, multiplies=2, adds=1, exponentials=2),
        defaults={"beta": 1, "threshold": 20},
    ),
    _unary("hardsigmoid", F.hardsigmoid, _HARD),
    _unary("hardswish", F.hardswish, each(activations=2, multiplies=2, adds=1)),
    _unary("erf", torch.erf, _SMOOTH),
    CLAMP,
)
