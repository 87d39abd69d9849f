"""Give every edge its type, by each operation's own rule: never from a layer's name, never from data."""

from __future__ import annotations

from dataclasses import replace

from compiler.graph import REAL, Graph, SignalType, operation


def infer_signals(graph: Graph) -> Graph:
    """Return the graph with every signal typed anew from its inputs and constants."""
    types: dict[str, SignalType] = {name: graph.type(name) for name in graph.inputs}
    types |= {state.read: REAL for state in graph.states}
    for node in graph:
        op = operation(node.op)
        kind = op.type_rule(node, [types[name] for name in node.inputs], [graph.shape(name) for name in node.inputs])
        for name in node.outputs:
            types[name] = kind if name == node.output or op.same_types else REAL
    signals = {name: replace(signal, type=types.get(name, REAL)) for name, signal in graph.signals.items()}
    return replace(graph, signals=signals)
