"""Pooling over windows: average, maximum, and both to a fixed output size. Spatial axes come last.

avg_pool divides by ``divisor``, or by the window's size where that is 0: divisor 1 makes it a sum pool. A border that
does not count (``count_include_pad=False``, ``ceil_mode``) divides by what lies inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation, Shapes
from compiler.graph.signals import SignalType
from compiler.operations.call import Call
from compiler.operations.rules import BOOL, INT, INTS, folded, pair, same

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_ADAPTIVE_AVG: Mapping[int, Any] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
_ADAPTIVE_MAX: Mapping[int, Any] = {
    1: F.adaptive_max_pool1d,
    2: F.adaptive_max_pool2d,
    3: F.adaptive_max_pool3d,
}


def _avg_pool(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    rank = len(a["kernel_size"])
    settings = (a["kernel_size"], a["stride"], a["padding"], a["ceil_mode"], a["count_include_pad"])
    if rank == 1 and a["divisor"]:  # torch divides by another number in two dimensions only
        flat = ((1, *a[key]) for key in ("kernel_size", "stride"))
        plane = (*flat, (0, *a["padding"]), a["ceil_mode"], a["count_include_pad"], a["divisor"])
        return (folded(x, 2, lambda z: F.avg_pool2d(z.unsqueeze(-2), *plane).squeeze(-2)),)
    if rank == 1:
        return (folded(x, 2, lambda z: F.avg_pool1d(z, *settings)),)
    run = F.avg_pool2d if rank == 2 else F.avg_pool3d
    return (folded(x, rank + 1, lambda z: run(z, *settings, divisor_override=a["divisor"] or None)),)


def _window(node: Node) -> int:
    return math.prod(node.attributes["kernel_size"])


def _divisors(node: Node, shape: tuple[int, ...]) -> set[int]:
    """Return the numbers of values that windows divide by, each: those inside where borders do not count."""
    a, divisors = node.attributes, {1}
    sizes = shape[len(shape) - len(a["kernel_size"]) :]
    for kernel, stride, pad, size in zip(a["kernel_size"], a["stride"], a["padding"], sizes, strict=True):
        along = set()
        for start in range(-pad, size, stride):
            end = min(start + kernel, size + pad)
            if end - start < kernel and not a["ceil_mode"]:
                break
            along.add(end - start if a["count_include_pad"] else min(end, size) - max(start, 0))
        divisors = {one * other for one in divisors for other in along}
    return divisors


def _avg_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    a = node.attributes
    kind = types[0].with_zero() if any(a["padding"]) or a["ceil_mode"] else types[0]
    if a["divisor"]:
        return kind.times(_window(node)).scaled(Fraction(1, a["divisor"]))
    return _averaged(kind, _divisors(node, shapes[0]))


def _averaged(kind: SignalType, windows: set[int]) -> SignalType:
    """Return the type of averages over as many values as ``windows`` says: all are multiples of one fraction."""
    whole = math.lcm(*windows)
    return kind.times(whole).scaled(Fraction(1, whole))


def _count_avg(node: Node, facts: Facts) -> Mapping[str, float]:
    scaled = {} if facts.is_event(0) or node.attributes["divisor"] == 1 else {"multiplies": float(facts.outputs_size)}
    return {"adds": float(facts.outputs_size * _window(node)), **scaled}


def _capture_avg(rank: int) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        kernel = pair(call["kernel_size"], rank)
        divisor = 0
        if rank > 1 and call.has("divisor_override"):
            divisor = int(call["divisor_override"])
        attributes = {
            "kernel_size": kernel,
            "stride": pair(call["stride"], rank) if call["stride"] else kernel,
            "padding": pair(call["padding"], rank),
            "ceil_mode": bool(call["ceil_mode"]),
            "count_include_pad": bool(call["count_include_pad"]),
            "divisor": divisor,
        }
        call.give(call.emit("avg_pool", [call.apart("self", rank)], attributes))

    return capture


def _max_pool(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    rank = len(a["kernel_size"])
    settings = (a["kernel_size"], a["stride"], a["padding"], a["dilation"], a["ceil_mode"])
    return (folded(x, rank + 1, lambda z: _MAX[rank](z, *settings)),)


def _count_max(node: Node, facts: Facts) -> Mapping[str, float]:
    return {"activations": float(facts.outputs_size * (_window(node) - 1))}


def _capture_max(rank: int) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        kernel = pair(call["kernel_size"], rank)
        attributes = {
            "kernel_size": kernel,
            "stride": pair(call["stride"], rank) if call["stride"] else kernel,
            "padding": pair(call["padding"], rank),
            "dilation": pair(call["dilation"], rank),
            "ceil_mode": bool(call["ceil_mode"]),
        }
        call.give(call.emit("max_pool", [call.apart("self", rank)], attributes))

    return capture


def _adaptive(table: Mapping[int, Any]) -> Callable[..., tuple[Tensor, ...]]:
    def run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
        size = node.attributes["output_size"]
        return (folded(x, len(size) + 1, lambda z: table[len(size)](z, size)),)

    return run


def _adaptive_windows(size: int, outputs: int) -> list[int]:
    """Sizes of the windows along one axis: from ⌊i·n/m⌋ to ⌈(i + 1)·n/m⌉."""
    return [-(-(i + 1) * size // outputs) - i * size // outputs for i in range(outputs)]


def _all_windows(node: Node, shape: tuple[int, ...]) -> list[list[int]]:
    size = node.attributes["output_size"]
    return [_adaptive_windows(n, m) for n, m in zip(shape[len(shape) - len(size) :], size, strict=True)]


def _adaptive_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    windows = {math.prod(sizes) for sizes in product(*(set(w) for w in _all_windows(node, shapes[0])))}
    return _averaged(types[0], windows)


def _adaptive_reads(node: Node, facts: Facts) -> float:
    windows = _all_windows(node, facts.inputs[0].shape)
    lead = facts.outputs[0].size // math.prod(len(w) for w in windows)
    return float(facts.evaluations * lead * math.prod(sum(w) for w in windows))


def _count_adaptive_avg(node: Node, facts: Facts) -> Mapping[str, float]:
    scaled = {} if facts.is_event(0) else {"multiplies": float(facts.outputs_size)}
    return {"adds": _adaptive_reads(node, facts), **scaled}


def _count_adaptive_max(node: Node, facts: Facts) -> Mapping[str, float]:
    return {"activations": _adaptive_reads(node, facts) - facts.outputs_size}


def _capture_adaptive(name: str, rank: int, indices: bool) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        size = pair(call["output_size"], rank)
        made = call.emit(name, [call.apart("self", rank)], {"output_size": size})
        if indices:
            call.give_many([made])
        else:
            call.give(made)

    return capture


_AVG = {
    "kernel_size": INTS,
    "stride": INTS,
    "padding": INTS,
    "ceil_mode": BOOL,
    "count_include_pad": BOOL,
    "divisor": INT,
}
_MAXED = {"kernel_size": INTS, "stride": INTS, "padding": INTS, "dilation": INTS, "ceil_mode": BOOL}

OPERATIONS = (
    Operation(
        "avg_pool",
        "pool",
        _avg_pool,
        _avg_type,
        _count_avg,
        {f"aten.avg_pool{rank}d.default": _capture_avg(rank) for rank in (1, 2, 3)},
        _AVG,
        linear=True,
    ),
    Operation(
        "max_pool",
        "pool",
        _max_pool,
        same,
        _count_max,
        {f"aten.max_pool{rank}d.default": _capture_max(rank) for rank in (1, 2, 3)},
        _MAXED,
    ),
    Operation(
        "adaptive_avg_pool",
        "pool",
        _adaptive(_ADAPTIVE_AVG),
        _adaptive_type,
        _count_adaptive_avg,
        {f"aten.adaptive_avg_pool{r}d.default": _capture_adaptive("adaptive_avg_pool", r, False) for r in (1, 2, 3)},
        {"output_size": INTS},
        linear=True,
    ),
    Operation(
        "adaptive_max_pool",
        "pool",
        _adaptive(_ADAPTIVE_MAX),
        same,
        _count_adaptive_max,
        {f"aten.adaptive_max_pool{r}d.default": _capture_adaptive("adaptive_max_pool", r, True) for r in (1, 2, 3)},
        {"output_size": INTS},
    ),
)
