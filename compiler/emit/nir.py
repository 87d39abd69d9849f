"""NIR: write a graph in the Neuromorphic Intermediate Representation (HDF5), which other simulators and chips read.

Source of the format: Pedersen et al., Nature Communications 15, 8122 (2024), and the package ``nir`` 1.0.8.

| graph | NIR | how |
|---|---|---|
| conv2d | Conv2d | bias 0 where there is none; groups become zero blocks, rectangular kernels square ones |
| linear | Affine, Linear | on vectors |
| avg_pool2d, flatten, scale | AvgPool2d, Flatten, Scale | shapes have no batch axis: a Flatten starts at axis 0 |
| add | none | edges from both summands into every reader: several edges into one node mean their sum |
| lif | LIF | tau = τ·dt, r = 1 or τ, v_leak = v_reset |
| integrate_fire | IF | r = 1/dt |

**Neurons.** NIR writes τₙ·dv/dt = (v_leak − v) + r·x. One Euler step of length dt is
v + (dt/τₙ)·(v_leak − v + r·x); with τₙ = τ·dt and v_leak = v_reset this is

    r = 1:  v + (x − (v − v_reset)) / τ        decay_input = True
    r = τ:  v − (v − v_reset) / τ + x          decay_input = False

and dv/dt = r·x with r = 1/dt is v + x. A membrane starts at v_reset, which is v_leak; NIR itself does not say where
membranes start, which scheme integrates them, or how long a step is: dt is in the file's metadata as a hint.

**Threshold.** NIR fires where v > v_threshold, snnkit where v ≥ v_threshold. The file holds the next smaller number of
the parameters' dtype: no number of that dtype lies between the two, so both rules agree on every membrane.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.graph import Graph, Node
from snnkit import __version__
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.files import atomic_path

Array = NDArray[Any]


class NirError(SnnkitError):
    """What NIR, or a graph, cannot express (names the node and a way out); or ``nir`` is not installed."""


@runtime_checkable
class HasSourceGraph(Protocol):
    """Anything made from a graph, as a compiled program is."""

    @property
    def source_graph(self) -> Graph:
        """The graph it was made from."""
        ...


@dataclass(frozen=True)
class NirReport:
    """What was written.

    Args:
        path: of the file.
        nodes, edges: how many the file holds, inputs and outputs included.
        expanded: graph names of the convolutions whose groups were written as zero blocks of a dense one.
        notes: what a reader of the file should know, one sentence each.
    """

    path: Path
    nodes: int
    edges: int
    expanded: tuple[str, ...]
    notes: tuple[str, ...]


def nir(graph: Graph | HasSourceGraph, path: str | Path, dt: float = 1.0, grouped: bool = False) -> NirReport:
    """Write ``graph`` as a NIR file; nothing is left behind when that fails.

    Args:
        graph: without batch norm (``compiler.passes.simplify`` folds it); of a program its ``source_graph``.
        path: of the file, ``.nir`` by custom.
        dt: length of a time step in the unit the reader wants its time constants in (seconds, mostly).
        grouped: keep grouped convolutions as they are; such a file needs ``nir.read(path, type_check=False)``, because
            nir 1.0.8 takes the channels of one group for all of them. By default they become dense convolutions with
            zeros between the groups: the same sums, in a file of up to ``groups`` times the weights.

    Returns:
        Counts, and what had to be rewritten.

    Raises:
        NirError: the graph holds something NIR cannot express (names the node), or ``nir`` is not installed.
        InvalidArgumentError: not a graph, or dt is no positive number.
        DiskError: the file could not be written.
    """
    source = graph if isinstance(graph, Graph) else getattr(graph, "source_graph", None)
    if not isinstance(source, Graph):
        raise InvalidArgumentError(
            f"nir writes a Graph or a compiled program, got {type(graph).__name__}; compiler.capture(model, example) "
            "makes a Graph of a module."
        )
    check_dt(dt)
    package = nir_package()
    writing = _Writing(source, package, float(dt), _dtype(source), grouped)
    writing.run()
    metadata = {
        "made_by": f"snnkit {__version__}",
        "name": source.name,
        "dt": float(dt),
        "timesteps": source.timesteps,
        "static_input": source.static_input,
    }
    network = package.NIRGraph(writing.nodes, writing.edges, metadata, type_check=writing.checkable)
    with atomic_path(path) as temporary:
        package.write(str(temporary), network)
    notes = (f"one time step is one Euler step of dt={dt:g}; membranes start at v_leak", *writing.notes)
    return NirReport(Path(path), len(writing.nodes), len(writing.edges), tuple(writing.expanded), notes)


def nir_package() -> Any:
    """Return the package ``nir``.

    Raises:
        NirError: it is not installed.
    """
    try:
        import nir as package
    except ImportError:
        raise NirError("NIR files need the package nir: pip install snnkit[nir]") from None
    return package


def check_dt(dt: float) -> None:
    """Raise InvalidArgumentError unless ``dt`` is a finite number > 0."""
    if not (math.isfinite(dt) and dt > 0):
        raise InvalidArgumentError(f"dt={dt!r}: must be a finite number > 0, the length of a time step.")


_REFUSED = {
    "batch_norm": "NIR has no batch norm; fold it with compiler.passes.simplify(graph), which needs a convolution or "
    "linear layer right before it",
    "relu": "NIR has no ReLU; convert the network to a spiking one first",
    "lif_fixed": "NIR has no integer arithmetic; write the floating-point graph it was quantised from",
    "bias_current": "NIR has no integer arithmetic; write the floating-point graph it was quantised from",
}


def _dtype(graph: Graph) -> np.dtype[Any]:
    """Return the dtype of the graph's parameters: float32 or float64; torch's default where there are none."""
    found = {p.dtype for node in graph for p in node.parameters.values()} or {torch.get_default_dtype()}
    if found <= {torch.float32, torch.float64}:
        return np.dtype(np.float64 if torch.float64 in found else np.float32)
    other = ", ".join(sorted(str(dtype) for dtype in found - {torch.float32, torch.float64}))
    raise NirError(f"parameters of type {other}: NIR files are written in float32 or float64; take graph.double().")


@dataclass
class _Writing:
    """A NIR graph under construction. ``sources`` says for every signal which NIR nodes sum up to it."""

    graph: Graph
    package: Any
    dt: float
    dtype: np.dtype[Any]
    grouped: bool
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expanded: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checkable: bool = True

    def run(self) -> None:
        """Write inputs, nodes and outputs, in the order of the graph."""
        nodes, read = _live(self.graph)
        for i, signal in enumerate(self.graph.inputs):
            if signal not in read:
                raise NirError(f"the input {signal!r} is read by nothing, which NIR cannot say; remove it.")
            name = self.name(_numbered("input", i, len(self.graph.inputs)))
            self.nodes[name] = self.package.Input(np.array(self.graph.shape(signal)))
            self.sources[signal] = (name,)
        for node in nodes:
            self.write(node)
        for i, signal in enumerate(self.graph.outputs):
            name = self.name(_numbered("output", i, len(self.graph.outputs)))
            if len(self.read(signal, name)) > 1:
                self.sources[signal] = self.sum_node(signal)
            self.nodes[name] = self.package.Output(np.array(self.graph.shape(signal)))
            self.connect(self.sources[signal], name, self.graph.shape(signal))

    def write(self, node: Node) -> None:
        """Write one node of the graph, or pass its signal on."""
        if node.op == "identity":
            self.sources[node.output] = self.read(node.inputs[0], node.name)
        elif node.op == "add":
            self.sources[node.output] = self.add(node)
        elif node.op in _HANDLERS:
            made = _HANDLERS[node.op](self, node)
            sources, name = self.read(node.inputs[0], node.name), self.name(node.name)
            self.nodes[name] = made
            self.connect(sources, name, self.graph.shape(node.inputs[0]))
            self.sources[node.output] = (name,)
        else:
            raise NirError(f"{node.name} ({node.op}): {_REFUSED.get(node.op, 'NIR has no such operation')}.")

    def add(self, node: Node) -> tuple[str, ...]:
        """Return the sources of a sum, so ordered that summing them from the left rounds as the graph does."""
        x, y = (self.read(signal, node.name) for signal in node.inputs)
        if len(x) > 1 and len(y) > 1:
            y = self.sources[node.inputs[1]] = self.sum_node(node.inputs[1])
        return y + x if len(y) > 1 else x + y

    def read(self, signal: str, reader: str) -> tuple[str, ...]:
        """Return the sources of a signal; a membrane has none."""
        if signal not in self.sources:
            raise NirError(f"{reader} reads {signal!r}: a NIR neuron gives out spikes only, not its membrane.")
        return self.sources[signal]

    def sum_node(self, signal: str) -> tuple[str, ...]:
        """Give a sum a node of its own: a Scale by 1."""
        name, shape = self.name(signal), self.graph.shape(signal)
        self.nodes[name] = self.package.Scale(np.ones(shape, self.dtype))
        self.connect(self.sources[signal], name, shape)
        return (name,)

    def connect(self, sources: Iterable[str], target: str, shape: tuple[int, ...]) -> None:
        """Draw an edge from each source. ``nir`` takes an edge only once: a repeated one goes through a Scale by 1."""
        drawn: set[str] = set()
        for source in sources:
            if source in drawn:
                again = self.name(f"{source}_again")
                self.nodes[again] = self.package.Scale(np.ones(shape, self.dtype))
                self.edges.append((source, again))
                source = again
            drawn.add(source)
            self.edges.append((source, target))

    def name(self, wanted: str) -> str:
        """Return a new name without characters that mean something in HDF5 or Python."""
        plain = name = re.sub(r"\W", "_", wanted, flags=re.ASCII) or "node"
        count = 1
        while name in self.nodes:
            count += 1
            name = f"{plain}_{count}"
        return name

    def array(self, parameter: Tensor) -> Array:
        """Return a parameter as an array of the file's dtype."""
        return parameter.detach().cpu().numpy().astype(self.dtype)

    def full(self, value: float, node: Node) -> Array:
        """Return a constant of a neuron as NIR wants it: an array of the layer's shape."""
        return np.full(self.graph.shape(node.output), value, self.dtype)


def _numbered(name: str, index: int, count: int) -> str:
    """HDF5 returns names in alphabetical order: zeros in front keep it the order of the graph."""
    return name if count == 1 else f"{name}_{index:0{len(str(count - 1))}d}"


def _live(graph: Graph) -> tuple[list[Node], set[str]]:
    """Return the nodes that an output depends on and the signals read; ``nir`` makes an output of any other node."""
    read, kept = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if not read.isdisjoint(node.outputs):
            kept.append(node)
            read.update(node.inputs)
    return kept[::-1], read


def _plain_weight(writing: _Writing, node: Node) -> Array:
    if node.attributes.get("weight_exponent", 0):
        raise NirError(f"{node.name} ({node.op}): {_REFUSED['lif_fixed']}.")
    return writing.array(node.parameters["weight"])


def _conv2d(writing: _Writing, node: Node) -> Any:
    a, weight = node.attributes, _plain_weight(writing, node)
    groups = a["groups"]
    if groups > 1 and writing.grouped:
        writing.checkable = False
        writing.notes.append(f"{node.name} keeps {groups} groups: read with nir.read(path, type_check=False)")
    elif groups > 1:
        weight, groups = _dense(weight, groups), 1
        writing.expanded.append(node.name)
    padding = a["padding"]
    if weight.shape[2] != weight.shape[3]:
        weight, padding = _square(writing, node, weight)
    bias = node.parameters.get("bias")
    return writing.package.Conv2d(
        input_shape=tuple(writing.graph.shape(node.inputs[0])[1:]),
        weight=weight,
        stride=tuple(a["stride"]),
        padding=tuple(padding),
        dilation=tuple(a["dilation"]),
        groups=groups,
        bias=np.zeros(len(weight), writing.dtype) if bias is None else writing.array(bias),
    )


def _dense(weight: Array, groups: int) -> Array:
    """(Cout, Cin/groups, kh, kw) → (Cout, Cin, kh, kw) with zeros between the groups."""
    outputs, inputs = len(weight) // groups, weight.shape[1]
    dense = np.zeros((len(weight), inputs * groups, *weight.shape[2:]), weight.dtype)
    for g in range(groups):
        rows = slice(g * outputs, (g + 1) * outputs)
        dense[rows, g * inputs : (g + 1) * inputs] = weight[rows]
    return dense


def _square(writing: _Writing, node: Node, weight: Array) -> tuple[Array, tuple[int, int]]:
    """Put zeros around a rectangular kernel and pad as much more: nir 1.0.8 takes its height for its width too."""
    side = max(weight.shape[2:])
    missing = [side - size for size in weight.shape[2:]]
    padding, dilation = node.attributes["padding"], node.attributes["dilation"]
    if any(m % 2 for m in missing):
        writing.checkable = False
        writing.notes.append(f"{node.name} has a rectangular kernel: read with nir.read(path, type_check=False)")
        return weight, padding
    writing.notes.append(f"{node.name}: its kernel got zeros around it to be square")
    half = [m // 2 for m in missing]
    squared = np.pad(weight, ((0, 0), (0, 0), (half[0], half[0]), (half[1], half[1])))
    return squared, (padding[0] + half[0] * dilation[0], padding[1] + half[1] * dilation[1])


def _linear(writing: _Writing, node: Node) -> Any:
    shape = writing.graph.shape(node.inputs[0])
    if len(shape) != 1:
        raise NirError(
            f"{node.name} (linear) works on a signal of shape {shape}, NIR's on vectors only; flatten first."
        )
    weight, bias = _plain_weight(writing, node), node.parameters.get("bias")
    return writing.package.Linear(weight) if bias is None else writing.package.Affine(weight, writing.array(bias))


def _avg_pool2d(writing: _Writing, node: Node) -> Any:
    a = node.attributes
    if any(a["padding"]):
        writing.notes.append(f"{node.name} counts padded zeros in its averages; NIR does not say whether to")
    return writing.package.AvgPool2d(
        kernel_size=np.array(a["kernel_size"]), stride=np.array(a["stride"]), padding=np.array(a["padding"])
    )


def _flatten(writing: _Writing, node: Node) -> Any:
    shape = np.array(writing.graph.shape(node.inputs[0]))
    return writing.package.Flatten(input_type={"input": shape}, start_dim=0, end_dim=-1)


def _scale(writing: _Writing, node: Node) -> Any:
    weight = _plain_weight(writing, node)
    return writing.package.Scale(np.broadcast_to(weight, writing.graph.shape(node.output)).copy())


def _lif(writing: _Writing, node: Node) -> Any:
    tau = float(node.attributes["tau"])
    constants = _fire_and_reset(writing, node)
    return writing.package.LIF(
        tau=writing.full(tau * writing.dt, node),
        r=writing.full(1.0 if node.attributes["decay_input"] else tau, node),
        v_leak=constants["v_reset"].copy(),
        **constants,
    )


def _integrate_fire(writing: _Writing, node: Node) -> Any:
    return writing.package.IF(r=writing.full(1.0 / writing.dt, node), **_fire_and_reset(writing, node))


def _fire_and_reset(writing: _Writing, node: Node) -> dict[str, Array]:
    v_threshold, v_reset = node.attributes["v_threshold"], node.attributes["v_reset"]
    if v_reset is None:
        raise NirError(
            f"{node.name} ({node.op}) subtracts its threshold when it fires, NIR knows only a reset to a number; "
            "build it with v_reset=0.0."
        )
    initial = next((state.initial for state in writing.graph.states if state.read == node.inputs[1]), v_reset)
    if initial != v_reset:
        raise NirError(
            f"{node.name} ({node.op}) starts at {initial:g}, not at its v_reset={v_reset:g}; NIR cannot say so."
        )
    at = writing.dtype.type(v_threshold)
    below = np.nextafter(at, writing.dtype.type(-np.inf))
    return {"v_threshold": writing.full(below, node), "v_reset": writing.full(v_reset, node)}


_HANDLERS: dict[str, Callable[[_Writing, Node], Any]] = {
    "conv2d": _conv2d,
    "linear": _linear,
    "avg_pool2d": _avg_pool2d,
    "flatten": _flatten,
    "scale": _scale,
    "lif": _lif,
    "integrate_fire": _integrate_fire,
}
