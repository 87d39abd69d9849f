"""The section of what a network finds in images beyond one class: test images, tables, curves.

It reads what the tasks leave: a file of records (``kinds``) and predictions.png.
"""

from __future__ import annotations

from typing import Any

from snnkit.report.found.kinds import KINDS
from snnkit.report.palette import Palette
from snnkit.report.pictures import picture
from snnkit.report.read import Run


def found(run: Run, palette: Palette) -> dict[str, Any] | None:
    """The blocks of the records of the last test, in rows, and what their charts draw."""
    shown = picture(run.pictures.get("predictions.png"))
    for name, kind in KINDS.items():
        records = run.found.get(name)
        rows = kind.blocks(records, shown) if records else []
        if rows:
            charts = [block.data for row in rows for block in row]
            return {"rows": rows, "data": [chart for chart in charts if chart]}
    return None


def tiles(run: Run) -> list[dict[str, str]]:
    """The numbers of all records for the head of the page."""
    return [tile for name, kind in KINDS.items() if run.found.get(name) for tile in kind.tiles(run.found[name])]


def unreached(run: Run) -> set[str]:
    """Return the sections that no verb adds to a run with such records."""
    return {key for name, kind in KINDS.items() if run.found.get(name) for key in kind.unreached}
