"""What of a spiking form is computed in one pass: a layer, its sum, an addition and a ReLU behind it, and the neurons.

Chains that nobody looks into become a ``Chain``; every other node stays as it is. Weights are prepared once a graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from compiler.graph import Graph, Node
from compiler.graph.builder import stored_dtype
from compiler.interpreting import fed_inputs
from snnkit.events.graded import LARGEST_EVENT, MAX_STEPS, Neurons, Weights, Window, prepared, whole_panels, why_not


@dataclass(frozen=True, eq=False)
class Chain:
    """Nodes that are computed in one pass.

    Args:
        value: the signal whose values the pass finds.
        layer, integrate: the nodes in front, or None: the values are there already, and only neurons read them.
        weights: those of the layer.
        other: a signal that is added.
        least, most: where a ReLU or a clamp that comes last clips the value.
        trace: the neurons that read the value, or None.
        neurons: what they are.
        kept: whether anybody else reads the value.
        image: whether channels come first and lie last in memory.
    """

    value: str
    layer: Node | None
    integrate: Node | None
    weights: Weights | None
    other: str | None
    least: float
    most: float
    trace: Node | None
    neurons: Neurons | None
    kept: bool
    image: bool


@dataclass(frozen=True, eq=False)
class Plan:
    """Steps in order: chains, and nodes that are computed as they are.

    ``last`` tells, for each step by its number, the signals that nobody reads after it; ``padding`` that of every event
    signal whose readers are convolutions; ``events`` are the signals that carry events.
    """

    steps: tuple[Chain | Node, ...]
    last: tuple[tuple[str, ...], ...]
    padding: dict[str, tuple[int, int]]
    events: frozenset[str]


_plans: WeakKeyDictionary[Graph, Plan | None] = WeakKeyDictionary()


def plan_of(graph: Graph) -> Plan | None:
    """Return the plan of a spiking form, or None where it must be computed plainly: no compiler, not float32."""
    if graph not in _plans:
        _plans[graph] = None if why_not() or stored_dtype(graph) != torch.float32 else _Planner(graph).plan()
    return _plans[graph]


class _Planner:
    def __init__(self, graph: Graph):
        self.graph = graph
        self.order = {node.name: at for at, node in enumerate(graph.nodes)}
        self.taken: set[str] = set()
        self.padding: dict[str, tuple[int, int]] = {}

    def plan(self) -> Plan | None:
        graph = self.graph
        placed: dict[int, Chain] = {}
        for node in graph:
            if node.op == "integrate" and (chain := self._chain(node)) is not None:
                placed[self._end(chain)] = chain
        for node in graph:
            if node.op == "trace" and node.name not in self.taken:
                alone = self._alone(node)
                if alone is None:
                    return None
                placed[self.order[node.name]] = alone
        for chain in placed.values():
            if chain.layer is not None and chain.weights is not None and chain.image:
                signal, padding = chain.layer.inputs[0], chain.weights.window.padding
                before = self.padding.get(signal, (0, 0))
                self.padding[signal] = (max(before[0], padding[0]), max(before[1], padding[1]))
        steps: list[Chain | Node] = []
        for at, node in enumerate(graph.nodes):
            if at in placed:
                steps.append(placed[at])
            elif node.name not in self.taken:
                steps.append(node)
        return Plan(tuple(steps), _last_reads(graph, steps), self.padding, event_signals(graph))

    def _end(self, chain: Chain) -> int:
        producer = self.graph.producer(chain.value)
        assert producer is not None
        return self.order[producer.name]

    def _only_reader(self, signal: str) -> Node | None:
        readers = self.graph.consumers(signal)
        if len(readers) != 1 or signal in self.graph.outputs or readers[0].inputs.count(signal) != 1:
            return None
        return readers[0]

    def _chain(self, integrate: Node) -> Chain | None:
        layer = self.graph.producer(integrate.inputs[0])
        if layer is None or self._only_reader(layer.output) is not integrate:
            return None
        weights = self._weights(layer, integrate)
        if weights is None:
            return None
        nodes, value, other, least, most = [layer, integrate], integrate.output, None, -math.inf, math.inf
        after = self._only_reader(value)
        if after is not None and after.op == "add" and self._addable(after, value):
            (other,) = (name for name in after.inputs if name != value)
            nodes.append(after)
            value, after = after.output, self._only_reader(after.output)
        if after is not None and after.op in ("relu", "clamp"):
            nodes.append(after)
            value = after.output
            least, most = (0.0, math.inf) if after.op == "relu" else (after.attributes["low"], after.attributes["high"])
        traces = [node for node in self.graph.consumers(value) if node.op == "trace"]
        trace = traces[0] if len(traces) == 1 and _fits(traces[0]) else None
        neurons = None
        if trace is not None:
            nodes.append(trace)
            neurons = _neurons(trace, weights.outputs, layer.op == "conv")
            if neurons is None:
                return None
        others = [node for node in self.graph.consumers(value) if node is not trace]
        self.taken.update(node.name for node in nodes)
        kept = bool(others) or value in self.graph.outputs
        return Chain(value, layer, integrate, weights, other, least, most, trace, neurons, kept, layer.op == "conv")

    def _addable(self, add: Node, value: str) -> bool:
        if add.name in self.taken or len(add.inputs) != 2 or add.attributes:
            return False
        (other,) = (name for name in add.inputs if name != value)
        return self.graph.shape(other) == self.graph.shape(value)

    def _weights(self, layer: Node, integrate: Node) -> Weights | None:
        if layer.op not in ("conv", "linear") or len(layer.inputs) != 1 or set(layer.parameters) != {"weight"}:
            return None
        if "weight_exponent" in layer.attributes:  # a shift of every output, which is done elsewhere
            return None
        weight, window, depthwise = layer.parameters["weight"], Window(), False
        if layer.op == "conv":
            a = layer.attributes
            depthwise = 1 < a["groups"] == weight.shape[0] and weight.shape[1] == 1
            if weight.ndim != 4 or (a["groups"] != 1 and not depthwise):
                return None
            stride, padding, dilation = (_pair(a[name]) for name in ("stride", "padding", "dilation"))
            window = Window((weight.shape[2], weight.shape[3]), stride, padding, dilation)
        bias = integrate.parameters.get("bias")
        if bias is not None and bias.numel() != weight.shape[0]:
            return None
        codes = self.graph.producer(self._origin(layer.inputs[0]))
        if codes is None or codes.op != "trace" or not _fits(codes):
            return None
        width = codes.attributes["high"] - codes.attributes["low"]
        return prepared(weight, None if bias is None else bias.reshape(-1), window, width, depthwise)

    def _origin(self, signal: str) -> str:
        """Follow events back to the neurons that send them."""
        node = self.graph.producer(signal)
        while node is not None and node.op != "trace" and len(node.inputs) == 1:
            signal = node.inputs[0]
            node = self.graph.producer(signal)
        return signal

    def _alone(self, trace: Node) -> Chain | None:
        """Return neurons by themselves; None where there is no way for them."""
        value, shape = trace.inputs[0], self.graph.shape(trace.inputs[0])
        one_a_channel = trace.parameters["scale"].numel() > 1 and trace.parameters["scale"].ndim == 3
        read_as_image = any(node.op == "conv" for node in self.graph.consumers(trace.output))
        image = len(shape) == 3 and (read_as_image or one_a_channel)
        channels = shape[0] if image else shape[-1] if shape else 1
        neurons = _neurons(trace, channels, image)
        if neurons is None or not _fits(trace):
            return None
        return Chain(value, None, None, None, value, -math.inf, math.inf, trace, neurons, False, image)


def event_signals(graph: Graph) -> frozenset[str]:
    """Return the signals of a spiking form that carry events, or what events bring through weights in one step."""
    found: set[str] = set()
    for node in graph:
        reads = any(name in found for name in node.inputs)
        if node.op == "trace" or (reads and fed_inputs(node) == len(node.inputs)):
            found.add(node.output)
    return frozenset(found)


def _pair(value: Sequence[int]) -> tuple[int, int]:
    first, second = value
    return int(first), int(second)


def _fits(trace: Node) -> bool:
    a = trace.attributes
    return bool(max(a["high"] - a["low"], abs(a["low"]), abs(a["high"])) <= LARGEST_EVENT)


def _neurons(trace: Node, channels: int, image: bool) -> Neurons | None:
    """Return neurons whose scale is one number, or one a channel; None for any other."""
    a, scale = trace.attributes, trace.parameters["scale"].float()
    if scale.numel() == 1:
        scale = scale.reshape(1).expand(channels)
    elif scale.numel() != channels or (scale.shape[0 if image else -1] != channels):
        return None
    largest = 0 if a["max_exponent"] is None else min(2 ** a["max_exponent"], LARGEST_EVENT + 1)
    return Neurons(whole_panels(scale.reshape(-1), 1.0).contiguous(), a["low"], a["high"], largest)


def _last_reads(graph: Graph, steps: list[Chain | Node]) -> tuple[tuple[str, ...], ...]:
    last: dict[str, int] = {}
    for at, one in enumerate(steps):
        if isinstance(one, Chain):
            names = [one.value, *((one.layer.inputs[0],) if one.layer else ())]
            names += [one.other] if one.other else []
            names += [one.trace.output] if one.trace else []
        else:
            names = [*one.inputs, *one.outputs]
        for name in names:
            last[name] = at
    done: list[list[str]] = [[] for _ in steps]
    for name, at in last.items():
        if name not in graph.outputs:
            done[at].append(name)
    return tuple(tuple(names) for names in done)


__all__ = ["MAX_STEPS", "Chain", "Plan", "plan_of"]
