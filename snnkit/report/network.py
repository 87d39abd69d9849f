"""The section about the network as a graph: its picture, its operations, and what travels on its edges."""

from __future__ import annotations

from typing import Any

from snnkit.report.drawing import svg, traffic_of
from snnkit.report.palette import Palette
from snnkit.report.read import Run
from snnkit.report.values import number, obj, plural, rows, si, text, whole


def network(run: Run, palette: Palette) -> dict[str, Any] | None:
    """The graph in blocks, beside what its nodes do and how many signals are of which type."""
    graph = run.graph
    if not rows(graph.get("blocks")):
        return None
    driven = graph.get("spike_driven")
    return {
        "svg": svg(graph),
        "facts": [(label, value) for label, value in _facts(graph) if value],
        "verdict": text(graph.get("verdict")),
        "driven": driven if isinstance(driven, bool) else None,
        "breaks": number(graph.get("breaks")) or 0,
        "kinds": [
            {"kind": text(kind), "operations": ", ".join(_counted(found))}
            for kind, found in obj(graph, "kinds").items()
            if isinstance(found, dict)
        ],
        "types": [
            {"type": text(kind), "count": count, "style": "spikes" if traffic_of([{"type": kind}]) != "real" else ""}
            for kind, count in _largest_first(obj(graph, "types"))
        ],
        "mermaid": text(graph.get("mermaid")),
    }


def _facts(graph: dict[str, Any]) -> list[tuple[str, str]]:
    states, steps = obj(graph, "states"), number(graph.get("timesteps"))
    carried, values = number(states.get("count")), number(states.get("values"))
    same = ", the same input at each" if graph.get("static_input") is True else ""
    return [
        ("Operations", whole(graph["nodes"]) if number(graph.get("nodes")) else ""),
        ("Time steps", f"{whole(steps)}{same}" if steps else ""),
        ("Carried from step to step", f"{plural(carried, 'state')}, {si(values)} values" if carried else ""),
        ("Stored numbers", si(graph["stored"]) if number(graph.get("stored")) else ""),
    ]


def _counted(found: dict[str, Any]) -> list[str]:
    return [f"{whole(count)} {name}" if count != 1 else name for name, count in found.items() if number(count)]


def _largest_first(found: dict[str, Any]) -> list[tuple[str, float | int]]:
    known = [(kind, count) for kind, count in found.items() if number(count) is not None]
    return sorted(known, key=lambda pair: -pair[1])
