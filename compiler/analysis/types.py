"""Give every edge its type, by each operation's own rule: never from a layer's name, never from data.

A state takes the values it starts at and those that are written to it: types go round the loop until nothing changes,
and a state that still grows after ``ROUNDS``, as a membrane of whole numbers may without end, is real.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from compiler.graph import REAL, Graph, SignalType, State, operation
from compiler.operations.rules import stored

ROUNDS = 4


def infer_signals(graph: Graph) -> Graph:
    """Return the graph with every signal typed anew from its inputs, constants and starting states."""
    starts = {state.read: _start(state) for state in graph.states}
    reads, types = starts, _one_round(graph, starts)
    for count in range(ROUNDS + len(graph.states)):
        after = {}
        for state in graph.states:
            kind = reads[state.read].union(types[state.written])
            grows = kind != reads[state.read]
            after[state.read] = REAL if grows and count >= ROUNDS else kind
        if after == reads:
            break
        reads, types = after, _one_round(graph, after)
    signals = {name: replace(signal, type=types.get(name, REAL)) for name, signal in graph.signals.items()}
    return replace(graph, signals=signals)


def _one_round(graph: Graph, states: Mapping[str, SignalType]) -> dict[str, SignalType]:
    """Return the types of all signals, given those of the states."""
    types: dict[str, SignalType] = {**{name: graph.type(name) for name in graph.inputs}, **states}
    for node in graph:
        op = operation(node.op)
        kind = op.type_rule(node, [types[name] for name in node.inputs], [graph.shape(name) for name in node.inputs])
        for name in node.outputs:
            types[name] = kind if name == node.output or op.same_types else REAL
    return types


def _start(state: State) -> SignalType:
    """Return the type of what a state starts at."""
    if isinstance(state.initial, Tensor):
        return stored(state.initial)
    return SignalType("integer", 1, 1).scaled(state.initial) if state.initial else SignalType("integer", 0, 0)
