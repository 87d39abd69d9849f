"""Graph: a network as data, the only intermediate representation.

A graph says what happens in **one time step**. Nodes read and write named signals; a neuron's membrane is a signal too:
its node reads ``name.v`` and writes ``name.v_next``, and a ``State`` entry carries the one to the other between steps.
Shapes are without batch and time. Graphs are immutable; a pass returns a new one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from snnkit.errors import CorruptFileError
from snnkit.files import atomic_path

FORMAT = "snnkit-graph-1"


@dataclass(frozen=True)
class SignalType:
    """What travels on an edge: ``kind`` × ``scale``.

    kind "binary" {0, 1}; "signed" {−1, 0, 1}; "integer" whole numbers in [low, high]; "real" anything. ``scale`` is a
    common factor folded out of the values: an average of four spikes is integer[0,4] × 0.25.
    """

    kind: str = "real"
    low: int = 0
    high: int = 0
    scale: float = 1.0

    @property
    def is_event(self) -> bool:
        """Whether values are small whole numbers (times the scale), so that a weight is added and never multiplied."""
        return self.kind != "real"

    def __str__(self) -> str:
        text = f"integer[{self.low},{self.high}]" if self.kind == "integer" else self.kind
        return text if self.scale == 1.0 else f"{text}×{self.scale:g}"


REAL = SignalType()
BINARY = SignalType("binary", 0, 1)


@dataclass(frozen=True)
class Signal:
    """An edge: its name, its shape without batch and time, and its type (real until ``infer_signals`` has run)."""

    name: str
    shape: tuple[int, ...]
    type: SignalType = REAL


@dataclass(frozen=True, eq=False)
class Node:
    """An operation. ``attributes`` are plain JSON values, ``parameters`` tensors, ``scope`` the module it came from."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Tensor] = field(default_factory=dict)
    scope: str = ""

    @property
    def output(self) -> str:
        """The first output: spikes of a neuron, the only output of everything else."""
        return self.outputs[0]


@dataclass(frozen=True)
class State:
    """An edge into the next step: what was written to ``written`` is read from ``read``; ``initial`` fills step 0."""

    read: str
    written: str
    initial: float


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

    def producer(self, signal: str) -> Node | None:
        """Return the node that writes ``signal`` (None for inputs and states)."""
        return next((node for node in self.nodes if signal in node.outputs), None)

    def consumers(self, signal: str) -> tuple[Node, ...]:
        """Return the nodes that read ``signal``."""
        return tuple(node for node in self.nodes if signal in node.inputs)

    def shape(self, signal: str) -> tuple[int, ...]:
        """Return a signal's shape without batch and time."""
        return self.signals[signal].shape

    def type(self, signal: str) -> SignalType:
        """Return a signal's type."""
        return self.signals[signal].type

    def static_signals(self) -> frozenset[str]:
        """Return the signals that are the same at every step: the constant input and what depends on nothing else."""
        static = set(self.inputs) if self.static_input else set()
        for node in self.nodes:
            if node.inputs and all(name in static for name in node.inputs):
                static.update(node.outputs)
        return frozenset(static)

    def with_nodes(self, nodes: tuple[Node, ...], signals: Mapping[str, Signal]) -> Graph:
        """Return the graph with other nodes; signals that nothing reads or writes are dropped."""
        used = set(self.inputs) | set(self.outputs)
        for node in nodes:
            used.update(node.inputs, node.outputs)
        states = tuple(state for state in self.states if state.read in used and state.written in used)
        return replace(self, nodes=nodes, states=states, signals={k: v for k, v in signals.items() if k in used})

    def double(self) -> Graph:
        """Return the graph with all floating-point parameters in float64."""
        nodes = tuple(
            replace(n, parameters={k: p.double() if p.is_floating_point() else p for k, p in n.parameters.items()})
            for n in self.nodes
        )
        return replace(self, nodes=nodes)

    def save(self, path: str | Path) -> None:
        """Write the graph as a safetensors file whose metadata holds the structure as JSON."""
        write_graphs(path, {"graph": self})

    @staticmethod
    def load(path: str | Path) -> Graph:
        """Read what ``save`` wrote; nothing in the file is executed.

        Raises:
            CorruptFileError: the file is missing, damaged, or holds no single graph.
        """
        graphs, _ = read_graphs(path)
        if set(graphs) != {"graph"}:
            raise CorruptFileError(
                f"{path} holds {', '.join(graphs)}, not a single graph; a program has its own loader."
            )
        return graphs["graph"]


def write_graphs(path: str | Path, graphs: Mapping[str, Graph], extra: Mapping[str, str] | None = None) -> None:
    """Write named graphs, and a few strings, to one safetensors file."""
    tensors = {
        f"{key}:{node.name}:{name}": parameter.detach().clone(memory_format=torch.contiguous_format)
        for key, graph in graphs.items()
        for node in graph
        for name, parameter in node.parameters.items()
    }
    structure = {"format": FORMAT, "graphs": {k: _structure(g) for k, g in graphs.items()}, "extra": dict(extra or {})}
    content = save(tensors or {"empty": torch.zeros(1)}, {"graph": json.dumps(structure)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)  # not save_file: its errors hide what the system refused


def read_graphs(path: str | Path) -> tuple[dict[str, Graph], dict[str, str]]:
    """Read what ``write_graphs`` wrote; nothing in the file is executed.

    Raises:
        CorruptFileError: the file is missing, damaged, or holds no graph.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            structure = json.loads((file.metadata() or {}).get("graph", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except (safetensors.SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CorruptFileError(f"{path} is not a graph file: {error}.") from None
    if not isinstance(structure, dict) or structure.get("format") != FORMAT:
        raise CorruptFileError(f"{path} is a safetensors file without a graph.")
    try:
        graphs = {key: _graph(key, text, tensors) for key, text in structure["graphs"].items()}
        extra = dict(structure["extra"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{path} describes a graph that does not hold together: {error}.") from None
    return graphs, extra


def _structure(graph: Graph) -> dict[str, Any]:
    signals = graph.signals.values()
    return {
        "name": graph.name,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "timesteps": graph.timesteps,
        "static_input": graph.static_input,
        "states": [[s.read, s.written, s.initial] for s in graph.states],
        "signals": [[s.name, s.shape, s.type.kind, s.type.low, s.type.high, s.type.scale] for s in signals],
        "nodes": [
            [n.name, n.op, n.inputs, n.outputs, dict(n.attributes), sorted(n.parameters), n.scope] for n in graph
        ],
    }


def _graph(key: str, structure: dict[str, Any], tensors: dict[str, Tensor]) -> Graph:
    nodes = []
    for name, op, inputs, outputs, attributes, parameters, scope in structure["nodes"]:
        attributes = {k: tuple(v) if isinstance(v, list) else v for k, v in attributes.items()}
        own = {parameter: tensors[f"{key}:{name}:{parameter}"] for parameter in parameters}
        nodes.append(Node(name, op, tuple(inputs), tuple(outputs), attributes, own, scope))
    signals = {
        name: Signal(name, tuple(shape), SignalType(kind, low, high, scale))
        for name, shape, kind, low, high, scale in structure["signals"]
    }
    return Graph(
        inputs=tuple(structure["inputs"]),
        outputs=tuple(structure["outputs"]),
        nodes=tuple(nodes),
        signals=signals,
        states=tuple(State(*state) for state in structure["states"]),
        timesteps=structure["timesteps"],
        static_input=structure["static_input"],
        name=structure["name"],
    )
