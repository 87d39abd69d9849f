"""Passes: Graph → Graph, each a plain function in its own file.

``PIPELINE`` is what every captured graph goes through before it is counted, checked or mapped. The meaning of a graph
is kept: ``interpret(pass(g), x) == interpret(g, x)`` (in exact arithmetic; folding reorders rounding), and so are the
names of layers with weights. ``merge_layers``, ``merge_linear`` and ``split_attention`` are for those who ask for them.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

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
from snnkit.renamed import old_module

old_module(
    "compiler.passes.infer_signals",
    {
        "infer_signals": "compiler.analysis.types.infer_signals",
        "spike_driven": "compiler.analysis.spike_driven.spike_driven",
        "Verdict": "compiler.analysis.spike_driven.Verdict",
    },
)
# The function, not the module that had its name.
globals()["infer_signals"] = importlib.import_module("compiler.analysis.types").infer_signals

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


def __getattr__(name: str) -> Any:
    if name != "relu_twin":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = "compiler.converting.relu_twin"
    warnings.warn(
        f"compiler.passes.{name} is now {new}; the old name goes with the next release.",
        DeprecationWarning,
        stacklevel=2,
    )
    return importlib.import_module("compiler.converting").relu_twin


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
