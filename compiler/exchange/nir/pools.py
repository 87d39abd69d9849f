"""Pools and shapes in NIR, both ways."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from compiler.exchange.nir.context import Reading, Writing
from compiler.exchange.nir.package import NirError
from compiler.exchange.nir.weights import numbers
from compiler.graph import Node


def write_avg_pool(w: Writing, node: Node) -> None:
    """avg_pool → AvgPool2d, or SumPool2d where it divides by 1."""
    a, shape = node.attributes, w.shape(node.inputs[0])
    window = math.prod(a["kernel_size"])
    if len(a["kernel_size"]) != 2 or len(shape) != 3:
        raise NirError(f"{node.name} (avg_pool) pools a signal of shape {shape}; NIR pools (C, H, W) over H and W.")
    if a["divisor"] not in (0, 1, window):
        raise NirError(
            f"{node.name} (avg_pool) divides by {a['divisor']}; NIR divides by the window's size, {window}, or by 1. "
            "Divide by 1 and scale what follows."
        )
    if a["ceil_mode"] and w.shape(node.output)[1:] != _floored(a, shape[1:]):
        raise NirError(f"{node.name} (avg_pool) has windows that hang over the border (ceil_mode), which NIR has not.")
    summed = a["divisor"] == 1 and window != 1
    if any(a["padding"]) and not summed:
        if not a["count_include_pad"] and not a["divisor"]:
            raise NirError(
                f"{node.name} (avg_pool) leaves padded zeros out of its averages, which NIR cannot say; build it with "
                "count_include_pad=True."
            )
        w.notes.append(f"{node.name} counts padded zeros in its averages; NIR does not say whether to")
    _put_pool(
        w, node, "SumPool2d" if summed else "AvgPool2d", *(a[key] for key in ("kernel_size", "stride", "padding"))
    )


def _put_pool(w: Writing, node: Node, kind: str, *sizes: tuple[int, ...]) -> None:
    w.put(node, getattr(w.package, kind)(*(np.array(size) for size in sizes)))
    if w.portable and kind == "AvgPool2d":
        w.notes.append(f"{node.name} is an AvgPool2d, which Norse 1.1 does not read")


def _floored(a: Any, size: tuple[int, ...]) -> tuple[int, ...]:
    """Return the output size of a pool without windows that hang over the border."""
    settings = zip(size, a["kernel_size"], a["stride"], a["padding"], strict=True)
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in settings)


def read_pool(r: Reading, name: str, node: Any, x: str) -> str:
    """AvgPool2d, SumPool2d → avg_pool; padded zeros count."""
    r.rank(x, 3)
    attributes: dict[str, Any] = {key: numbers(getattr(node, key), 2) for key in ("kernel_size", "stride", "padding")}
    if min(*attributes["kernel_size"], *attributes["stride"]) < 1:
        raise ValueError(f"kernel_size={attributes['kernel_size']}, stride={attributes['stride']}")
    attributes |= {"ceil_mode": False, "count_include_pad": True}
    attributes["divisor"] = 1 if type(node).__name__ == "SumPool2d" else 0
    return r.add(name, "avg_pool", (x,), attributes)


def write_adaptive_pool(w: Writing, node: Node) -> None:
    """adaptive_avg_pool → AvgPool2d, where its windows are all alike."""
    shape, size = w.shape(node.inputs[0]), tuple(node.attributes["output_size"])
    if len(shape) != 3 or len(size) != 2 or any(n % m for n, m in zip(shape[1:], size, strict=True)):
        raise NirError(
            f"{node.name} (adaptive_avg_pool) makes {size} of a signal of shape {shape}; NIR pools (C, H, W) with "
            "windows of one size. Give sizes that divide."
        )
    _write_average(w, node, tuple(n // m for n, m in zip(shape[1:], size, strict=True)))


def write_mean(w: Writing, node: Node) -> None:
    """mean of whole maps → AvgPool2d, and a Flatten where the axes go."""
    shape, axes = w.shape(node.inputs[0]), tuple(sorted(node.attributes["axes"]))
    if len(shape) != 3 or axes != (-2, -1):
        raise NirError(
            f"{node.name} (mean) averages axes {axes} of a signal of shape {shape}; NIR averages (C, H, W) over H and "
            "W alone."
        )
    _write_average(w, node, shape[1:])
    if not node.attributes["keepdim"]:
        before = (shape[0], 1, 1)
        flatten = w.package.Flatten(input_type={"input": np.array(before)}, start_dim=-3, end_dim=-1)
        w.follow(node, flatten, before)


def _write_average(w: Writing, node: Node, kernel: tuple[int, ...]) -> None:
    _put_pool(w, node, "AvgPool2d", kernel, kernel, (0, 0))
    if math.prod(kernel) > 1:
        w.notes.append(f"{node.name} became an average pool: sums may round differently")


def write_max_pool(w: Writing, node: Node) -> None:
    """max_pool of spikes → SumPool2d and Threshold: a window holds a spike where its sum lies above 0."""
    a, signal = node.attributes, node.inputs[0]
    shape, kind = w.shape(signal), w.graph.type(signal)
    if len(a["kernel_size"]) != 2 or len(shape) != 3 or not kind.is_event or str(kind) != "binary":
        raise NirError(
            f"{node.name} (max_pool) pools a signal of shape {shape} and type {kind}; NIR has no maximum, but that of "
            "spikes in maps (C, H, W), a sum above 0. Use an average pool."
        )
    if set(a["dilation"]) != {1} or (a["ceil_mode"] and w.shape(node.output)[1:] != _floored(a, shape[1:])):
        raise NirError(
            f"{node.name} (max_pool) has windows with gaps (dilation) or over the border (ceil_mode), which NIR lacks."
        )
    pool = w.package.SumPool2d(*(np.array(a[key]) for key in ("kernel_size", "stride", "padding")))
    after = w.shape(node.output)
    w.put(node, pool, f"{node.name}_sum")
    w.follow(node, w.package.Threshold(np.zeros(after, w.dtype)), after, node.name)


def write_reshape(w: Writing, node: Node) -> None:
    """reshape → Flatten, where neighbouring axes become one.

    NIR's shapes have no batch axis, yet Norse and snnTorch count it when they read. Axes that are counted from the last
    are the same ones for every reader.
    """
    before, after = w.shape(node.inputs[0]), w.shape(node.output)
    if before == after:
        w.sources[node.output] = w.read(node.inputs[0], node.name)
        return
    ends = _merged(before, after)
    if ends is None:
        raise NirError(
            f"{node.name} (reshape) makes {after} of {before}; NIR's Flatten merges neighbouring axes into one and "
            "does nothing else."
        )
    w.put(node, w.package.Flatten(input_type={"input": np.array(before)}, start_dim=ends[0], end_dim=ends[1]))


def _merged(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the first and last axis that were merged, as negative numbers; None where something else was done."""
    rank = len(before)
    for start in range(rank):
        for end in range(rank - 1, start - 1, -1):
            if (*before[:start], math.prod(before[start : end + 1]), *before[end + 1 :]) == after:
                return start - rank, end - rank
    return None


def read_flatten(r: Reading, name: str, node: Any, x: str) -> str:
    """Flatten → reshape; axis 0 is the first of a sample, as in all of NIR."""
    shape = r.shape(x)
    start, end = (int(axis) + (len(shape) if axis < 0 else 0) for axis in (node.start_dim, node.end_dim))
    if not 0 <= start <= end < len(shape):
        raise ValueError(f"it flattens axes {int(node.start_dim)} to {int(node.end_dim)}")
    merged = (*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :])
    return x if merged == shape else r.add(name, "reshape", (x,), {"shape": merged})
