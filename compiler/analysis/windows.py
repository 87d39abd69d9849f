"""Windows: how the positions of convolutions, pools and linear layers meet, and their synapses, counted from shapes,
borders and zeros of the weights and never unrolled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.graph import Graph, Node, is_synapse


@dataclass(frozen=True, eq=False)
class Taps:
    """How the positions of a layer of windows meet, along each axis.

    ``inside`` [axis][offset] counts the outputs at which that offset of the window lies inside of the map; ``most_in``
    is the most offsets that one output reads, ``most_out`` the most outputs that read one position, along each axis.
    """

    inside: tuple[Tensor, ...]
    most_in: tuple[int, ...]
    most_out: tuple[int, ...]


def taps(before: tuple[int, ...], after: tuple[int, ...], kernel: tuple[int, ...], a: Mapping[str, Any]) -> Taps:
    """Return the taps of a window over maps of these sides, with the stride, padding and dilation of ``a``."""
    inside, most_in, most_out = [], [], []
    dilation = a.get("dilation", (1,) * len(kernel))
    for size, made, side, stride, pad, d in zip(
        before, after, kernel, a["stride"], a["padding"], dilation, strict=True
    ):
        at = torch.arange(made)
        hits = [at * stride - pad + offset * d for offset in range(side)]
        within = [(hit >= 0) & (hit < size) for hit in hits]
        inside.append(torch.tensor([int(one.sum()) for one in within], dtype=torch.float64))
        most_in.append(int(torch.stack(within).sum(0).max()))
        readers = torch.zeros(size, dtype=torch.long)
        for hit, one in zip(hits, within, strict=True):
            readers[hit[one]] += 1
        most_out.append(int(readers.max()))
    return Taps(tuple(inside), tuple(most_in), tuple(most_out))


def windows(graph: Graph, node: Node) -> Taps | None:
    """The taps of a convolution or pool, None for anything else; a transposed one is read from its outputs."""
    if node.op in ("conv", "conv_transpose"):
        kernel = tuple(node.parameters["weight"].shape[2:])
    elif node.op in ("avg_pool", "max_pool"):
        kernel = tuple(node.attributes["kernel_size"])
    else:
        return None
    before, after = graph.shape(node.inputs[0]), graph.shape(node.output)
    ends = before[-len(kernel) :], after[-len(kernel) :]
    if node.op == "conv_transpose":
        found = taps(ends[1], ends[0], kernel, node.attributes)
        return Taps(found.inside, found.most_out, found.most_in)
    return taps(*ends, kernel, node.attributes)


def nonzero(weight: Tensor, axis: int) -> Tensor:
    """How many weights along an axis are not 0; most layers have no zeros, which is seen fast."""
    if int(torch.count_nonzero(weight)) == weight.numel():
        return torch.full_like(weight.select(axis, 0), weight.shape[axis], dtype=torch.long)
    return (weight != 0).sum(axis)


def _outer(parts: tuple[Tensor, ...]) -> Tensor:
    found = torch.ones((), dtype=torch.float64)
    for part in parts:
        found = found.unsqueeze(-1) * part
    return found


def synapses_of(graph: Graph, node: Node) -> int:
    """How many synapses a layer with weights has, without those of weight 0."""
    if not is_synapse(node) or "weight" not in node.parameters:
        return 0
    weight, shape = node.parameters["weight"], graph.shape(node.output)
    found = windows(graph, node)
    if found is not None:
        used = nonzero(weight.flatten(0, 1), 0).double()
        rank = weight.ndim - 2
        copies = math.prod(graph.shape(node.inputs[0])[: -rank - 1])
        return int((used * _outer(found.inside)).sum()) * copies
    if node.op == "linear":
        return int(torch.count_nonzero(weight)) * math.prod(shape[:-1])
    share = int(torch.count_nonzero(weight)) / weight.numel() if weight.numel() else 0.0
    return round(math.prod(shape) * share)
