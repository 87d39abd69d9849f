"""The section of what a network finds in images beyond one class: test images, every class, what is taken for what.

It reads what the tasks leave: segmentation.json and predictions.png.
"""

from __future__ import annotations

from typing import Any

from snnkit.report.palette import Palette
from snnkit.report.pictures import groups, picture
from snnkit.report.read import Run
from snnkit.report.values import names, number, percent, ratio, rows, text, total, whole

_MOST_CLASSES = 200
_COLUMNS = {"segmentation": ("as it is", "its classes", "predicted")}
_NUMBERS = {
    "segmentation": (
        ("iou", "IoU"),
        ("recall", "Recall"),
        ("precision", "Precision"),
        ("pixels", "Pixels of the truth"),
    )
}
_COUNTED = ("pixels",)


def found(run: Run, palette: Palette) -> dict[str, Any] | None:
    """The table of classes, the confusion and the pictures of the last test."""
    kind = next((kind for kind in _NUMBERS if run.found.get(kind)), None)
    if kind is None:
        return None
    records, numbers = run.found[kind], _NUMBERS[kind]
    table = [
        {"name": text(row.get("name")), "cells": [_cell(key, number(row.get(key))) for key, _ in numbers]}
        for row in rows(records.get("classes"))
    ]
    confusion = _confusion(records, [row["name"] for row in table])
    shown = picture(run.pictures.get("predictions.png"))
    columns = _COLUMNS[kind]
    if not (table or confusion or shown):
        return None
    return {
        "epoch": text(records.get("epoch")),
        "columns": [title for _, title in numbers],
        "table": table,
        "confusion": confusion,
        "picture": shown,
        "parts": columns,
        "groups": groups(shown, len(columns)) if shown else [],
        "data": {"confusion": confusion},
    }


def _cell(key: str, value: float | int | None) -> dict[str, Any]:
    return {"value": value, "shown": whole(value) if key in _COUNTED and value is not None else percent(value, 1)}


def _confusion(records: dict[str, Any], classes: list[str]) -> dict[str, Any] | None:
    """Counts by true class (a row) and predicted class; None where they are no square of numbers."""
    counts = records.get("confusion")
    size = len(classes)
    if not isinstance(counts, list) or len(counts) != size or not 0 < size <= _MOST_CLASSES:
        return None
    lines = [[number(value) for value in line] if isinstance(line, list) else [] for line in counts]
    if any(len(line) != size for line in lines):
        return None
    right = total([line[place] for place, line in enumerate(lines)])
    everything = total([value for line in lines for value in line])
    return {"classes": names(classes), "counts": lines, "right": ratio(right, everything)}
