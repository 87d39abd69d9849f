"""What torch's functions cost in synaptic operations: ``COUNTS`` has a rule for each that lets an event meet a weight.

    layer with weights       Σ units(x) · fan-out(x)
    product, event × event   Σ units that meet units: both operands count
    product, event × real    Σ units(x) · values of the other operand that each meets
    event × stored number    Σ units(x), unless a layer with weights is next, which takes the number up

Where a real value meets a weight there is a multiply-accumulate instead, which is not counted here. These are the
rules of ``compiler.count`` for a network whose batch norms are folded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from snnkit.synapses.call import Call, broadcast, joint_size
from snnkit.synapses.fan_out import conv_fan_out, numbers, padding_of, transposed_fan_out
from snnkit.synapses.types import einsum_arguments
from snnkit.synapses.units import units


def _wide(x: Tensor) -> torch.dtype:
    """Return what sums are taken in: float32 or more, whatever a network computes in."""
    return torch.promote_types(x.dtype, torch.float32)


def _reach(call: Call, x: Tensor, fan: Tensor, filters: int) -> None:
    """Count events on maps (…, *spatial) that meet ``filters`` times ``fan`` (*spatial) weights; axes in front any."""
    kind, lead = call.type(x), list(range(x.ndim - fan.ndim))
    _taken_up(call, x)

    def evaluate(x: Tensor) -> Tensor:
        return (units(x, kind).sum(lead, dtype=_wide(x)) * fan).sum() * filters

    dense = float(fan.sum()) * filters * (x.numel() // max(fan.numel(), 1))
    call.add(call.name, [x], evaluate, dense)


def _spread(call: Call, x: Tensor, each: float) -> int:
    """Count events each of which meets ``each`` weights or values; return the count's number."""
    kind = call.type(x)

    def evaluate(x: Tensor) -> Tensor:
        return units(x, kind).sum(dtype=_wide(x)) * each

    return call.add(call.name, [x], evaluate, x.numel() * each)


def _taken_up(call: Call, x: Tensor) -> None:
    """Take back the count of a product with stored numbers that a layer behind it takes up."""
    if call.known[id(x)].scaled >= 0:
        call.drop(call.known[id(x)].scaled)


def _linear(call: Call) -> None:
    x, weight = call.get(0, "input"), call.get(1, "weight")
    if call.is_signal(weight):
        _met(call, x, weight, -2)
    elif call.is_event(x):
        _taken_up(call, x)
        _spread(call, x, weight.shape[0] if weight.ndim > 1 else 1)


def _conv(call: Call) -> None:
    x, weight = call.get(0, "input"), call.get(1, "weight")
    if not call.is_event(x):
        return
    rank, kernel = weight.ndim - 2, tuple(weight.shape[2:])
    dilation = numbers(call.get(5, "dilation", 1), rank)
    front, behind = padding_of(call.get(4, "padding", 0), kernel, dilation)
    stride = numbers(call.get(3, "stride", 1), rank)
    fan = conv_fan_out(tuple(x.shape[-rank:]), kernel, stride, front, behind, dilation, x.device)
    _reach(call, x, fan, weight.shape[0] // call.get(6, "groups", 1))


def _conv_transposed(call: Call) -> None:
    x, weight = call.get(0, "input"), call.get(1, "weight")
    if not call.is_event(x):
        return
    rank, kernel = weight.ndim - 2, tuple(weight.shape[2:])
    given = ((3, "stride", 1), (4, "padding", 0), (5, "output_padding", 0), (7, "dilation", 1))
    stride, padding, extra, dilation = (numbers(call.get(*one), rank) for one in given)
    fan = transposed_fan_out(tuple(x.shape[-rank:]), kernel, stride, padding, extra, dilation, x.device)
    _reach(call, x, fan, weight.shape[1])


def _batch_norm(call: Call) -> None:
    if call.is_event(call.get(0, "input")):
        _spread(call, call.get(0, "input"), 1)


def _matmul(call: Call) -> None:
    _met(call, *call.operands())


def _added_product(call: Call) -> None:
    """addmm, baddbmm: the first argument is added to the product of the other two."""
    _met(call, call.args[1], call.args[2])


def _met(call: Call, x: Tensor, y: Tensor, columns: int = -1) -> None:
    """Count the product of x (…, n, k) and y, which is (…, k, m), or (…, m, k) where its ``columns`` are axis −2."""
    if x.ndim < 2 or y.ndim < 2:
        if call.is_event(x):
            _spread(call, x, y.shape[columns] if y.ndim > 1 else 1)
        return
    macs = joint_size(x.shape[:-2], y.shape[:-2]) * x.shape[-2] * x.shape[-1] * y.shape[columns]
    events = [one for one in (x, y) if call.is_event(one)]
    if len(events) == 1:
        if not (call.is_signal(x) and call.is_signal(y)):
            _taken_up(call, events[0])
        _spread(call, events[0], macs / max(events[0].numel(), 1))
    elif events:
        left, right = call.type(x), call.type(y)

        def evaluate(x: Tensor, y: Tensor) -> Tensor:
            # Σ_k (Σ_n |x_nk|)(Σ_m |y_km|): every unit of the one meets every unit of the other at the same k.
            return (units(x, left).sum(-2, dtype=_wide(x)) * units(y, right).sum(columns, dtype=_wide(y))).sum()

        call.add(call.name, [x, y], evaluate, float(macs))


def _attention(call: Call) -> None:
    """q kᵀ by what both carry; the weights of the softmax are real, so that v's units meet one for every query."""
    q, k, v = (call.get(at, name) for at, name in enumerate(("query", "key", "value")))
    _met(call, q, k, -2)
    if call.is_event(v):
        pairs = joint_size(q.shape[:-2], v.shape[:-2]) * q.shape[-2] * v.shape[-2]
        _spread(call, v, pairs * v.shape[-1] / max(v.numel(), 1))


def _einsum(call: Call) -> None:
    equation, operands = einsum_arguments(call)
    if len(operands) != 2 or "..." in equation:
        return
    events = [call.is_event(one) for one in operands]
    kinds = [call.type(one) for one in operands]
    terms = equation.replace(" ", "").split("->")[0]

    def evaluate(*given: Tensor) -> Tensor:
        waiting, factors = iter(given), []
        for operand, kind, event in zip(operands, kinds, events, strict=True):
            dtype = _wide(operand)
            factors.append(units(next(waiting), kind).to(dtype) if event else torch.ones_like(operand, dtype=dtype))
        return torch.einsum(f"{terms}->", *factors)

    if any(events):
        sizes = {
            letter: size
            for term, operand in zip(terms.split(","), operands, strict=True)
            for letter, size in zip(term, operand.shape, strict=True)
        }
        given = [operand for operand, event in zip(operands, events, strict=True) if event]
        call.add(call.name, given, evaluate, float(math.prod(sizes.values())))


def _product(call: Call) -> None:
    """Value by value; a product with a number or stored tensor may be taken up by the layer behind it."""
    x, y = call.operands()
    events = [one for one in (x, y) if call.is_event(one)]
    if len(events) == 2:
        left, right = call.type(x), call.type(y)

        def evaluate(x: Tensor, y: Tensor) -> Tensor:
            return (units(x, left) * units(y, right)).sum(dtype=_wide(x))

        call.add(call.name, [x, y], evaluate, float(broadcast(x, y)))
    elif events and not any(isinstance(one, (int, float)) and one == 1 for one in (x, y)):
        _spread(call, events[0], broadcast(x, y) / max(events[0].numel(), 1))


def _quotient(call: Call) -> None:
    x, y = call.operands()
    if call.is_event(x) and not call.is_signal(y):
        _spread(call, x, broadcast(x, y) / max(x.numel(), 1))


WEIGHTS: Mapping[str, Callable[[Call], None]] = {
    "linear": _linear,
    **{f"conv{rank}d": _conv for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": _conv_transposed for rank in (1, 2, 3)},
}
"""Layers with weights, which take up numbers and batch norms before them."""

COUNTS: Mapping[str, Callable[[Call], None]] = {
    **WEIGHTS,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("matmul", "bmm", "mm", "rmatmul"), _matmul),
    **dict.fromkeys(("addmm", "baddbmm"), _added_product),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    **dict.fromkeys(("mul", "multiply", "rmul"), _product),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv", "rdiv"), _quotient),
}


def is_scale(call: Call) -> bool:
    """Whether a call multiplies a signal by something stored, which a layer with weights behind it takes up."""
    signals = [call.is_signal(one) for one in call.operands()]
    return call.name in ("mul", "multiply", "rmul") and sum(signals) == 1
