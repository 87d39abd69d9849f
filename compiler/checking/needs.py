"""Needs: what each layer of a network asks of a chip, read straight off the graph and never unrolled.

A layer here is what feeds one population of neurons, or the output: the linear operations since the last neurons. Its
synapses are counted from shapes, borders and zeros of the weights, so that a network of any size takes no longer than
its weights take to read.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from compiler.analysis.windows import nonzero, synapses_of, windows
from compiler.graph import Graph, Node, is_neuron, is_synapse, operation

OUTPUT = "the output"
"""The name of what feeds the graph's output, as violations call it."""


@dataclass(frozen=True, eq=False)
class Layer:
    """What feeds one population.

    Attributes:
        name: of the neuron's node, or ``OUTPUT``. neuron: that node (None for the output).
        signal: the current. shape: of the population.
        nodes: everything between the last neurons and the current, in order.
        sources: the events, inputs and states that it starts from. readers: names of the layers that read its spikes.
        fan_in, fan_out: most neurons that one of its neurons reads, and most synapses that leave one of them.
        synapses: all that end in it.
    """

    name: str
    neuron: Node | None
    signal: str
    shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    sources: tuple[str, ...]
    readers: tuple[str, ...]
    fan_in: int
    fan_out: int
    synapses: int

    @property
    def size(self) -> int:
        """Number of neurons."""
        return math.prod(self.shape)

    @cached_property
    def weighing(self) -> tuple[Node, ...]:
        """The nodes in which weights meet a signal."""
        return tuple(node for node in self.nodes if is_synapse(node))


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """Return the layers of a (simplified) graph in order, the output last."""
    ends: list[tuple[str, Node | None, str]] = [(node.name, node, node.inputs[0]) for node in graph if is_neuron(node)]
    last = graph.outputs[0]
    found = graph.producer(last)
    if found is None or not is_neuron(found):
        ends.append((OUTPUT, None, last))
    parts = {name: between(graph, signal) for name, _, signal in ends}
    factors = _Factors(graph)
    fan_in, fan_out = _fan_in(graph, factors), _FanOut(graph, factors)
    layers = []
    for name, node, signal in ends:
        nodes, sources = parts[name]
        own = None if node is None else node.output
        readers = tuple(other for other, (_, read) in parts.items() if own is not None and own in read)
        leaving = 0 if node is None else fan_out.of(node.output)
        synapses = sum(synapses_of(graph, one) for one in nodes)
        arriving = sum(math.prod(graph.shape(source)) for source in sources)
        # A sum without a layer of its own has one synapse for each value that comes in.
        direct = 0 if any(map(_weighs, nodes)) else arriving
        layers.append(
            Layer(
                name,
                node,
                signal,
                graph.shape(signal),
                nodes,
                sources,
                readers,
                min(fan_in(signal), arriving),
                leaving,
                synapses or direct,
            )
        )
    return tuple(layers)


def between(graph: Graph, signal: str) -> tuple[tuple[Node, ...], tuple[str, ...]]:
    """Return the nodes since the last neurons (in order) and the signals that they start from."""
    waiting, found, sources, seen = [signal], set(), dict[str, None](), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        node = graph.producer(name)
        if node is None or is_neuron(node):
            sources[name] = None
        else:
            found.add(node.name)
            waiting.extend(node.inputs)
    return tuple(node for node in graph if node.name in found), tuple(sources)


def _weighs(node: Node) -> bool:
    return operation(node.op).kind in ("synapse", "pool", "product")


class _Factors:
    """``_factors`` of every node, each looked at once: large layers take a while to read."""

    def __init__(self, graph: Graph):
        self.graph, self.known = graph, dict[str, tuple[int, int]]()

    def of(self, node: Node) -> tuple[int, int]:
        if node.name not in self.known:
            self.known[node.name] = _factors(self.graph, node)
        return self.known[node.name]


def _factors(graph: Graph, node: Node) -> tuple[int, int]:
    """How many values of its input one output of a node reads at most, and how many outputs read one input."""
    weight = node.parameters.get("weight")
    found = windows(graph, node)
    if found is not None and is_synapse(node) and weight is not None:
        groups = int(node.attributes["groups"])
        transposed = node.op == "conv_transpose"
        if transposed:
            ins, outs = weight.shape[0] // groups, weight.shape[1]
            return ins * math.prod(found.most_in), outs * math.prod(found.most_out)
        outs, ins = weight.shape[0] // groups, weight.shape[1]
        # Weights by output, and by input channel of a group: those of 0 are no synapses, wherever a window lies.
        of_input = weight.reshape(groups, outs, ins, -1).transpose(1, 2).reshape(groups * ins, -1)
        return (
            min(ins * math.prod(found.most_in), int(nonzero(weight.flatten(1), 1).max())),
            min(outs * math.prod(found.most_out), int(nonzero(of_input, 1).max())),
        )
    if found is not None:
        return math.prod(found.most_in), math.prod(found.most_out)
    if node.op == "linear" and weight is not None:
        return int(nonzero(weight, 1).max()), int(nonzero(weight, 0).max())
    if operation(node.op).kind in ("pool", "product", "norm"):
        before, after = (math.prod(graph.shape(name)) for name in (node.inputs[0], node.output))
        return max(1, before // max(after, 1)), max(1, after // max(before, 1))
    return 1, 1


def _fan_in(graph: Graph, factors: _Factors) -> Callable[[str], int]:
    """Return the function that says how many source neurons at most reach one value of a signal."""
    known: dict[str, int] = {}

    def of(signal: str) -> int:
        if signal not in known:
            known[signal] = 1  # what has no producer is a source
            for node in graph:
                if is_neuron(node):
                    known.update(dict.fromkeys(node.outputs, 1))
                    continue
                if operation(node.op).kind == "constant":
                    known.update(dict.fromkeys(node.outputs, 0))
                    continue
                reached = [known.get(name, 1) for name in node.inputs]
                mixing = node.op in ("add", "sub")
                total = sum(reached) if mixing else max(reached, default=0)
                known.update(dict.fromkeys(node.outputs, total * factors.of(node)[0]))
        return known[signal]

    return of


class _FanOut:
    """How many synapses leave one neuron: through everything that reads it, up to the next neurons."""

    def __init__(self, graph: Graph, factors: _Factors):
        self.graph, self.reached = graph, dict[str, int]()
        for node in reversed(graph.nodes):
            for name in dict.fromkeys(node.inputs):
                self.reached.setdefault(name, 0)
            if is_neuron(node):
                self.reached[node.inputs[0]] += 1
                continue
            onward = max((self.of(name) for name in node.outputs), default=0)
            for name in node.inputs:
                self.reached[name] += onward * factors.of(node)[1]

    def of(self, signal: str) -> int:
        """Most synapses that leave one value of ``signal``."""
        return self.reached.get(signal, 0) + (signal in self.graph.outputs)
