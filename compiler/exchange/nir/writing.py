"""Write a graph as a NIR file (HDF5), which other simulators and chips read; ``table`` says what becomes what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from compiler.exchange.nir.context import Writing
from compiler.exchange.nir.links import edges_of, state_sources
from compiler.exchange.nir.package import NirError, check_dt, nir_package
from compiler.exchange.nir.table import WRITE, reason
from compiler.graph import Graph
from compiler.graph.builder import prune
from snnkit import __version__
from snnkit.errors import InvalidArgumentError
from snnkit.files import atomic_path


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
        names: for the graph's signals the nodes of the file that give them out; sums have none.
    """

    path: Path
    nodes: int
    edges: int
    expanded: tuple[str, ...]
    notes: tuple[str, ...]
    names: Mapping[str, str]


def write(
    program_or_graph: Graph | HasSourceGraph,
    path: str | Path,
    dt: float = 1.0,
    grouped: bool = False,
    portable: bool = False,
) -> NirReport:
    """Write a graph as a NIR file; nothing is left behind when that fails.

    Args:
        program_or_graph: a graph without batch norm (``compiler.passes.simplify`` folds it); of a program its
            ``source_graph``.
        path: of the file, ``.nir`` by custom.
        dt: length of a time step in the unit the reader wants its time constants in (seconds, mostly).
        grouped: keep grouped convolutions as they are; such a file needs ``nir.read(path, type_check=False)``, because
            nir 1.0.8 takes the channels of one group for all of them. By default they become dense convolutions with
            zeros between the groups: the same sums, in a file of up to ``groups`` times the weights.
        portable: write neurons as readers want them that know neither r nor v_reset (Norse ignores both, snnTorch takes
            leaks to 0 only): a gain goes into the weights before, membranes are counted from their reset. Spikes are
            the same up to rounding.

    Returns:
        Counts, and what had to be rewritten.

    Raises:
        NirError: the graph holds something NIR cannot express (names the node), or ``nir`` is not installed.
        InvalidArgumentError: not a graph, or dt is no positive number.
        DiskError: the file could not be written.
    """
    given = program_or_graph
    source = given if isinstance(given, Graph) else getattr(given, "source_graph", None)
    if not isinstance(source, Graph):
        raise InvalidArgumentError(
            f"nir writes a Graph or a compiled program, got {type(given).__name__}; compiler.capture(model, example) "
            "makes a Graph of a module."
        )
    check_dt(dt)
    package = nir_package()
    graph = prune(source)  # nir makes an output of any node that no output depends on
    w = Writing(graph, package, float(dt), _dtype(graph), grouped, portable)
    _fill(w)
    edges = edges_of(w)
    metadata = {
        "made_by": f"snnkit {__version__}",
        "name": graph.name,
        "dt": float(dt),
        "timesteps": graph.timesteps,
        "static_input": graph.static_input,
    }
    network = package.NIRGraph(w.nodes, edges, metadata, type_check=w.checkable)
    with atomic_path(path) as temporary:
        package.write(str(temporary), network)
    notes = (f"one time step is one Euler step of dt={dt:g}; membranes start at v_reset", *w.notes)
    names = {signal: sources[0] for signal, sources in w.sources.items() if len(sources) == 1 and sources[0] in w.nodes}
    return NirReport(Path(path), len(w.nodes), len(edges), tuple(w.expanded), notes, names)


def _dtype(graph: Graph) -> np.dtype[Any]:
    """Return the dtype of the graph's parameters: float32 or float64; torch's default where there are none."""
    found = {p.dtype for node in graph for p in node.parameters.values() if p.is_floating_point()}
    found = found or {torch.get_default_dtype()}
    if found <= {torch.float32, torch.float64}:
        return np.dtype(np.float64 if torch.float64 in found else np.float32)
    other = ", ".join(sorted(str(dtype) for dtype in found - {torch.float32, torch.float64}))
    raise NirError(f"parameters of type {other}: NIR files are written in float32 or float64; take graph.double().")


def _fill(w: Writing) -> None:
    """Write inputs, nodes and outputs, in the order of the graph."""
    graph = w.graph
    read = {signal for node in graph for signal in node.inputs} | {s.written for s in graph.states} | set(graph.outputs)
    for i, signal in enumerate(graph.inputs):
        if signal not in read:
            raise NirError(f"the input {signal!r} is read by nothing, which NIR cannot say; remove it.")
        name = w.name(_numbered("input", i, len(graph.inputs)))
        w.nodes[name] = w.package.Input(np.array(graph.shape(signal)))
        w.sources[signal] = (name,)
    state_sources(w)
    for node in graph:
        if node.op not in WRITE:
            raise NirError(f"{node.name} ({node.op}): {reason(node.op)}.")
        WRITE[node.op](w, node)
    for i, signal in enumerate(graph.outputs):
        name = w.name(_numbered("output", i, len(graph.outputs)))
        if len(w.read(signal, name)) > 1:
            w.sources[signal] = w.sum_node(signal)
        w.nodes[name] = w.package.Output(np.array(graph.shape(signal)))
        w.connect(w.sources[signal], name, graph.shape(signal))


def _numbered(name: str, index: int, count: int) -> str:
    """HDF5 returns names in alphabetical order: zeros in front keep it the order of the graph."""
    return name if count == 1 else f"{name}_{index:0{len(str(count - 1))}d}"
