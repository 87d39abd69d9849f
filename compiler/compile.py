"""Compile: model → captured, folded, merged, quantised, lowered, mapped."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from compiler.capture import graph_of
from compiler.check import check
from compiler.errors import CompileError
from compiler.graph import Graph, read_graphs, write_graphs
from compiler.lower import lower
from compiler.mapping import place
from compiler.passes import merge_linear, quantise, simplify
from compiler.program import Program
from hw import get_chip
from hw.chip import Chip
from snnkit.errors import CorruptFileError


def compile(
    model_or_graph: nn.Module | Graph, example: Tensor | None = None, chip: str = "loihi1", input_type: str = "real"
) -> Program:
    """Return ``model_or_graph`` as a program for ``chip``.

    Args:
        model_or_graph: a module, captured with ``example``; or a graph.
        example: one input of the right shape (needed for a module).
        chip: name of a chip.
        input_type: "real" for images (the first layers then run on the host), "binary" for spikes.

    Raises:
        CompileError: something does not fit; the message names layer, need and limit, and how many more there are.
        CaptureError: the module holds an operator that graphs do not have.
    """
    silicon = get_chip(chip)
    graph = simplify(graph_of(model_or_graph, example, input_type))
    violations = check(graph, chip)
    if violations:
        more = f" (and {len(violations) - 1} more; `snnkit check` lists them)" if len(violations) > 1 else ""
        raise CompileError(f"{violations[0]}{more}")
    return assemble(graph, quantise(merge_linear(graph), silicon), silicon)


def assemble(source: Graph, quantised: Graph, chip: Chip) -> Program:
    """Lower and map a quantised graph."""
    return Program(source, quantised, place(lower(quantised, chip), chip))


def save_program(program: Program, path: str | Path) -> None:
    """Write a program's graphs and chip to one safetensors file."""
    write_graphs(path, {"source": program.source_graph, "quantised": program.graph}, {"chip": program.chip.name})


def load_program(path: str | Path) -> Program:
    """Read a program and map it again."""
    graphs, extra = read_graphs(path)
    if set(graphs) != {"source", "quantised"} or "chip" not in extra:
        raise CorruptFileError(f"{path} holds no compiled program; `snnkit compile` writes one.")
    return assemble(graphs["source"], graphs["quantised"], get_chip(extra["chip"]))
