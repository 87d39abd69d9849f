"""Count: what a network does on data, exactly, layer by layer.

For every step and image the graph is interpreted, and each layer with weights counted by the type of what it reads:
a real operand costs a multiply-accumulate per weight (``mac``); an event of value k costs |k| accumulates per weight it
reaches (``ac``), found by running the layer's connectivity over the events themselves, so strides, borders and groups
are exact. Sums over images are integers before they are divided by the number of images.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compiler.capture import capture
from compiler.graph import Graph, Node
from compiler.interpret import interpret
from compiler.operations import OPERATIONS
from compiler.passes import simplify
from hw.counts import Counts, LayerCounts
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import OPERATORS

# (multiplications, additions, comparisons) of one update: charge, threshold, reset by selection.
NEURON_OPERATIONS = {"lif_fixed": (1, 2, 1), **{name: op.operations for name, op in OPERATORS.items()}}


def count(model_or_graph: nn.Module | Graph, batches: Iterable[Tensor | tuple[Tensor, Tensor]]) -> Counts:
    """Count a network on data.

    Args:
        model_or_graph: a module (captured and simplified first) or a typed graph.
        batches: images (B, …), or pairs whose first entry is images; every image is counted.

    Raises:
        InvalidArgumentError: there are no batches.
    """
    tally: _Tally | None = None
    for batch in batches:
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        if tally is None:
            graph = model_or_graph if isinstance(model_or_graph, Graph) else simplify(capture(model_or_graph, x[:1]))
            tally = _Tally(graph)
        tally.add(x)
    if tally is None:
        raise InvalidArgumentError("count needs at least one batch of images.")
    return tally.counts()


@dataclass
class _Tally:
    """Running sums over images; ``events`` by layer with weights, ``spikes`` by neuron."""

    graph: Graph
    images: int = 0
    steps: int = 0
    static: frozenset[str] = frozenset()
    events: dict[str, int] = field(default_factory=dict)
    incoming: dict[str, int] = field(default_factory=dict)
    spikes: dict[str, int] = field(default_factory=dict)

    def add(self, x: Tensor) -> None:
        """Interpret one batch and add what it did."""
        graph = self.graph
        event_layers = [n for n in graph if _is_synapse(n) and graph.type(n.inputs[0]).is_event]
        neurons = [n for n in graph if OPERATIONS[n.op].kind == "neuron"]
        probes = {n.inputs[0] for n in event_layers} | {n.output for n in neurons}
        _, records = interpret(graph, x, probes=sorted(probes))
        still = x.ndim == 1 + len(graph.shape(graph.inputs[0]))
        steps, self.images = (graph.timesteps if still else len(x)), self.images + x.shape[0 if still else 1]
        if self.steps not in (0, steps):
            raise InvalidArgumentError(f"batches of {self.steps} and of {steps} time steps cannot be averaged.")
        # Only an image without a time axis is the same at every step.
        self.steps, self.static = steps, graph.static_signals() if still else frozenset()
        for node in event_layers:
            values = records[node.inputs[0]].flatten(0, 1)
            levels = (values.double() / graph.type(node.inputs[0]).scale).round().abs()
            self.events[node.name] = self.events.get(node.name, 0) + _accumulates(node, levels)
            self.incoming[node.name] = self.incoming.get(node.name, 0) + int((levels != 0).sum())
        for node in neurons:
            self.spikes[node.name] = self.spikes.get(node.name, 0) + int(records[node.output].double().sum())

    def counts(self) -> Counts:
        """Return means per image."""
        if self.images == 0:
            raise InvalidArgumentError("the batches hold no images.")
        layers = tuple(self._layer(node, node.output in self.static) for node in self.graph)
        used = {n.op for n in self.graph}
        operations = {op: cost for op, cost in NEURON_OPERATIONS.items() if op in used}
        return Counts(layers, self.steps, self.images, (), operations)

    def _layer(self, node: Node, static: bool) -> LayerCounts:
        graph, kind = self.graph, OPERATIONS[node.op].kind
        steps = 1 if static else self.steps
        size = _size(graph.shape(node.output))
        input_type, output_type = graph.type(node.inputs[0]), graph.type(node.output)
        common = {
            "name": node.name,
            "op": node.op,
            "kind": kind,
            "input_type": str(input_type),
            "output_type": str(output_type),
            "static": static,
            "static_repeats": self.steps if static else 1,
        }
        if kind == "synapse":
            dense = float(_dense_macs(node, graph) * steps)
            accumulates = self.events.get(node.name, 0) / self.images
            return LayerCounts(
                **common,  # type: ignore[arg-type]
                dense_macs=dense,
                mac=0.0 if input_type.is_event else dense,
                ac=accumulates,
                synaptic_events=accumulates,
                bias_adds=float(size * steps) if "bias" in node.parameters else 0.0,
            )
        if kind == "neuron":
            spikes = self.spikes[node.name] / self.images
            return LayerCounts(
                **common,  # type: ignore[arg-type]
                spikes=spikes,
                neurons=size,
                rate=spikes / (size * steps),
                neuron_updates=float(size * steps),
            )
        if kind == "activation":
            return LayerCounts(**common, activations=float(size * steps))  # type: ignore[arg-type]
        return LayerCounts(**common, **_other(node, graph, size * steps))  # type: ignore[arg-type]


def _other(node: Node, graph: Graph, outputs: int) -> dict[str, float]:
    """Operations outside layers, neurons and activations: sums, pools, batch norms that could not be folded."""
    if node.op == "add":
        return {"adds": float(outputs)}
    if node.op == "avg_pool2d":
        kh, kw = node.attributes["kernel_size"]
        return {"adds": float(outputs * kh * kw)}
    if node.op == "batch_norm":
        return {"mac": float(outputs), "dense_macs": float(outputs)}
    return {}


def _is_synapse(node: Node) -> bool:
    return OPERATIONS[node.op].kind == "synapse"


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size


def _dense_macs(node: Node, graph: Graph) -> int:
    """Multiply-accumulates of one evaluation by a machine that skips nothing; padding counts, as usual."""
    if node.op == "scale":
        return _size(graph.shape(node.output))
    weight = node.parameters["weight"]
    return _size(graph.shape(node.output)) * weight[0].numel()


def _accumulates(node: Node, levels: Tensor) -> int:
    """Sum over all events of |level| × the weights it reaches; ``levels`` is (N, …) in float64."""
    if node.op == "scale":
        return int(levels.sum())
    weight = node.parameters["weight"]
    if node.op == "linear":
        return int(levels.sum()) * weight.shape[0]
    a = node.attributes
    channels = levels.shape[1]
    per_group = levels.reshape(len(levels), a["groups"], channels // a["groups"], *levels.shape[2:]).sum(2)
    ones = torch.ones(a["groups"], 1, *weight.shape[2:], dtype=levels.dtype)
    reached = F.conv2d(per_group, ones, None, a["stride"], a["padding"], a["dilation"], a["groups"])
    return int(reached.sum()) * (weight.shape[0] // int(a["groups"]))
