"""Average pools as convolutions, and a pool beside a convolution as one convolution. All exact.

A pool over windows of k values with stride s, followed (or preceded) by a convolution, is a convolution whose kernel is
the one kernel spread over the other::

    pool → conv     offset = p + s_pool·dilation·c       stride s_pool·s_conv    padding s_pool·pad_conv + pad_pool
    conv → pool     offset = s_conv·p + dilation·c       stride s_conv·s_pool    padding pad_conv

with p in the window and c in the kernel. It reads what lies outside the map in between, too, and so is only taken where
nothing but zeros can lie there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from compiler.graph import Node


def divisor(pool: Node) -> float | None:
    """Return what an average pool divides by, None where that differs between windows."""
    a = pool.attributes
    if pool.op != "avg_pool" or a["ceil_mode"]:
        return None
    if a["divisor"]:
        return float(a["divisor"])
    same = a["count_include_pad"] or not any(a["padding"])
    return float(np.prod(a["kernel_size"])) if same else None


def as_convolution(pool: Node, shape: tuple[int, ...]) -> Node | None:
    """Return an average pool of maps (…, C, *spatial) as a depthwise convolution; None where it is none."""
    a, divided = pool.attributes, divisor(pool)
    if divided is None or len(shape) <= len(a["kernel_size"]):
        return None
    channels = shape[-len(a["kernel_size"]) - 1]
    weight = torch.full((channels, 1, *a["kernel_size"]), 1.0 / divided, dtype=torch.float64)
    settings = {"stride": a["stride"], "padding": a["padding"], "dilation": (1,) * len(a["stride"]), "groups": channels}
    return replace(pool, op="conv", attributes=settings, parameters={"weight": weight})


def joined(first: Node, second: Node, shape: tuple[int, ...], between: tuple[int, ...]) -> Node | None:
    """Return two nodes in a row, a pool and a convolution, as one convolution; None where that is not exact.

    ``shape`` is what the first reads, ``between`` what the second reads.
    """
    pool, conv = (second, first) if first.op == "conv" else (first, second)
    divided = divisor(pool)
    rank = conv.parameters["weight"].ndim - 2 if conv.op == "conv" else 0
    if divided is None or not rank or rank != len(pool.attributes["kernel_size"]):
        return None
    p, c = pool.attributes, conv.attributes
    if conv is first:
        exact = not any(p["padding"])
        steps, spread, padding = c["stride"], c["dilation"], c["padding"]
    else:
        exact = not any(c["padding"]) or _tiles(pool, shape[-rank:], between[-rank:])
        steps, spread = (1,) * rank, _products(p["stride"], c["dilation"])
        padding = tuple(s * q + r for s, q, r in zip(p["stride"], c["padding"], p["padding"], strict=True))
    if not exact:
        return None
    weight = _spread(conv.parameters["weight"].double(), p["kernel_size"], steps, spread) / divided
    settings = {
        "stride": _products(p["stride"], c["stride"]),
        "padding": padding,
        "dilation": (1,) * rank,
        "groups": c["groups"],
    }
    return replace(conv, attributes=settings, parameters={"weight": weight})


def _tiles(pool: Node, inside: tuple[int, ...], outside: tuple[int, ...]) -> bool:
    """Whether windows do not overlap, leave no value out, and start at the border."""
    a = pool.attributes
    windows = zip(a["kernel_size"], a["stride"], a["padding"], inside, outside, strict=True)
    return all(k <= s and pad == 0 and out * s >= size for k, s, pad, size, out in windows)


def _products(x: Sequence[int], y: Sequence[int]) -> tuple[int, ...]:
    return tuple(a * b for a, b in zip(x, y, strict=True))


def _spread(weight: Tensor, window: Sequence[int], steps: Sequence[int], spread: Sequence[int]) -> Tensor:
    """Add up the kernel, spread out by ``spread``, at every place of the window, ``steps`` apart."""
    kernel = weight.shape[2:]
    own = [b * (k - 1) + 1 for b, k in zip(spread, kernel, strict=True)]
    size = [a * (k - 1) + o for a, k, o in zip(steps, window, own, strict=True)]
    total = weight.new_zeros(*weight.shape[:2], *size)
    for at in np.ndindex(*window):
        start = [a * p for a, p in zip(steps, at, strict=True)]
        places = tuple(slice(s, s + o, b) for s, o, b in zip(start, own, spread, strict=True))
        total[(slice(None), slice(None), *places)] += weight
    return total
