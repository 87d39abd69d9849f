"""Average pools as convolutions, and a pool beside a convolution as one convolution. All exact."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from compiler.graph import Node
from compiler.passes.merge_layers import merged_conv


def as_convolution(node: Node, shape: tuple[int, ...]) -> Node | None:
    """Return an average (or sum) pool of maps (…, C, *spatial) as a depthwise convolution, a convolution as it is.

    None for anything else, and where windows at the border are divided by other numbers than those inside.
    """
    if node.op == "conv":
        return replace(node, parameters={"weight": node.parameters["weight"].double()})
    a = node.attributes
    if node.op != "avg_pool" or a["ceil_mode"] or len(shape) <= len(a["kernel_size"]):
        return None
    if not a["divisor"] and any(a["padding"]) and not a["count_include_pad"]:
        return None
    channels, window = shape[-len(a["kernel_size"]) - 1], math.prod(a["kernel_size"])
    weight = torch.full((channels, 1, *a["kernel_size"]), 1.0 / (a["divisor"] or window), dtype=torch.float64)
    settings = {"stride": a["stride"], "padding": a["padding"], "dilation": (1,) * len(a["stride"]), "groups": channels}
    return replace(node, op="conv", attributes=settings, parameters={"weight": weight})


def joined(first: Node, second: Node, shape: tuple[int, ...], between: tuple[int, ...]) -> Node | None:
    """Return two nodes in a row, pools or convolutions, as one convolution; None where that is not exact.

    ``shape`` is what the first reads, ``between`` what the second reads.
    """
    one, two = as_convolution(first, shape), as_convolution(second, between)
    if one is None or two is None or one.parameters["weight"].ndim != two.parameters["weight"].ndim:
        return None
    rank = one.parameters["weight"].ndim - 2
    if max(len(shape), len(between)) > rank + 1:
        return None
    return merged_conv(two, one, shape, between)
