"""The graph at full size: interpreted in float64 it is the network, output by output and spike by spike.

Small sizes are compared by the tests, at more batches; this is the same once for every network in its published size.
"""

from __future__ import annotations

from typing import Any

from compiler.bench.cost import in_process
from compiler.bench.published import listed
from snnkit.bench.row import figure

CLOSE = 1e-10
"""Largest difference of an output, relative to the largest output or to 1."""


def run(repeats: int) -> list[dict[str, Any]]:
    """Measure; once is enough, since the same comes out every time."""
    return [_family(family, names) for family, names in listed().items()]


def _family(family: str, names: list[str]) -> dict[str, Any]:
    """How many networks of a family equal their graphs, and why others were not compared."""
    prefix = "timm:" if family.startswith("timm ") else ""
    made: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for name in names:
        lines, end = in_process("equal", prefix + name)
        made += lines
        why = lines[0]["why"] if lines else f"the process ended: {end}"
        if why:
            missing[name] = why
    compared = [one for one in made if not one["why"]]
    same = [one for one in compared if one["difference"] <= CLOSE and not one["spikes_differ"]]
    row = figure(f"{family}, default size", "equal", len(same), f"of {len(compared)} compared", len(compared), False)
    row |= {
        "largest_difference": max((one["difference"] for one in compared), default=0.0),
        "spikes_differ": sum(one["spikes_differ"] for one in compared),
        "spikes_compared": sum(one["spikes_compared"] for one in compared),
    }
    return row | ({"not_compared": missing} if missing else {})
