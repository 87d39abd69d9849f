"""pose.json: AP by threshold of OKS, and how near every key point was found."""

from __future__ import annotations

from typing import Any

from snnkit.report.found.blocks import Block, Column, Curves, Pictures, View, after, decimal, line, table
from snnkit.report.pictures import Picture
from snnkit.report.values import number, obj, rows, si, whole

_PARTS = ("as it is", "marked", "found")
_COLUMNS = (Column("pck", "Found near enough"), Column("marked", "Marked", whole), Column("sigma", "Sigma", decimal))


def blocks(records: dict[str, Any], picture: Picture | None) -> list[list[Block]]:
    """Return the pictures, AP by threshold, and the table of key points."""
    near = number(records.get("pck_within"))
    within = f"{si(near)} of the longer side of a thing's box" if near is not None else "a share of a thing's box"
    known = table(
        "Every key point",
        "Key point",
        "How near every key point was found",
        _COLUMNS,
        rows(records.get("points")),
        note=f"Near enough is within {within} (PCK); sigma is how exactly the key point is marked.",
    )
    shown: list[Block] = [block for block in (_thresholds(records), known) if block]
    title = f"Test images{after(records)}: {', '.join(_PARTS)}"
    pictures: list[Block] = []
    if picture:
        pictures = [Pictures(title, picture, _PARTS, len(rows(records.get("shown"))) or None)]
    return [row for row in (pictures, shown) if row]


def _thresholds(records: dict[str, Any]) -> Curves | None:
    found = obj(records, "ap")
    lines = line("AP", list(found.values()), len(found))
    if not lines:
        return None
    return Curves(
        "AP by threshold",
        "thresholds",
        "Average precision over the similarity from which a thing counts as found; the numbers are in the table below",
        list(found),
        "threshold of OKS",
        "OKS of {} at least",
        [View("ap", "AP", lines)],
        numbers=False,
        note="OKS is how similar found key points are to marked ones, from 0 to 1.",
    )
