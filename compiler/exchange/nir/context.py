"""What the forms of the table work with: a NIR file, or a graph, under construction.

A *source* is the name of a NIR node, or a token for a state of the graph: what some node sent a step before. Tokens are
resolved when all nodes are written (``links``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compiler.exchange.nir.numbers import smallest
from compiler.exchange.nir.package import Array, NirError
from compiler.graph import Graph, GraphBuilder, Node, State

Constant = float | bool | None | Tensor
"""A neuron's constant in a graph: one for the layer, or a tensor that broadcasts against a sample."""


def token(state: str) -> str:
    """Return the source that stands for a state of the graph; no NIR node is called so."""
    return f"\0{state}"


@dataclass
class Writing:
    """A NIR graph under construction. ``sources`` says for every signal which NIR nodes sum up to it.

    ``links`` are its edges, (source, node, shape of the signal); ``constants`` the signals that are stored numbers.
    """

    graph: Graph
    package: Any
    dt: float
    dtype: np.dtype[Any]
    grouped: bool
    portable: bool = False
    nodes: dict[str, Any] = field(default_factory=dict)
    links: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)
    expanded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checkable: bool = True

    def __post_init__(self) -> None:
        self.states: Mapping[str, State] = {state.read: state for state in self.graph.states}

    def shape(self, signal: str) -> tuple[int, ...]:
        """Return the shape of one sample of a signal."""
        return self.graph.shape(signal)

    def put(self, node: Node, made: Any, name: str = "", signal: str = "") -> str:
        """Add the NIR node of a graph's node, fed by its first input (or ``signal``), and return its name."""
        signal = signal or node.inputs[0]
        sources, name = self.read(signal, node.name), self.name(name or node.name)
        self.nodes[name] = made
        self.connect(sources, name, self.shape(signal))
        self.sources[node.output] = (name,)
        return name

    def follow(self, node: Node, made: Any, shape: tuple[int, ...], name: str = "") -> None:
        """Add one more NIR node to what a graph's node became so far, whose signal has ``shape``."""
        name = self.name(name or f"{node.name}_then")
        self.nodes[name] = made
        self.connect(self.sources[node.output], name, shape)
        self.sources[node.output] = (name,)

    def read(self, signal: str, reader: str) -> tuple[str, ...]:
        """Return the sources of a signal; a membrane has none."""
        if signal in self.constants:
            raise NirError(
                f"{reader} reads the stored numbers {signal!r}, which NIR has only as biases, scales and thresholds."
            )
        if signal not in self.sources:
            raise NirError(f"{reader} reads {signal!r}: a NIR neuron gives out spikes only, not its membrane.")
        return self.sources[signal]

    def sum_node(self, signal: str) -> tuple[str, ...]:
        """Give a sum a node of its own: a Scale by 1."""
        name, shape = self.name(signal), self.shape(signal)
        self.nodes[name] = self.package.Scale(np.ones(shape, self.dtype))
        self.connect(self.sources[signal], name, shape)
        return (name,)

    def scaled(self, signal: str, factor: float, reader: str) -> tuple[str, ...]:
        """Give a signal times a number a node of its own."""
        sources, name, shape = self.read(signal, reader), self.name(f"{reader}_times"), self.shape(signal)
        self.nodes[name] = self.package.Scale(np.full(shape, factor, self.dtype))
        self.connect(sources, name, shape)
        return (name,)

    def connect(self, sources: Iterable[str], target: str, shape: tuple[int, ...]) -> None:
        """Draw an edge from each source."""
        self.links += [(source, target, shape) for source in sources]

    def name(self, wanted: str) -> str:
        """Return a new name without characters that mean something in HDF5 or Python."""
        plain = name = re.sub(r"\W", "_", wanted, flags=re.ASCII) or "node"
        count = 1
        while name in self.nodes:
            count += 1
            name = f"{plain}_{count}"
        return name

    def into_weights(self, node: Node, gain: Any) -> None:
        """Multiply the layer before a neuron by what the neuron would multiply its input by."""
        if np.all(np.asarray(gain) == 1.0):
            return
        x = node.inputs[0]
        layer, sources = self.graph.producer(x), self.read(x, node.name)
        alone = len(self.graph.consumers(x)) == 1 and x not in (
            *self.graph.outputs,
            *(s.written for s in self.states.values()),
        )
        made = self.nodes.get(sources[0]) if len(sources) == 1 else None
        if layer is None or layer.op not in ("conv", "linear") or not alone or made is None:
            raise NirError(
                f"{node.name} ({node.op}) multiplies its input, which portable files have in weights only: put a "
                "convolution or linear layer right before it, that nothing else reads, or build it with "
                "decay_input=True."
            )
        rows = np.broadcast_to(np.asarray(gain, np.float64), self.shape(x)).reshape(self.shape(x)[0], -1)
        if (rows != rows[:, :1]).any():
            raise NirError(f"{node.name} ({node.op}) multiplies its input differently within a channel.")
        made.weight = (made.weight * rows[:, 0].reshape(-1, *[1] * (made.weight.ndim - 1))).astype(self.dtype)
        if getattr(made, "bias", None) is not None:
            made.bias = (made.bias * rows[:, 0]).astype(self.dtype)
        self.notes.append(f"{node.name}: what it multiplies its input by went into the weights of {layer.name}")

    def array(self, parameter: Tensor) -> Array:
        """Return a parameter as an array of the file's dtype."""
        return parameter.detach().cpu().numpy().astype(self.dtype)

    def weight(self, node: Node) -> Array:
        """Return the weights of a node; those of integer graphs are refused."""
        if node.attributes.get("weight_exponent", 0):
            raise NirError(
                f"{node.name} ({node.op}): NIR has no integer arithmetic; write the floating-point graph it was "
                "quantised from."
            )
        return self.array(node.parameters["weight"])

    def plain(self, node: Node, key: str) -> Any:
        """Return a neuron's constant: a number, None, or an array (float64) that broadcasts against a sample."""
        if key not in node.parameters:
            return node.attributes[key]
        value = node.parameters[key].detach().cpu().double().numpy()
        return float(value) if value.ndim == 0 else value

    def spread(self, node: Node, value: Any, dtype: np.dtype[Any] | None = None) -> Array:
        """Return a constant of a neuron as NIR wants it: an array of the layer's shape."""
        shape = self.shape(node.output)
        try:
            return np.broadcast_to(np.asarray(value, dtype or self.dtype), shape).copy()
        except ValueError:
            raise NirError(
                f"{node.name} ({node.op}) has a constant of shape {np.shape(value)}, which does not fit its layer of "
                f"shape {shape}."
            ) from None


@dataclass
class Reading:
    """A graph under construction from a file. ``names`` are those of its nodes, ``made`` the signals they give out."""

    path: str
    dt: float
    dtype: np.dtype[Any]
    names: frozenset[str]
    builder: GraphBuilder
    made: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        op: str,
        inputs: Sequence[str],
        attributes: dict[str, Any] | None = None,
        parameters: dict[str, Array] | None = None,
    ) -> str:
        """Add a node and return its output."""
        tensors = {key: self.tensor(array) for key, array in (parameters or {}).items()}
        return self.builder.add(op, inputs, attributes, tensors, name=name, scope=name)

    def scaled(self, name: str, x: str, weight: Array) -> str:
        """Return ``x`` times stored numbers that broadcast against it, ``x`` itself where they are 1."""
        weight = smallest(weight)
        return x if (weight == 1).all() else self.add(name, "scale", (x,), {}, {"weight": weight})

    def new(self, wanted: str) -> str:
        """Return a name for a signal that no node of the file gives out."""
        name, count = wanted, 0
        while name in self.names or name in self.builder.signals:
            count += 1
            name = f"{wanted}#{count}"
        return name

    def shape(self, signal: str) -> tuple[int, ...]:
        """Return the shape of one sample of a signal."""
        return self.builder.signals[signal].shape

    def rank(self, x: str, rank: int) -> tuple[int, ...]:
        """Return the shape of a signal that must have ``rank`` axes."""
        shape = self.shape(x)
        if len(shape) != rank:
            flat = "; a Flatten with start_dim=0 makes a vector" if rank == 1 and len(shape) > 1 else ""
            raise ValueError(f"it takes {rank} {'axis' if rank == 1 else 'axes'}{flat}")
        return shape

    @property
    def tensor_dtype(self) -> torch.dtype:
        """The dtype of the graph's parameters."""
        return torch.float64 if self.dtype == np.float64 else torch.float32

    def tensor(self, array: Array) -> Tensor:
        """Return an array as a parameter."""
        return torch.from_numpy(np.array(array, dtype=self.dtype))

    def state(self, name: str, shape: tuple[int, ...]) -> str:
        """Add a state that starts at 0, under a name like ``name``."""
        return self.builder.state(self.new(name), shape)

    def neuron(self, name: str, op: str, x: str, constants: dict[str, Constant], states: dict[str, Constant]) -> str:
        """Add a neuron and return what it sends. A state that starts as a tensor starts with it in every sample."""
        own = {key: value for key, value in constants.items() if not isinstance(value, Tensor)}
        parameters = {key: value for key, value in constants.items() if isinstance(value, Tensor)}
        start = {key: v.expand(self.shape(x)).clone() if isinstance(v, Tensor) else v for key, v in states.items()}
        node = self.builder.neuron(op, x, own, parameters, states=tuple(start.items()), name=name, scope=name)  # type: ignore[arg-type]
        return node
