"""Fold batch norm into the convolution or linear layer before it.

With stored statistics, y = γ·(Wx + b − μ)/√(σ² + ε) + β is linear: W' = W·γ/√(σ² + ε), b' = (b − μ)·γ/√(σ² + ε) + β.
Computed in float64. In float32 the rounding of a folded layer may flip a spike whose membrane lies on the threshold.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from compiler.graph import Graph, Node


def fold_bn(graph: Graph) -> Graph:
    """Return the graph without the batch norms that directly follow a layer nothing else reads."""
    nodes = {node.name: node for node in graph}
    removed: dict[str, str] = {}
    for node in graph:
        if node.op != "batch_norm":
            continue
        before = graph.producer(node.inputs[0])
        if before is None or not _foldable(graph, before):
            continue
        nodes[before.name] = _folded(nodes[before.name], node)
        removed[node.name] = before.output
        del nodes[node.name]
    renamed = {graph_node.output: removed[graph_node.name] for graph_node in graph if graph_node.name in removed}
    result = tuple(replace(n, inputs=tuple(renamed.get(i, i) for i in n.inputs)) for n in nodes.values())
    outputs = tuple(renamed.get(o, o) for o in graph.outputs)
    return replace(graph, outputs=outputs).with_nodes(result, graph.signals)


def _foldable(graph: Graph, layer: Node) -> bool:
    """Whether nothing else reads the layer and its outputs are the batch norm's channels (not so for tokens (N, D))."""
    if layer.output in graph.outputs or len(graph.consumers(layer.output)) != 1:
        return False
    return layer.op == "conv" or (layer.op == "linear" and len(graph.shape(layer.output)) == 1)


def _folded(layer: Node, norm: Node) -> Node:
    p, dtype = norm.parameters, layer.parameters["weight"].dtype
    factor = torch.rsqrt(p["variance"].double() + norm.attributes["eps"])
    if "weight" in p:
        factor = factor * p["weight"].double()
    bias = layer.parameters["bias"].double() if "bias" in layer.parameters else torch.zeros_like(factor)
    bias = (bias - p["mean"].double()) * factor
    if "bias" in p:
        bias = bias + p["bias"].double()
    weight = layer.parameters["weight"].double()
    weight = weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
    return replace(layer, parameters={"weight": weight.to(dtype), "bias": bias.to(dtype)})
