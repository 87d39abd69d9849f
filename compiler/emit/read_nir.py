"""Read a NIR file into a graph. Only the file and NIR's written definitions are used, whoever wrote it.

| NIR | graph | how |
|---|---|---|
| Conv2d | conv2d | weights that are zero outside diagonal blocks become groups |
| Affine, Linear | linear | on vectors |
| AvgPool2d, SumPool2d | avg_pool2d, conv2d | padded zeros count; a sum is a convolution with ones |
| Flatten | flatten | of all axes; NIR's shapes have no batch axis |
| Scale | scale | by one number; a Scale by 1 is no node |
| LIF, IF | lif, integrate_fire | one set of constants for a layer |
| several edges into one node | add | one after the other, in the order of the edges |

A LIF is read as Euler steps of length dt: v + (dt/τₙ)·(v_leak − v + r·x), so that τ = τₙ/dt. r = 1 is ``decay_input``,
r = τ is its opposite, and any other r is a scale node before the neuron. Membranes start at v_reset. The rule
v > v_threshold becomes v ≥ the next larger number of the weights' dtype: the same for every number of that dtype.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.emit.nir import NirError, check_dt, nir_package
from compiler.graph import Graph, Node, Signal, State
from compiler.operations import OPERATIONS
from compiler.passes.infer_signals import infer_signals
from snnkit.errors import CorruptFileError, InvalidArgumentError

Array = NDArray[Any]
T = TypeVar("T")
_WEIGHTS = ("weight", "bias", "scale")
_DEFECTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_nir(path: str | Path, dt: float | None = None, timesteps: int | None = None) -> Graph:
    """Read a NIR file; nothing in it is executed.

    Args:
        path: of the file.
        dt: length of a time step in the file's unit of time; by default what its metadata says, else 1.
        timesteps: T of the graph; by default what the metadata says, else 1.

    Returns:
        The graph, with typed signals and a real input. Its nodes have the names that they have in the file.

    Raises:
        CorruptFileError: the file is missing, damaged, or does not hold together.
        NirError: it holds something that graphs cannot express (names the node), or ``nir`` is not installed.
        InvalidArgumentError: dt or timesteps is no positive number.
    """
    network = _load(Path(path))
    metadata = network.metadata
    if dt is None:
        dt = _hint(metadata, "dt", float, 1.0)
    check_dt(dt)
    if timesteps is None:
        timesteps = max(1, _hint(metadata, "timesteps", int, 1))
    elif timesteps < 1:
        raise InvalidArgumentError(f"timesteps={timesteps}: must be ≥ 1.")
    reading = _Reading(str(path), float(dt), _dtype(network), frozenset(network.nodes))
    reading.run(network)
    return infer_signals(
        Graph(
            inputs=tuple(reading.inputs),
            outputs=tuple(reading.outputs),
            nodes=tuple(reading.nodes),
            signals=reading.signals,
            states=tuple(reading.states),
            timesteps=timesteps,
            static_input=_hint(metadata, "static_input", bool, False),
            name=_hint(metadata, "name", str, Path(path).stem),
        )
    )


def _load(path: Path) -> Any:
    package = nir_package()
    if not path.exists():
        raise CorruptFileError(f"{path} does not exist.")
    try:
        network = package.read(str(path), type_check=False)
    except _DEFECTS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptFileError(
            f"{path} is damaged, no NIR graph, or holds node types that nir {package.version} does not know: {reason}."
        ) from None
    if not isinstance(network, package.NIRGraph):
        raise CorruptFileError(f"{path} holds a single {type(network).__name__}, not a NIR graph.")
    return network


def _hint(metadata: dict[str, Any], key: str, kind: Callable[[Any], T], default: T) -> T:
    """Return an entry of the metadata where it is one of that kind."""
    try:
        value = kind(metadata[key])
    except (KeyError, TypeError, ValueError, OverflowError):
        return default
    return default if isinstance(value, float) and not (math.isfinite(value) and value > 0) else value


def _dtype(network: Any) -> np.dtype[Any]:
    """Return float64 where any weight is (any constant, where there are no weights), else float32."""
    fields = [vars(node) for node in network.nodes.values()]
    weights = [values[key] for values in fields for key in _WEIGHTS if isinstance(values.get(key), np.ndarray)]
    found = weights or [array for values in fields for array in values.values() if isinstance(array, np.ndarray)]
    return np.dtype(np.float64 if any(array.dtype == np.float64 for array in found) else np.float32)


@dataclass
class _Reading:
    """A graph under construction. ``names`` are those of the NIR nodes, ``made`` the signals they give out."""

    path: str
    dt: float
    dtype: np.dtype[Any]
    names: frozenset[str]
    nodes: list[Node] = field(default_factory=list)
    signals: dict[str, Signal] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    made: dict[str, str] = field(default_factory=dict)
    sums: dict[tuple[str, str], str] = field(default_factory=dict)

    def run(self, network: Any) -> None:
        """Read every node after those that it depends on."""
        before: dict[str, list[str]] = {name: [] for name in network.nodes}
        for source, target in network.edges:
            for name in (source, target):
                if name not in before:
                    raise CorruptFileError(f"{self.path}: an edge names {name!r}, which is no node.")
            before[target].append(source)
        for name in _ordered(before):
            self.read(name, network.nodes[name], before[name])
        outputs = [name for name, node in network.nodes.items() if type(node).__name__ == "Output"]
        self.outputs = [self.made[name] for name in outputs]
        if not self.inputs or not self.outputs:
            raise NirError(f"{self.path} has no {'Output' if self.inputs else 'Input'} node; a graph needs both.")

    def read(self, name: str, node: Any, before: list[str]) -> None:
        """Read one NIR node, whose input is the sum of ``before``."""
        kind = type(node).__name__
        if kind == "Input":
            if before:
                raise NirError(f"{name} (Input) has an edge into it; a graph's inputs come from outside.")
            self.inputs.append(name)
            self.signals[name] = Signal(name, _shape(node.input_type["input"], name))
            self.made[name] = name
            return
        if kind not in _HANDLERS:
            raise NirError(f"{name} ({kind}): {_REFUSED.get(kind, 'graphs have no such operation')}.")
        if not before:
            raise NirError(f"{name} ({kind}) has no edge into it; only Input nodes may.")
        x = self.sum(name, [self.made[source] for source in before])
        try:
            self.made[name] = _HANDLERS[kind](self, name, node, x)
        except _DEFECTS as error:
            if isinstance(error, (CorruptFileError, InvalidArgumentError)):
                raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            shape = self.signals[x].shape
            raise CorruptFileError(
                f"{self.path}: {name} ({kind}) does not fit its input of shape {shape}: {reason}."
            ) from None

    def sum(self, target: str, signals: list[str]) -> str:
        """Return the signal that is the sum of ``signals``, made once however many nodes read it."""
        total = signals[0]
        for signal in signals[1:]:
            shapes = self.signals[total].shape, self.signals[signal].shape
            if shapes[0] != shapes[1]:
                raise CorruptFileError(f"{self.path}: {target} sums signals of shapes {shapes[0]} and {shapes[1]}.")
            if (total, signal) not in self.sums:
                self.sums[total, signal] = self.add(self.new(f"{target}.sum"), "add", (total, signal))
            total = self.sums[total, signal]
        return total

    def add(
        self,
        name: str,
        op: str,
        inputs: tuple[str, ...],
        attributes: dict[str, Any] | None = None,
        parameters: dict[str, Array] | None = None,
    ) -> str:
        """Add a node without state and return its output; its shape is what the operation makes of its inputs'."""
        tensors = {key: self.tensor(array) for key, array in (parameters or {}).items()}
        node = Node(name, op, inputs, (name,), attributes or {}, tensors, scope=name)
        shapeless = Node(name, op, inputs, (name,), node.attributes, {k: p.to("meta") for k, p in tensors.items()})
        empty = (
            torch.empty((1, *self.signals[signal].shape), device="meta", dtype=self.tensor_dtype) for signal in inputs
        )
        (y,) = OPERATIONS[op].run(shapeless, *empty)
        self.signals[name] = Signal(name, tuple(y.shape[1:]))
        self.nodes.append(node)
        return name

    def new(self, wanted: str) -> str:
        """Return a name for a signal that no node of the file gives out."""
        name, count = wanted, 0
        while name in self.signals or name in self.names:
            count += 1
            name = f"{wanted}#{count}"
        return name

    def neuron(self, name: str, op: str, x: str, attributes: dict[str, Any]) -> str:
        """Add a neuron that starts at its v_reset and return its spikes."""
        read, written = self.new(f"{name}.v"), self.new(f"{name}.v_next")
        for signal in (name, read, written):
            self.signals[signal] = Signal(signal, self.signals[x].shape)
        self.states.append(State(read, written, attributes["v_reset"]))
        self.nodes.append(Node(name, op, (x, read), (name, written), attributes, scope=name))
        return name

    @property
    def tensor_dtype(self) -> torch.dtype:
        """The dtype of the graph's parameters."""
        return torch.float64 if self.dtype == np.float64 else torch.float32

    def tensor(self, array: Array) -> Tensor:
        """Return an array as a parameter."""
        return torch.from_numpy(np.array(array, dtype=self.dtype))

    def rank(self, x: str, rank: int) -> tuple[int, ...]:
        """Return the shape of a signal that must have ``rank`` axes."""
        shape = self.signals[x].shape
        if len(shape) != rank:
            raise ValueError(f"it takes {rank} {'axis' if rank == 1 else 'axes'}")
        return shape


def _ordered(before: dict[str, list[str]]) -> list[str]:
    """Return the nodes so that each comes after those it depends on.

    Raises:
        NirError: some depend on themselves.
    """
    waiting = {name: set(sources) for name, sources in before.items()}
    order: list[str] = []
    while ready := [name for name, sources in waiting.items() if not sources]:
        order += ready
        for name in ready:
            del waiting[name]
        for sources in waiting.values():
            sources.difference_update(ready)
    while idle := [n for n in waiting if not any(n in sources for sources in waiting.values())]:
        for name in idle:
            del waiting[name]
    if waiting:
        raise NirError(
            f"recurrent: {', '.join(sorted(waiting))} form a cycle; graphs have no recurrent connections yet."
        )
    return order


def _shape(value: Any, name: str) -> tuple[int, ...]:
    if value is None:
        raise NirError(f"{name}: its shape is not in the file.")
    return tuple(int(size) for size in np.atleast_1d(value))


def _pair(value: Any) -> tuple[int, int]:
    numbers = np.atleast_1d(value)
    return int(numbers[0]), int(numbers[-1])


def _conv2d(reading: _Reading, name: str, node: Any, x: str) -> str:
    shape = reading.rank(x, 3)
    if node.input_shape is not None and _shape(node.input_shape, name) != shape[1:]:
        raise ValueError(f"its input_shape is {_shape(node.input_shape, name)}")
    weight, bias, groups = np.asarray(node.weight), np.asarray(node.bias), int(node.groups)
    if bias.shape != (len(weight),):
        raise ValueError(f"{len(weight)} channels have a bias of shape {bias.shape}")
    if groups == 1:
        weight, groups = _grouped(weight)
    attributes: dict[str, Any] = {"stride": _pair(node.stride), "dilation": _pair(node.dilation), "groups": groups}
    attributes["padding"] = _padding(name, node, weight.shape[2:])
    return reading.add(name, "conv2d", (x,), attributes, {"weight": weight, "bias": bias})


def _padding(name: str, node: Any, kernel: tuple[int, ...]) -> tuple[int, int]:
    if not isinstance(node.padding, str):
        return _pair(node.padding)
    if node.padding == "valid":
        return (0, 0)
    total = [d * (k - 1) for d, k in zip(_pair(node.dilation), kernel, strict=True)]
    if _pair(node.stride) != (1, 1) or any(t % 2 for t in total):
        raise NirError(
            f"{name} (Conv2d): padding='same' needs stride 1 and as much padding on either side; use numbers."
        )
    return total[0] // 2, total[1] // 2


def _grouped(weight: Array) -> tuple[Array, int]:
    """Return the weights with as many groups as their zeros allow: (Cout, Cin, …) → (Cout, Cin/groups, …)."""
    outputs, inputs = weight.shape[:2]
    used = (weight != 0).reshape(outputs, inputs, -1).any(2)
    for g in range(math.gcd(outputs, inputs), 1, -1):
        if outputs % g or inputs % g:
            continue
        blocks = used.reshape(g, outputs // g, g, inputs // g).any((1, 3))
        if not (blocks & ~np.eye(g, dtype=bool)).any():
            split = weight.reshape(g, outputs // g, g, inputs // g, *weight.shape[2:])
            kept = split[np.arange(g), :, np.arange(g)]
            return kept.reshape(outputs, inputs // g, *weight.shape[2:]), g
    return weight, 1


def _linear(reading: _Reading, name: str, node: Any, x: str) -> str:
    reading.rank(x, 1)
    parameters = {"weight": np.asarray(node.weight)}
    if parameters["weight"].ndim != 2:
        raise NirError(
            f"{name} ({type(node).__name__}): weights of shape {node.weight.shape}; graphs have matrices only."
        )
    if hasattr(node, "bias"):
        parameters["bias"] = np.asarray(node.bias)
    return reading.add(name, "linear", (x,), {}, parameters)


def _avg_pool2d(reading: _Reading, name: str, node: Any, x: str) -> str:
    reading.rank(x, 3)
    attributes = {key: _pair(getattr(node, key)) for key in ("kernel_size", "stride", "padding")}
    return reading.add(name, "avg_pool2d", (x,), attributes)


def _sum_pool2d(reading: _Reading, name: str, node: Any, x: str) -> str:
    channels = reading.rank(x, 3)[0]
    attributes = {"stride": _pair(node.stride), "padding": _pair(node.padding), "dilation": (1, 1), "groups": channels}
    return reading.add(name, "conv2d", (x,), attributes, {"weight": np.ones((channels, 1, *_pair(node.kernel_size)))})


def _flatten(reading: _Reading, name: str, node: Any, x: str) -> str:
    rank = len(reading.signals[x].shape)
    start, end = (int(axis) + (rank if axis < 0 else 0) for axis in (node.start_dim, node.end_dim))
    if (start, end) != (0, rank - 1):
        raise NirError(
            f"{name} (Flatten) flattens axes {start} to {end} of {rank}; graphs flatten all. NIR's shapes have no "
            "batch axis: write it with start_dim=0."
        )
    return reading.add(name, "flatten", (x,))


def _scale(reading: _Reading, name: str, node: Any, x: str) -> str:
    weight = _constant(name, "scale", node.scale, reading.signals[x].shape)
    return x if weight == 1 else reading.add(name, "scale", (x,), {}, {"weight": np.asarray(weight)})


def _output(reading: _Reading, name: str, node: Any, x: str) -> str:
    shape = node.output_type["output"]
    if shape is not None and _shape(shape, name) != reading.signals[x].shape:
        raise ValueError(f"its shape is {_shape(shape, name)}")
    return x


def _lif(reading: _Reading, name: str, node: Any, x: str) -> str:
    shape = reading.signals[x].shape
    tau_nir, r, v_leak = (_constant(name, key, getattr(node, key), shape) for key in ("tau", "r", "v_leak"))
    tau = _shortest(tau_nir, reading.dt)
    if not tau > 1:
        raise NirError(
            f"{name} (LIF): tau={tau_nir:g} is {tau:.3g} time steps of dt={reading.dt:g}, which must be > 1; give the "
            "step the network was made for: read_nir(path, dt=…)."
        )
    fire = _fire_and_reset(reading, name, node, shape)
    if float(v_leak) != float(_constant(name, "v_reset", node.v_reset, shape)):
        raise NirError(
            f"{name} (LIF) leaks to {v_leak:g} and resets to {fire['v_reset']:g}; in graphs both are one number. "
            "Shift the membrane, or move the difference into the bias before it."
        )
    plain = _close(r, tau)
    if not plain and not _close(r, 1.0):
        x = reading.add(reading.new(f"{name}.gain"), "scale", (x,), {}, {"weight": np.asarray(r)})
    return reading.neuron(name, "lif", x, {"tau": tau, "decay_input": not plain, **fire})


def _integrate_fire(reading: _Reading, name: str, node: Any, x: str) -> str:
    shape = reading.signals[x].shape
    gain = float(_constant(name, "r", node.r, shape)) * reading.dt
    if not _close(np.asarray(node.r).dtype.type(gain), 1.0):
        x = reading.add(reading.new(f"{name}.gain"), "scale", (x,), {}, {"weight": np.asarray(gain)})
    return reading.neuron(name, "integrate_fire", x, _fire_and_reset(reading, name, node, shape))


def _fire_and_reset(reading: _Reading, name: str, node: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    number = reading.dtype.type
    below = _constant(name, "v_threshold", node.v_threshold, shape)
    threshold = number(below)
    if float(threshold) <= float(below):
        threshold = np.nextafter(threshold, number(np.inf))
    v_reset = _shortest(_constant(name, "v_reset", node.v_reset, shape))
    if not v_reset < threshold:
        raise NirError(f"{name} ({type(node).__name__}): v_reset={v_reset:g} must lie below v_threshold={below:g}.")
    return {"v_threshold": _shortest(threshold), "v_reset": v_reset, "detach_reset": True}


def _constant(name: str, key: str, value: Any, shape: tuple[int, ...]) -> np.floating[Any]:
    """Return the one number that an array over a layer holds, in its own dtype (float64 where that is no float)."""
    array = np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.size != 1 and array.shape != shape:
        raise ValueError(f"{key} has shape {array.shape}")
    first = array.reshape(-1)[0]
    if not np.isfinite(first):
        raise ValueError(f"{key} is {first}")
    if (array != first).any():
        raise NirError(f"{name}: {key} differs within the layer; graphs have one number for a layer.")
    return cast("np.floating[Any]", first)


def _shortest(stored: np.floating[Any], unit: float = 1.0) -> float:
    """Return the shortest decimal that, times ``unit``, is stored as this number: 0.1 for float32's 0.100000001."""
    value = float(stored) / unit
    for digits in range(1, 18):
        shorter = float(f"{value:.{digits}g}")
        if type(stored)(shorter * unit) == stored:
            return shorter
    return value


def _close(stored: np.floating[Any], value: float) -> bool:
    """Whether a stored number is ``value`` up to a few roundings."""
    return bool(abs(float(stored) - value) <= 4 * float(np.finfo(type(stored)).eps) * abs(value))


_REFUSED = {
    "Conv1d": "graphs have no one-dimensional convolution; write it as a Conv2d of height 1",
    "CubaLI": "graphs have no synaptic current and no neuron without spikes",
    "CubaLIF": "graphs have no synaptic current; make it a LIF",
    "Delay": "graphs have no delays",
    "I": "graphs have no neuron without spikes",
    "LI": "graphs have no neuron without spikes; end the network before it",
    "NIRGraph": "graphs have no subgraphs; write its nodes into the outer graph",
    "Threshold": "graphs have no threshold without a membrane; make it an IF",
}

_HANDLERS: dict[str, Callable[[_Reading, str, Any, str], str]] = {
    "Conv2d": _conv2d,
    "Affine": _linear,
    "Linear": _linear,
    "AvgPool2d": _avg_pool2d,
    "SumPool2d": _sum_pool2d,
    "Flatten": _flatten,
    "Scale": _scale,
    "LIF": _lif,
    "IF": _integrate_fire,
    "Output": _output,
}
