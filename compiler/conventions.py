"""What counts leave open, decided and said: every published number hangs on such choices, and most do not name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from compiler.graph import Graph
from snnkit.errors import InvalidArgumentError, unknown_name

_KNOWN = {
    "repconv": ("literal", "merged"),
    "batch_norm": ("folded", "separate"),
    "first_layer": ("once", "each step"),
    "padding": ("counted", "skipped"),
}


@dataclass(frozen=True)
class Conventions:
    """How a network is counted.

    Args:
        repconv: "literal" counts layers in a row as they were trained; "merged" as the one layer that they are.
        batch_norm: "folded" into the weights before it, or "separate" as an operation of its own.
        first_layer: a layer whose input is the same at every step runs "once", or at "each step".
        padding: multiply-accumulates that meet the zeros of padding are "counted", as by most tools, or "skipped".
            Events never lie on padding.

    Raises:
        UnknownNameError: no such choice.
    """

    repconv: str = "literal"
    batch_norm: str = "folded"
    first_layer: str = "once"
    padding: str = "counted"

    def __post_init__(self) -> None:
        for f in fields(self):
            if getattr(self, f.name) not in _KNOWN[f.name]:
                raise unknown_name(f"convention {f.name}", getattr(self, f.name), _KNOWN[f.name])

    def of_captured(self, graph: Graph, simplify: Callable[[Graph], Graph]) -> Graph:
        """Return a captured graph as these conventions have it, typed."""
        if self.batch_norm == "separate":
            from compiler.passes import PIPELINE, fold_bn

            for one in PIPELINE:
                graph = graph if one is fold_bn else one(graph)
        else:
            graph = simplify(graph)
        return self._merged(graph)

    def of_graph(self, graph: Graph) -> Graph:
        """Return a graph that someone made, as these conventions have it.

        Raises:
            InvalidArgumentError: its norms are to be counted apart, and have been folded.
        """
        if self.batch_norm == "separate" and not has_norms(graph):
            raise InvalidArgumentError(
                f'batch_norm="separate": {graph.name} has no batch norms (any more); count the module, or the graph as '
                "`compiler.capture` gives it."
            )
        return self._merged(graph)

    def _merged(self, graph: Graph) -> Graph:
        from compiler.passes import merge_layers, simplify

        return simplify(merge_layers(graph)) if self.repconv == "merged" else graph

    def said(self, graph: Graph, timesteps: int) -> dict[str, str]:
        """Return what holds for the counts of ``graph``, for whoever reads them."""
        used = self if has_norms(graph) else replace(self, batch_norm="folded")
        kinds = ", ".join(str(graph.type(name)) for name in graph.inputs)
        facts = {f.name: getattr(used, f.name) for f in fields(self)}
        if has_norms(graph):
            facts["batch_norm"] = "separate"
        return {**facts, "timesteps": str(timesteps), "input_type": kinds}


def has_norms(graph: Graph) -> bool:
    """Whether a graph holds batch norms."""
    return any(node.op == "batch_norm" for node in graph)
