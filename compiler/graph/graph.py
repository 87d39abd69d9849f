"""Graph: a network as data, the only intermediate representation.

A graph says what happens in **one time step**, to **one sample**. Nodes read and write named signals; a neuron's
membrane is a signal too: its node reads ``name.v`` and writes ``name.v_next``, and a ``State`` carries the one to the
other between steps. No shape holds batch or time: operations act on trailing axes, and ``interpret`` puts the batch in
front. Graphs are immutable; a pass returns a new one; ``GraphBuilder`` makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from compiler.graph.signals import Signal, SignalType


@dataclass(frozen=True, eq=False)
class Node:
    """An operation at work.

    ``attributes`` are plain JSON values, ``parameters`` tensors, ``scope`` is the path of the module it came from, and
    ``role`` what it is for where that cannot be seen from the operation ("readout": its membrane is the output), or
    how it is computed (``STEADY``, of ``compiler.graph.operation``).
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    scope: str = ""
    role: str = ""

    @property
    def output(self) -> str:
        """The first output: spikes of a neuron, the only output of most others."""
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class State:
    """An edge into the next step: what was written to ``written`` is read from ``read``.

    ``initial`` fills step 0: a number, or a tensor of the signal's shape.
    """

    read: str
    written: str
    initial: float | Tensor


@dataclass(frozen=True, eq=False)
class Graph:
    """A network for one time step.

    Args:
        inputs, outputs: signal names.
        nodes: in an order in which every signal is written before it is read.
        signals: every signal by name.
        states: edges from step to step.
        timesteps: T the network was made for (1 for a network without state).
        static_input: whether the encoder repeats one image, so that what depends on it alone never changes.
        name: of the model.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    signals: Mapping[str, Signal]
    states: tuple[State, ...] = ()
    timesteps: int = 1
    static_input: bool = False
    name: str = "network"

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        from compiler.graph.text import to_text

        return to_text(self)

    @cached_property
    def _producers(self) -> dict[str, Node]:
        return {signal: node for node in self.nodes for signal in node.outputs}

    @cached_property
    def _consumers(self) -> dict[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for signal in dict.fromkeys(node.inputs):
                found.setdefault(signal, []).append(node)
        return {signal: tuple(nodes) for signal, nodes in found.items()}

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    def node(self, name: str) -> Node:
        """Return the node called ``name`` (KeyError if there is none)."""
        return self._by_name[name]

    def producer(self, signal: str) -> Node | None:
        """Return the node that writes ``signal`` (None for inputs and states)."""
        return self._producers.get(signal)

    def consumers(self, signal: str) -> tuple[Node, ...]:
        """Return the nodes that read ``signal``, in order."""
        return self._consumers.get(signal, ())

    def ancestors(self, signals: str | Iterable[str]) -> tuple[Node, ...]:
        """Return the nodes of this step that ``signals`` depend on, in order; states end the search."""
        waiting, found = [signals] if isinstance(signals, str) else list(signals), set()
        while waiting:
            node = self.producer(waiting.pop())
            if node is not None and node.name not in found:
                found.add(node.name)
                waiting.extend(node.inputs)
        return tuple(node for node in self.nodes if node.name in found)

    def shape(self, signal: str) -> tuple[int, ...]:
        """Return the shape of one sample of a signal."""
        return self.signals[signal].shape

    def type(self, signal: str) -> SignalType:
        """Return a signal's type."""
        return self.signals[signal].type

    def static_signals(self) -> frozenset[str]:
        """Return the signals that are the same at every step: constants, a constant input, and what follows from them.

        States are not: they change from step to step.
        """
        static = set(self.inputs) if self.static_input else set()
        for node in self.nodes:
            if all(name in static for name in node.inputs):
                static.update(node.outputs)
        return frozenset(static)

    def with_nodes(self, nodes: tuple[Node, ...], signals: Mapping[str, Signal]) -> Graph:
        """Return the graph with other nodes; signals that nothing reads or writes are dropped, and so are states."""
        used = set(self.inputs) | set(self.outputs)
        for node in nodes:
            used.update(node.inputs, node.outputs)
        kept: dict[str, State] = {}
        while more := [s for s in self.states if s.read in used and s.read not in kept]:
            kept |= {state.read: state for state in more}
            used |= {state.written for state in more}  # which may be a state itself, as in a delay of two steps
        states = tuple(state for state in self.states if state.read in kept)
        return replace(self, nodes=nodes, states=states, signals={k: v for k, v in signals.items() if k in used})

    def double(self) -> Graph:
        """Return the graph with all floating-point parameters in float64."""
        nodes = tuple(doubled(node) for node in self.nodes)
        states = tuple(
            replace(s, initial=_double(s.initial)) if isinstance(s.initial, Tensor) else s for s in self.states
        )
        return replace(self, nodes=nodes, states=states)

    def save(self, path: str | Path) -> None:
        """Write the graph as a safetensors file whose metadata holds the structure as JSON."""
        from compiler.graph.file import write_graphs

        write_graphs(path, {"graph": self})

    @staticmethod
    def load(path: str | Path) -> Graph:
        """Read what ``save`` wrote, now or in the version before; nothing in the file is executed.

        Raises:
            CorruptFileError: the file is missing, damaged, or holds no single graph that holds together.
        """
        from compiler.graph.file import read_graph

        return read_graph(path)


def doubled(node: Node) -> Node:
    """Return a node with its floating-point parameters in float64."""
    return replace(node, parameters={name: _double(p) for name, p in node.parameters.items()})


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
