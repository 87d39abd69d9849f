"""Drop nodes and states that no output depends on, now or in a later step."""

from __future__ import annotations

from compiler.graph import Graph
from compiler.graph.builder import prune


def drop_dead(graph: Graph) -> Graph:
    """Return the graph without what nothing needs; the same graph where there is no such node."""
    pruned = prune(graph)
    return graph if len(pruned) == len(graph) and len(pruned.states) == len(graph.states) else pruned
