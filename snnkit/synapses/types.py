"""What torch's functions do to the types of signals: ``TYPES`` has a rule for each that keeps events events.

What is in none of the tables makes real values of events, and is told of: what reads them is not counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from snnkit.signals import BINARY, REAL, SIGNED, SignalType, integer, single
from snnkit.synapses.call import Call
from snnkit.synapses.fan_out import common_window, numbers

Rule = Callable[[Call, Any], SignalType]


def _first(call: Call) -> SignalType:
    return call.type(call.get(0, "input"))


def _same(call: Call, result: Any) -> SignalType:
    return _first(call)


def _joined(call: Call, result: Any) -> SignalType:
    return reduce(SignalType.union, (call.type(one) for one in call.get(0, "tensors")))


def _sum_of(sign: int) -> Rule:
    def rule(call: Call, result: Any) -> SignalType:
        one, other = call.operands()
        factor = call.kwargs.get("alpha", 1) * sign
        return call.type(one).sum(call.type(other).scaled(factor) if factor != 1 else call.type(other))

    return rule


def _product(call: Call, result: Any) -> SignalType:
    one, other = call.operands()
    return call.type(one).product(call.type(other))


def _quotient(call: Call, result: Any) -> SignalType:
    one, other = call.operands()
    divisor = call.type(other)
    if not (divisor.is_event and divisor.low == divisor.high != 0) or call.kwargs.get("rounding_mode"):
        return REAL
    return call.type(one).scaled(1 / (divisor.low * divisor.scale))


def _summed(call: Call, result: Tensor) -> SignalType:
    return _first(call).times(call.get(0, "input").numel() // max(result.numel(), 1))


def _mean(call: Call, result: Tensor) -> SignalType:
    count = call.get(0, "input").numel() // max(result.numel(), 1)
    return _averaged(_first(call), count)


def _averaged(kind: SignalType, count: int) -> SignalType:
    return kind.times(count).scaled(Fraction(1, count))


def _matmul(call: Call, result: Any) -> SignalType:
    one, other = call.operands()
    return _product(call, result).times(_depth(one)) if isinstance(other, Tensor) else REAL


def _depth(x: Tensor) -> int:
    return x.shape[-1]


def _einsum(call: Call, result: Any) -> SignalType:
    equation, operands = einsum_arguments(call)
    if len(operands) != 2 or "..." in equation or "->" not in equation:
        return REAL
    left, right = equation.replace(" ", "").split("->")
    sizes = {
        letter: size
        for term, value in zip(left.split(","), operands, strict=True)
        for letter, size in zip(term, value.shape, strict=True)
    }
    count = math.prod(size for letter, size in sizes.items() if letter not in right)
    return call.type(operands[0]).product(call.type(operands[1])).times(count)


def einsum_arguments(call: Call) -> tuple[str, Sequence[Tensor]]:
    """Return equation and operands; an equation that is no text is returned as "..."."""
    equation, *operands = call.args
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    return (equation, operands) if isinstance(equation, str) else ("...", ())


def _avg_pool(call: Call, result: Tensor) -> SignalType:
    rank = int(call.name[8])
    kernel = numbers(call.get(1, "kernel_size"), rank)
    padding = numbers(call.get(3, "padding", 0), rank)
    kind, window = _first(call), math.prod(kernel)
    if call.get(4, "ceil_mode", False) or (any(padding) and not call.get(5, "count_include_pad", True)):
        # Windows at the border divide by fewer values; the sizes 1 … k along each axis cover all of them.
        window = math.prod(math.lcm(*range(1, k + 1)) for k in kernel)
        return _averaged(kind.with_zero(), window)
    divisor = call.get(6, "divisor_override") if rank > 1 else None
    return (kind.with_zero() if any(padding) else kind).times(window).scaled(Fraction(1, divisor or window))


def _adaptive(call: Call, result: Tensor) -> SignalType:
    rank = int(call.name[len("adaptive_avg_pool")])
    return _averaged(_first(call), common_window(call.get(0, "input").shape[-rank:], result.shape[-rank:]))


def _padded(call: Call, result: Any) -> SignalType:
    kind = _first(call)
    return kind.union(single(call.get(3, "value") or 0)) if call.get(2, "mode", "constant") == "constant" else kind


def _resized(call: Call, result: Any) -> SignalType:
    return _first(call) if "nearest" in call.get(3, "mode", "nearest") else REAL


def _where(call: Call, result: Any) -> SignalType:
    condition, one, other = call.args[:3] if len(call.args) > 2 else (None, call.get(1, "input"), call.get(2, "other"))
    if isinstance(one, Tensor) and one.dtype == torch.bool and condition is not None:
        one = condition  # x.where(condition, other)
    return call.type(one).union(call.type(other))


def _filled(call: Call, result: Any) -> SignalType:
    return _first(call).union(call.type(call.get(2, "value")))


def _written(call: Call, result: Any) -> SignalType:
    """x[…] = v: values of both."""
    return _first(call).union(call.type(call.args[2]))


def _copied(call: Call, result: Any) -> SignalType:
    return call.type(call.get(1, "src"))


def _extreme(choose: Callable[[SignalType, SignalType], SignalType]) -> Rule:
    def rule(call: Call, result: Any) -> SignalType:
        other = call.get(1, "other")
        return choose(_first(call), call.type(other)) if isinstance(other, Tensor) else _first(call)

    return rule


def _clamped(call: Call, result: Any) -> SignalType:
    low, high = call.get(1, "min"), call.get(2, "max")
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return REAL
    return _first(call).clamped(-math.inf if low is None else low, math.inf if high is None else high)


def _relu(call: Call, result: Any) -> SignalType:
    return _first(call).clamped(0.0, math.inf)


def _negative(call: Call, result: Any) -> SignalType:
    return _first(call).scaled(-1)


def _absolute(call: Call, result: Any) -> SignalType:
    kind = _first(call)
    return kind if not kind.is_event or kind.low >= 0 else integer(0, kind.magnitude, kind.scale)


def _binary(call: Call, result: Any) -> SignalType:
    return BINARY


def _sign(call: Call, result: Any) -> SignalType:
    return BINARY if _first(call).is_event and _first(call).low >= 0 else SIGNED


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


MOVES = _names(
    """alias as_strided broadcast_to channel_shuffle chunk clone contiguous cpu cuda detach double bfloat16 expand
    expand_as flatten flip float gather getitem half index_select moveaxis movedim narrow native_channel_shuffle permute
    pixel_shuffle pixel_unshuffle ravel repeat repeat_interleave requires_grad reshape reshape_as roll select split
    split_with_sizes squeeze swapaxes swapdims t take_along_dim tensor_split tile to transpose type type_as unbind
    unflatten unfold unsqueeze view view_as mT T diagonal dropout dropout1d dropout2d dropout3d"""
)
"""Values change place only, or are dropped: what is left is divided by its share, the same number on average."""

POOLED = _names(
    """max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
    adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax amin"""
)

ALWAYS: Mapping[str, Rule] = {
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne", "logical_and", "logical_or", "logical_not"), _binary),
    "sign": _sign,
}
"""Functions that make events of real values too."""

TYPES: Mapping[str, Rule] = {
    **ALWAYS,
    **dict.fromkeys(MOVES | POOLED, _same),
    **dict.fromkeys(("cat", "concat", "concatenate", "stack", "hstack", "vstack"), _joined),
    **dict.fromkeys(("add", "radd"), _sum_of(1)),
    **dict.fromkeys(("sub", "subtract", "rsub"), _sum_of(-1)),
    **dict.fromkeys(("mul", "multiply", "rmul"), _product),
    **dict.fromkeys(("div", "divide", "true_divide", "truediv", "rdiv"), _quotient),
    **dict.fromkeys(("matmul", "bmm", "mm", "rmatmul"), _matmul),
    **{f"avg_pool{rank}d": _avg_pool for rank in (1, 2, 3)},
    **{f"adaptive_avg_pool{rank}d": _adaptive for rank in (1, 2, 3)},
    "einsum": _einsum,
    "sum": _summed,
    "mean": _mean,
    "pad": _padded,
    "interpolate": _resized,
    "where": _where,
    "masked_fill": _filled,
    "setitem": _written,
    "copy": _copied,
    "max": _extreme(SignalType.maximum),
    "maximum": _extreme(SignalType.maximum),
    "min": _extreme(SignalType.minimum),
    "minimum": _extreme(SignalType.minimum),
    "clamp": _clamped,
    "clip": _clamped,
    "relu": _relu,
    "neg": _negative,
    "abs": _absolute,
}

REALS = _names(
    """linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d batch_norm layer_norm group_norm
    instance_norm rms_norm scaled_dot_product_attention baddbmm addmm softmax log_softmax sigmoid tanh gelu silu exp log
    sqrt rsqrt norm vector_norm var std erf leaky_relu elu softplus"""
)
"""Functions whose results are real, whatever they read; the first of them meet weights (see ``counts``)."""

CONSTANTS = _names(
    """zeros_like ones_like full_like empty_like rand_like randn_like new_zeros new_ones new_full new_empty new_tensor
    size dim numel get is_floating_point is_complex len stride data_ptr is_contiguous element_size nelement ndimension
    hash bool item tolist format repr backward register_hook retain_grad"""
)
"""Functions that ask about a tensor, or make another of its shape: their results do not depend on its values."""
