"""Compile: model → captured, folded, merged, quantised, lowered, mapped."""

from __future__ import annotations

from torch import Tensor, nn

from compiler.capture import graph_of
from compiler.check import check
from compiler.errors import CompileError
from compiler.graph import Graph
from compiler.passes import merge_linear, quantise, simplify
from compiler.program import Program, assemble
from hw import get_chip


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
