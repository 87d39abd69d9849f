"""Merge average pooling into the layer that follows, so that between two neurons there is one set of synapses.

pool → conv2d becomes one convolution with repeated weights and larger stride; pool → flatten → linear becomes one
linear layer on the unpooled signal. Both are exact. What cannot be merged is left as it is.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from compiler.graph import Graph, Node, Signal
from compiler.analysis.types import infer_signals


def merge_linear(graph: Graph) -> Graph:
    """Return the graph with every mergeable average pool merged, typed anew."""
    for pool in graph:
        if pool.op == "avg_pool":
            graph = _merge(graph, pool)
    return infer_signals(graph)


def _merge(graph: Graph, pool: Node) -> Graph:
    a, shape = pool.attributes, graph.shape(pool.inputs[0])
    tiles = a["kernel_size"] == a["stride"] and a["padding"] == (0, 0)
    readers = graph.consumers(pool.output)
    if not tiles or len(readers) != 1 or pool.output in graph.outputs:
        return graph
    reader = readers[0]
    if reader.op == "conv" and all(size % k == 0 for size, k in zip(shape[1:], a["kernel_size"], strict=True)):
        return _replace(graph, {reader.name: _pooled_conv(reader, pool)}, {pool.name}, {})
    if reader.op == "reshape":
        linears = graph.consumers(reader.output)
        if len(linears) == 1 and linears[0].op == "linear" and reader.output not in graph.outputs:
            flat = replace(reader, inputs=pool.inputs)
            size = 1
            for axis in shape:
                size *= axis
            merged = {reader.name: flat, linears[0].name: _pooled_linear(linears[0], pool, shape)}
            return _replace(graph, merged, {pool.name}, {reader.output: (size,)})
    return graph


def _replace(graph: Graph, nodes: dict[str, Node], removed: set[str], shapes: dict[str, tuple[int, ...]]) -> Graph:
    kept = tuple(nodes.get(node.name, node) for node in graph if node.name not in removed)
    signals: dict[str, Signal] = dict(graph.signals)
    for name, shape in shapes.items():
        signals[name] = replace(signals[name], shape=shape)
    return graph.with_nodes(kept, signals)


def _pooled_conv(conv: Node, pool: Node) -> Node:
    """Weights repeated over each window, divided by its area; stride and padding in units of the window."""
    (ph, pw), a = pool.attributes["kernel_size"], conv.attributes
    weight = _dilated(conv.parameters["weight"], a["dilation"])
    weight = weight.repeat_interleave(ph, 2).repeat_interleave(pw, 3) / (ph * pw)
    attributes = {
        **a,
        "stride": (a["stride"][0] * ph, a["stride"][1] * pw),
        "padding": (a["padding"][0] * ph, a["padding"][1] * pw),
        "dilation": (1, 1),
    }
    return replace(conv, inputs=pool.inputs, attributes=attributes, parameters={**conv.parameters, "weight": weight})


def _dilated(weight: Tensor, dilation: tuple[int, int]) -> Tensor:
    (dh, dw), (kh, kw) = dilation, weight.shape[2:]
    spread = weight.new_zeros(*weight.shape[:2], (kh - 1) * dh + 1, (kw - 1) * dw + 1)
    spread[:, :, ::dh, ::dw] = weight
    return spread


def _pooled_linear(linear: Node, pool: Node, shape: tuple[int, ...]) -> Node:
    """Spread each weight over its window; rows and columns that the pool drops get weight 0."""
    channels, height, width = shape
    ph, pw = pool.attributes["kernel_size"]
    weight = linear.parameters["weight"]
    small = weight.reshape(len(weight), channels, height // ph, width // pw)
    spread = small.repeat_interleave(ph, 2).repeat_interleave(pw, 3) / (ph * pw)
    full = torch.zeros(len(weight), channels, height, width, dtype=weight.dtype)
    full[:, :, : spread.shape[2], : spread.shape[3]] = spread
    return replace(linear, parameters={**linear.parameters, "weight": full.flatten(1)})
