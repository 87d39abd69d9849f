"""GraphBuilder: the only way to make a graph.

Every node is checked when it is added, and its outputs get their shapes and types from the operation: whoever adds a
node cannot say them wrong. Names are made unique here.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from compiler.errors import GraphError
from compiler.graph.graph import Graph, Node, State
from compiler.graph.signals import REAL, Signal, SignalType
from compiler.graph.verify import check_node, infer, verify


class GraphBuilder:
    """A graph under construction.

    Args:
        name: of the network.
        timesteps: T it is made for.
        static_input: whether the same input comes at every step.
    """

    def __init__(self, name: str = "network", timesteps: int = 1, static_input: bool = False):
        self.graph_name, self.timesteps, self.static_input = name, timesteps, static_input
        self.nodes: list[Node] = []
        self.signals: dict[str, Signal] = {}
        self.states: list[State] = []
        self.inputs: list[str] = []
        self._names: dict[str, int] = {}
        self._node_names: set[str] = set()

    @staticmethod
    def like(graph: Graph, name: str | None = None) -> GraphBuilder:
        """Return an empty builder with the name, T and inputs of ``graph``."""
        builder = GraphBuilder(graph.name if name is None else name, graph.timesteps, graph.static_input)
        for signal in graph.inputs:
            builder.input(signal, graph.shape(signal), graph.type(signal))
        return builder

    def unique(self, wanted: str) -> str:
        """Return ``wanted``, or ``wanted#1``, ``wanted#2`` … where that is taken."""
        return unique(wanted, self._names, self.signals, self._node_names)

    def input(self, name: str, shape: Sequence[int], type: SignalType = REAL) -> str:
        """Add an input of one sample's shape and return its signal."""
        signal = self.unique(name)
        self.signals[signal] = Signal(signal, tuple(int(size) for size in shape), type)
        self.inputs.append(signal)
        return signal

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        name: str = "",
        scope: str = "",
        role: str = "",
    ) -> str:
        """Add a node with one output and return its signal, which has the node's name.

        Raises:
            GraphError: the inputs, attributes or parameters do not fit the operation (names the node).
        """
        name = self.unique(name or (f"{scope}.{op}" if scope else op))
        node = Node(name, op, tuple(inputs), (name,), dict(attributes or {}), dict(parameters or {}), scope, role)
        return self.append(node)[0]

    def append(self, node: Node) -> tuple[str, ...]:
        """Add a node as it is and return its outputs."""
        if node.name in self._node_names:
            raise GraphError(f"two nodes are called {node.name!r}.")
        for signal in node.inputs:
            if signal not in self.signals:
                raise GraphError(f"{node.name} ({node.op}) reads {signal!r}, which does not exist.")
        check_node(node)
        made = infer(node, [self.signals[signal] for signal in node.inputs])
        for result in made:
            if result.name in self.signals:
                raise GraphError(f"{node.name} ({node.op}) writes {result.name!r}, which has a writer already.")
        self.signals.update({result.name: result for result in made})
        self.nodes.append(node)
        self._node_names.add(node.name)
        return node.outputs

    def constant(self, value: Tensor, name: str = "", scope: str = "") -> str:
        """Add stored numbers, of one sample's shape, as a signal."""
        return self.add("constant", (), parameters={"value": value.detach()}, name=name, scope=scope)

    def reshape(self, signal: str, shape: Sequence[int], scope: str = "") -> str:
        """Return ``signal`` in another shape, itself where it has it already."""
        shape = tuple(int(size) for size in shape)
        return (
            signal
            if self.signals[signal].shape == shape
            else self.add("reshape", (signal,), {"shape": shape}, scope=scope)
        )

    def neuron(
        self,
        op: str,
        x: str | Sequence[str],
        attributes: Mapping[str, Any] | None = None,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        states: Sequence[tuple[str, float | Tensor]],
        name: str = "",
        scope: str = "",
        role: str = "",
    ) -> str:
        """Add a neuron with its states, (name, value at rest) each, shaped like its input; return its spikes.

        Of several inputs the n-th state has the shape of the n-th.
        """
        name = self.unique(name or scope or op)
        fed = (x,) if isinstance(x, str) else tuple(x)
        reads = []
        for index, (state, _) in enumerate(states):
            read = self.unique(f"{name}.{state}")
            self.signals[read] = Signal(read, self.signals[fed[min(index, len(fed) - 1)]].shape)
            reads.append(read)
        writes = tuple(self.unique(f"{read}_next") for read in reads)
        inputs = (*fed, *reads)
        self.append(
            Node(name, op, inputs, (name, *writes), dict(attributes or {}), dict(parameters or {}), scope, role)
        )
        for read, written, (_, initial) in zip(reads, writes, states, strict=True):
            self.states.append(State(read, written, initial))
        return name

    def state(self, name: str, shape: Sequence[int], initial: float | Tensor = 0.0) -> str:
        """Add a signal that carries over from the step before and return it; ``carry`` says what is written to it."""
        read = self.unique(name)
        self.signals[read] = Signal(read, tuple(int(size) for size in shape))
        self.states.append(State(read, "", initial))
        return read

    def carry(self, read: str, written: str) -> None:
        """Let the state ``read`` of the next step be what ``written`` is in this one."""
        index = next((i for i, state in enumerate(self.states) if state.read == read), None)
        if index is None:
            raise GraphError(f"{read!r} is no state; known: {', '.join(state.read for state in self.states)}.")
        self.states[index] = State(read, written, self.states[index].initial)

    def finish(self, outputs: Iterable[str]) -> Graph:
        """Return the graph, without the nodes that no output and no state needs.

        Raises:
            GraphError: it does not hold together.
        """
        graph = Graph(
            inputs=tuple(self.inputs),
            outputs=tuple(outputs),
            nodes=tuple(self.nodes),
            signals=self.signals,
            states=tuple(self.states),
            timesteps=self.timesteps,
            static_input=self.static_input,
            name=self.graph_name,
        )
        return verify(prune(graph))


def unique(wanted: str, counts: dict[str, int], *taken: Container[str]) -> str:
    """Return ``wanted``, or the first of ``wanted#1``, ``wanted#2`` … that is in none of ``taken``.

    ``counts`` remembers how far each name has come, so that many alike cost no search.
    """
    name, count = wanted, counts.get(wanted, 0)
    while any(name in names for names in taken):
        count += 1
        name = f"{wanted}#{count}"
    counts[wanted] = count
    return name


def prune(graph: Graph) -> Graph:
    """Return the graph without nodes and states that no output depends on, now or in a later step."""
    written = {state.read: state.written for state in graph.states}
    waiting, needed, signals = list(graph.outputs), set(), set(graph.outputs)
    while waiting:
        signal = waiting.pop()
        node = graph.producer(signal)
        before: tuple[str, ...] = ()
        if signal in written:
            before = (written[signal],)
        elif node is not None and node.name not in needed:
            needed.add(node.name)
            before = (*node.inputs, *node.outputs)
        for name in before:
            if name not in signals:
                signals.add(name)
                waiting.append(name)
    return graph.with_nodes(tuple(n for n in graph.nodes if n.name in needed), graph.signals)


def stored_dtype(graph: Graph) -> torch.dtype:
    """Return the floating-point type of a graph's parameters, torch's default where it has none."""
    found = (p.dtype for node in graph for p in node.parameters.values() if p.is_floating_point())
    return next(found, torch.get_default_dtype())
