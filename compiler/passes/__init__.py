"""Passes: Graph → Graph, each a plain function in its own file.

``PIPELINE`` is what every captured graph goes through before it is counted, checked or mapped. The meaning of a graph
is kept: ``interpret(pass(g), x) == interpret(g, x)`` (in exact arithmetic; folding reorders rounding), and so are the
names of layers with weights. ``merge_layers``, ``merge_linear`` and ``split_attention`` are for those who ask for them.
"""

from __future__ import annotations

from collections.abc import Callable

from compiler.analysis.types import infer_signals
from compiler.graph import Graph
from compiler.passes.compose_moves import compose_moves
from compiler.passes.drop_dead import drop_dead
from compiler.passes.fold_bn import fold_bn
from compiler.passes.fold_constants import fold_constants
from compiler.passes.merge_layers import merge_layers
from compiler.passes.merge_linear import merge_linear
from compiler.passes.push_constants import push_constants
from compiler.passes.split_attention import split_attention

PIPELINE: tuple[Callable[[Graph], Graph], ...] = (
    drop_dead,
    fold_constants,
    fold_bn,
    push_constants,
    compose_moves,
    infer_signals,
)


def simplify(graph: Graph) -> Graph:
    """Run the pipeline until it changes nothing; the result is typed."""
    while True:
        before = graph.nodes
        for one_pass in PIPELINE:
            graph = one_pass(graph)
        if graph.nodes is before:
            return graph


__all__ = [
    "PIPELINE",
    "compose_moves",
    "drop_dead",
    "fold_bn",
    "fold_constants",
    "infer_signals",
    "merge_layers",
    "merge_linear",
    "push_constants",
    "simplify",
    "split_attention",
]
