"""segmentation.json: IoU of every class, and what is taken for what."""

from __future__ import annotations

from typing import Any

from snnkit.report.found.blocks import Block, Column, Confusion, Pictures, Value, after, table
from snnkit.report.pictures import Picture
from snnkit.report.values import number, percent, ratio, rows, text, total, whole

_MOST_CLASSES = 200
_PARTS = ("as it is", "its classes", "predicted")
_COLUMNS = (
    Column("iou", "IoU"),
    Column("recall", "Recall"),
    Column("precision", "Precision"),
    Column("pixels", "Pixels of the truth", whole),
)


def blocks(records: dict[str, Any], picture: Picture | None) -> list[list[Block]]:
    """Return the pictures, the confusion and the table of classes."""
    classes = rows(records.get("classes"))
    known = table("Every class", "Class", "How well every class was found", _COLUMNS, classes)
    confused = _confusion(records, [text(row.get("name")) for row in classes])
    shown: list[Block] = [block for block in (confused, known) if block]
    title = f"Test images{after(records)}: {', '.join(_PARTS)}"
    pictures: list[Block] = [Pictures(title, picture, _PARTS)] if picture else []
    return [row for row in (pictures, shown) if row]


def _confusion(records: dict[str, Any], classes: list[str]) -> Confusion | None:
    """Counts by true class (a row) and predicted class; None where they are no square of numbers."""
    counts = records.get("confusion")
    size = len(classes)
    if not isinstance(counts, list) or len(counts) != size or not 0 < size <= _MOST_CLASSES:
        return None
    lines: list[list[Value]] = [[number(v) for v in line] if isinstance(line, list) else [] for line in counts]
    if any(len(line) != size for line in lines):
        return None
    everything = total([value for line in lines for value in line])
    right = ratio(total([line[place] for place, line in enumerate(lines)]), everything)
    share = f" {percent(right)} of all is right." if right is not None else ""
    return Confusion(
        "What is taken for what",
        "confusion",
        "How much of each class, a row, was taken for each class, a column; every class is in the table",
        classes,
        lines,
        "Pixels",
        note="A row is a class as it is, a column the class of that number that it was taken for; colour is the share "
        f"of the row.{share}",
    )
