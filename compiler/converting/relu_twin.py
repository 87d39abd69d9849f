"""The ordinary twin of a spiking network: the same layers with ReLU for neurons, evaluated once instead of T times."""

from __future__ import annotations

from dataclasses import replace

from compiler.analysis.types import infer_signals
from compiler.graph import REAL, Graph, Node, is_neuron


def relu_twin(graph: Graph) -> Graph:
    """Return the graph with every neuron replaced by a ReLU and without states, typed anew; real input, one step."""
    nodes = tuple(
        Node(node.name, "relu", node.inputs[:1], (node.output,), scope=node.scope) if is_neuron(node) else node
        for node in graph
    )
    signals = {
        name: replace(signal, type=REAL) if name in graph.inputs else signal for name, signal in graph.signals.items()
    }
    twin = replace(graph, timesteps=1, static_input=False, name=f"{graph.name} with ReLU").with_nodes(nodes, signals)
    return infer_signals(twin)
