"""Graph files: safetensors whose metadata holds the structure as JSON. Nothing in a file is executed or believed.

``FORMAT`` names the version that is written; ``snnkit-graph-1``, the version before, is translated when it is read.
Whatever is read is verified before it is returned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save
from torch import Tensor

from compiler.errors import GraphError
from compiler.graph.before import translated
from compiler.graph.graph import Graph, Node, State
from compiler.graph.operation import is_synapse
from compiler.graph.signals import Signal, SignalType
from compiler.graph.verify import verify
from snnkit.archives import BAD_ARCHIVE, first_line
from snnkit.checksum import checksum
from snnkit.errors import CorruptFileError, NonFiniteError
from snnkit.files import atomic_path

FORMAT, BEFORE = "snnkit-graph-2", "snnkit-graph-1"


def read_graph(path: str | Path) -> Graph:
    """Read a file that holds one graph.

    Raises:
        CorruptFileError: the file is missing, damaged, or holds no single graph that holds together.
    """
    graphs, _ = read_graphs(path)
    if set(graphs) != {"graph"}:
        raise CorruptFileError(f"{path} holds {', '.join(graphs)}, not a single graph; a program has its own loader.")
    return graphs["graph"]


def check_numbers(graph: Graph, path: str | Path) -> Graph:
    """Return a graph that was read, if it can be computed with.

    Raises:
        NonFiniteError: a parameter is NaN, or a weight infinite (names the node); masks of attention are infinite.
    """
    for node in graph:
        for name, parameter in node.parameters.items():
            if not parameter.is_floating_point():
                continue
            wrong = ~torch.isfinite(parameter) if is_synapse(node) else torch.isnan(parameter)
            if bool(wrong.any()):
                value, count = parameter[wrong].flatten()[0].item(), int(wrong.sum())
                raise NonFiniteError(
                    f"{path}: {name} of {node.name} holds {value} ({count} of {parameter.numel()} values are not "
                    "finite): the file is damaged, or its training diverged."
                )
    return graph


def write_graphs(path: str | Path, graphs: Mapping[str, Graph], extra: Mapping[str, str] | None = None) -> None:
    """Write named graphs, and a few strings, to one file, which appears whole or not at all."""
    tensors: dict[str, Tensor] = {}
    for key, graph in graphs.items():
        for node in graph:
            tensors |= {f"{key}:{node.name}:{name}": p for name, p in node.parameters.items()}
        for state in graph.states:
            if isinstance(state.initial, Tensor):
                tensors[f"{key}|{state.read}"] = state.initial
    # A copy of each: safetensors refuses tensors that share memory.
    stored = {key: p.detach().clone(memory_format=torch.contiguous_format) for key, p in tensors.items()}
    structure = {"format": FORMAT, "graphs": {k: _structure(g) for k, g in graphs.items()}, "extra": dict(extra or {})}
    stored = stored or {"empty": torch.zeros(1)}
    # One string of metadata: safetensors writes several in any order, and equal graphs are to make equal files.
    content = save(stored, {"graph": json.dumps(structure | {"sha256": checksum(stored, json.dumps(structure))})})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)  # not save_file: its errors hide what the system refused


def read_graphs(path: str | Path) -> tuple[dict[str, Graph], dict[str, str]]:
    """Read what ``write_graphs`` wrote.

    Raises:
        CorruptFileError: the file is missing, damaged, changed since it was written, holds no graph, or one that does
            not hold together.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            structure = json.loads((file.metadata() or {}).get("graph", "null"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CorruptFileError(f"{path} does not exist.") from None
    except (safetensors.SafetensorError, *BAD_ARCHIVE) as error:
        raise CorruptFileError(f"{path} is not a graph file: {first_line(error)}.") from None
    given = structure.get("format") if isinstance(structure, dict) else None
    if given not in (FORMAT, BEFORE):
        newer = f" It says {given!r}; this version reads {FORMAT} and {BEFORE}." if given else ""
        raise CorruptFileError(f"{path} is a safetensors file without a graph.{newer}")
    said = structure.pop("sha256", None)
    # Under another name the checksum is no longer one.
    changed = given == FORMAT and set(structure) != {"format", "graphs", "extra"}
    changed |= said is not None and said != checksum(tensors, json.dumps(structure))
    try:
        if given == BEFORE:
            structure["graphs"] = {key: translated(one) for key, one in structure["graphs"].items()}
        graphs = {key: verify(_graph(key, one, tensors)) for key, one in structure["graphs"].items()}
        extra = {str(key): str(value) for key, value in structure["extra"].items()}
    except GraphError as error:
        raise CorruptFileError(f"{path} describes a graph that does not hold together: {error}") from None
    except (*BAD_ARCHIVE, ArithmeticError, AssertionError, NotImplementedError) as error:
        raise CorruptFileError(f"{path} describes a graph that does not hold together: {_first_line(error)}.") from None
    if changed:  # last, since what is wrong with a file says more than that something is
        raise CorruptFileError(f"{path} has changed since it was written: its checksum is another. Make it again.")
    return graphs, extra


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__} {first_line(error)}"


def _structure(graph: Graph) -> dict[str, Any]:
    return {
        "name": graph.name,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "timesteps": graph.timesteps,
        "static_input": graph.static_input,
        "states": [[s.read, s.written, None if isinstance(s.initial, Tensor) else s.initial] for s in graph.states],
        "signals": [[s.name, s.shape, *_type(s.type)] for s in graph.signals.values()],
        "nodes": [
            [n.name, n.op, n.inputs, n.outputs, dict(n.attributes), sorted(n.parameters), n.scope, n.role]
            for n in graph
        ],
    }


def _type(kind: SignalType) -> tuple[str, int, int, str]:
    return kind.kind, kind.low, kind.high, str(kind.scale)


def _graph(key: str, structure: dict[str, Any], tensors: dict[str, Tensor]) -> Graph:
    nodes = []
    for name, op, inputs, outputs, attributes, parameters, scope, role in structure["nodes"]:
        attributes = {str(k): tuple(v) if isinstance(v, list) else v for k, v in attributes.items()}
        own = {parameter: tensors[f"{key}:{name}:{parameter}"] for parameter in parameters}
        name, op, scope, role = _texts(name, op, scope, role)
        nodes.append(Node(name, op, _texts(*inputs), _texts(*outputs), attributes, own, scope, role))
    signals = {}
    for name, shape, kind, low, high, scale in structure["signals"]:
        name, kind = _texts(name, kind)
        signals[name] = Signal(name, tuple(shape), SignalType(kind, int(low), int(high), Fraction(scale)))
    states = []
    for read, written, initial in structure["states"]:
        read, written = _texts(read, written)
        states.append(State(read, written, tensors[f"{key}|{read}"] if initial is None else initial))
    return Graph(
        inputs=_texts(*structure["inputs"]),
        outputs=_texts(*structure["outputs"]),
        nodes=tuple(nodes),
        signals=signals,
        states=tuple(states),
        timesteps=structure["timesteps"],
        static_input=bool(structure["static_input"]),
        name=str(structure["name"]),
    )


def _texts(*values: Any) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{value!r} stands where a name should")
    return values
