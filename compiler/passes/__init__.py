"""Passes: Graph → Graph, each a plain function in its own file.

``PIPELINE`` is what every captured graph goes through before it is counted, checked or mapped. The meaning of a graph
is kept: ``interpret(pass(g), x) == interpret(g, x)`` (in exact arithmetic; folding reorders rounding).
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.analysis.types import infer_signals
from compiler.graph import Graph
from compiler.passes.fold_bn import fold_bn
from compiler.passes.merge_linear import merge_linear

PIPELINE: tuple[Callable[[Graph], Graph], ...] = (fold_bn, infer_signals)


def simplify(graph: Graph) -> Graph:
    """Run the pipeline."""
    for one_pass in PIPELINE:
        graph = one_pass(graph)
    return graph


__all__ = ["PIPELINE", "fold_bn", "infer_signals", "merge_linear", "simplify"]
