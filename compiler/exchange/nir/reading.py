"""Read a NIR file into a graph. Only the file and NIR's written definitions are used, whoever wrote it.

``table`` says what becomes what. Several edges into one node are added one after the other, in their order. Nested
graphs are unfolded. Of a cycle one edge carries what was sent a step before, 0 in the first step (``cycles``); a Delay
is a chain of such edges.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from compiler.errors import GraphError
from compiler.exchange.nir.context import Reading
from compiler.exchange.nir.cycles import parts_of
from compiler.exchange.nir.package import NirError, check_dt, nir_package
from compiler.exchange.nir.table import READ
from compiler.graph import Graph, GraphBuilder
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.hdf5 import check_hdf5
from snnkit.importers.nir import time_step
from snnkit.importers.nir_network import flat, memoryless, shape_between

T = TypeVar("T")
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
_LONGEST_DELAY = 1000


def read(path: str | Path, dt: float | None = None, timesteps: int | None = None) -> Graph:
    """Read a NIR file; nothing in it is executed.

    Args:
        path: of the file.
        dt: length of a time step in the file's unit of time; by default what its metadata says, else 1 where that
            can be.
        timesteps: T of the graph; by default what the metadata says, else 1.

    Returns:
        The graph, with typed signals and a real input. Its nodes have the names that they have in the file; those that
        no output depends on are left out.

    Raises:
        CorruptFileError: the file is missing, damaged, or does not hold together.
        NirError: it holds something that graphs cannot express (names the node), or ``nir`` is not installed.
        InvalidArgumentError: dt or timesteps is no positive number.
    """
    network = _load(Path(path))
    metadata = network.metadata
    if dt is None:
        try:
            dt = time_step(flat(network)[0], metadata)
        except InvalidArgumentError as error:
            raise NirError(f"{path}: {error}") from None
    check_dt(dt)
    if timesteps is None:
        timesteps = max(1, _hint(metadata, "timesteps", int, 1))
    elif timesteps < 1:
        raise InvalidArgumentError(f"timesteps={timesteps}: must be ≥ 1.")
    name = _hint(metadata, "name", str, Path(path).stem)
    builder = GraphBuilder(name, timesteps, _hint(metadata, "static_input", bool, False))
    return _Network(str(path), network, float(dt), builder).graph()


def _load(path: Path) -> Any:
    package = nir_package()
    if not path.exists():
        raise CorruptFileError(f"{path} does not exist.")
    check_hdf5(path)
    try:
        network = package.read(str(path), type_check=False)
    except _DEFECTS as error:
        raise CorruptFileError(
            f"{path} is damaged, no NIR graph, or holds node types that nir {package.version} does not know: "
            f"{_reason(error)}."
        ) from None
    if not isinstance(network, package.NIRGraph):
        raise CorruptFileError(f"{path} holds a single {type(network).__name__}, not a NIR graph.")
    return network


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _hint(metadata: dict[str, Any], key: str, kind: Callable[[Any], T], default: T) -> T:
    """Return an entry of the metadata where it is one of that kind."""
    try:
        value = kind(metadata[key])
    except (KeyError, TypeError, ValueError, OverflowError):
        return default
    return default if isinstance(value, float) and not (math.isfinite(value) and value > 0) else value


def _dtype(nodes: dict[str, Any]) -> np.dtype[Any]:
    """Return float64 where any weight is (any threshold, any constant, where there are no weights), else float32."""
    fields = [vars(node) for node in nodes.values()]
    for keys in (("weight", "bias", "scale"), ("v_threshold", "threshold"), None):
        found = [
            array
            for values in fields
            for key, array in values.items()
            if isinstance(array, np.ndarray) and (keys is None or key in keys)
        ]
        if found:
            return np.dtype(np.float64 if any(array.dtype == np.float64 for array in found) else np.float32)
    return np.dtype(np.float32)


class _Network:
    """A file on its way into a graph; ``before`` says for every NIR node which ones sum up to its input."""

    def __init__(self, path: str, network: Any, dt: float, builder: GraphBuilder):
        self.path, self.builder, self.top = path, builder, network.nodes
        try:
            self.nodes, edges = flat(network)
        except InvalidArgumentError as error:
            raise NirError(f"{path}: {str(error).removeprefix('from_nir: ')}") from None
        self.before: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in edges:
            for name in (source, target):
                if name not in self.before:
                    raise CorruptFileError(f"{path}: an edge names {name!r}, which is no node.")
            self.before[target].append(source)
        self.reading = Reading(path, dt, _dtype(self.nodes), frozenset(self.nodes), builder)
        self.delays = {name: self.steps(name, node) for name, node in self.nodes.items() if _kind(node) == "Delay"}
        self.late: dict[str, str] = {}
        self.first: dict[str, str] = {}
        self.sums: dict[tuple[str, str], str] = {}

    def graph(self) -> Graph:
        """Read every node after those that it depends on."""
        inputs, outputs = (
            [name for name, node in self.top.items() if _kind(node) == kind] for kind in ("Input", "Output")
        )
        if not inputs or not outputs:
            raise NirError(f"{self.path} has no {'Output' if inputs else 'Input'} node; a graph needs both.")
        made = self.reading.made
        for name in inputs:
            if self.before[name]:
                raise NirError(f"{name} (Input) has an edge into it; a graph's inputs come from outside.")
            made[name] = self.builder.input(name, _shape(self.nodes[name].input_type["input"], name))
        for name, steps in self.delays.items():
            if steps:
                made[name] = self.chain(name, steps)
        waiting = {name for name, steps in self.delays.items() if steps}
        try:
            parts = parts_of(self.before, inputs, waiting, memoryless(self.nodes))
        except InvalidArgumentError as error:
            raise NirError(f"{self.path} is recurrent: {str(error).removeprefix('from_nir: ')}") from None
        for part in parts:
            for name in part.names:
                if name not in inputs:
                    self.read(name, {source for source, target in part.late if target == name})
        for source, state in self.late.items():
            self.carry(source, state, made[source])
        try:
            return self.builder.finish(made[name] for name in outputs)
        except GraphError as error:
            raise CorruptFileError(f"{self.path}: {error}") from None

    def read(self, name: str, late: set[str]) -> None:
        """Read one NIR node, whose input is the sum of those before; the ``late`` ones were sent a step before."""
        node, before = self.nodes[name], self.before[name]
        kind = _kind(node)
        if kind not in READ and kind != "Delay":
            raise NirError(f"{name} ({kind}): graphs have no such operation.")
        if not before:
            raise NirError(f"{name} ({kind}) has no edge into it; only Input nodes may.")
        made = self.reading.made
        shape = self.fed(name, next((made[source] for source in before if source not in late), None))
        x = self.sum(name, [self.sent(s, shape) if s in late else made[s] for s in before])
        if kind == "Delay":
            if self.delays[name]:
                self.carry(name, self.first[name], x)
            else:
                made[name] = x
            return
        try:
            made[name] = READ[kind](self.reading, name, node, x)
        except _DEFECTS as error:
            if isinstance(error, (CorruptFileError, InvalidArgumentError)):
                raise
            shape = self.builder.signals[x].shape
            why = _reason(error).partition(": ")[2] if isinstance(error, GraphError) else ""
            raise CorruptFileError(
                f"{self.path}: {name} ({kind}) does not fit its input of shape {shape}: {why or _reason(error)}."
            ) from None

    def fed(self, name: str, signal: str | None) -> tuple[int, ...]:
        """Return the shape in which a node is fed: that of a signal, else what the file says.

        Raises:
            NirError: it says nothing.
        """
        if signal is not None:
            return self.builder.signals[signal].shape
        shapes = (shape_between(self.nodes[source], self.nodes[name]) for source in self.before[name])
        shape = next((shape for shape in shapes if shape is not None), None)
        if shape is None:
            raise NirError(f"{name}: the shape in which it is fed is not in the file, which its first step needs.")
        return shape

    def sum(self, target: str, signals: list[str]) -> str:
        """Return the signal that is the sum of ``signals``, made once however many nodes read it."""
        total = signals[0]
        for signal in signals[1:]:
            first, second = (self.builder.signals[s].shape for s in (total, signal))
            if first != second:
                raise CorruptFileError(f"{self.path}: {target} sums signals of shapes {first} and {second}.")
            if (total, signal) not in self.sums:
                name = self.reading.new(f"{target}.sum")
                self.sums[total, signal] = self.reading.add(name, "add", (total, signal))
            total = self.sums[total, signal]
        return total

    def sent(self, source: str, shape: tuple[int, ...]) -> str:
        """Return what a node sent a step before, in a cycle."""
        if source not in self.late:
            self.late[source] = self.reading.state(f"{source}.late", shape)
        return self.late[source]

    def steps(self, name: str, node: Any) -> int:
        """Return a Delay in steps.

        Raises:
            NirError: it is no whole number of steps, or not one number for the layer.
        """
        delay, dt = np.asarray(node.delay, np.float64), self.reading.dt
        first = float(delay.reshape(-1)[0]) if delay.size else math.nan
        if not math.isfinite(first) or not (delay == first).all():
            raise NirError(f"{name} (Delay): its delays differ within the layer; graphs have one for a layer.")
        steps = first / dt
        if not -1e-6 < steps < _LONGEST_DELAY + 0.5 or abs(steps - round(steps)) > 1e-6 * max(1.0, steps):
            raise NirError(
                f"{name} (Delay): {first:g} is {steps:.6g} time steps of dt={dt:g}; graphs delay by 0 to "
                f"{_LONGEST_DELAY} whole steps. Give the step the network was made for: read(path, dt=…)."
            )
        return round(steps)

    def chain(self, name: str, steps: int) -> str:
        """Return what a Delay gives out: the last of a chain of states; the first is written when its input is read."""
        shape = np.asarray(self.nodes[name].delay).shape
        states = [self.reading.state(f"{name}.{step}", shape) for step in range(1, steps + 1)]
        for before, after in itertools.pairwise(states):
            self.builder.carry(after, before)
        self.first[name] = states[0]
        return states[-1]

    def carry(self, name: str, state: str, written: str) -> None:
        """Let ``state`` of the next step be ``written``."""
        first, second = (self.builder.signals[signal].shape for signal in (state, written))
        if first != second:
            raise CorruptFileError(f"{self.path}: {name} is read in shape {first} and sends {second}.")
        self.builder.carry(state, written)


def _kind(node: Any) -> str:
    return type(node).__name__


def _shape(value: Any, name: str) -> tuple[int, ...]:
    if value is None:
        raise NirError(f"{name}: its shape is not in the file.")
    return tuple(int(size) for size in np.atleast_1d(value))
