"""detection.json: AP of every class for boxes and masks, precision over recall, things as they are and were found."""

from __future__ import annotations

from typing import Any

from snnkit.report.found.blocks import Block, Column, Curves, Line, Mark, Pictures, View, after, colour, line, table
from snnkit.report.pictures import Picture
from snnkit.report.values import number, obj, percent, rows, text, whole

_KINDS = {"box": "Box", "mask": "Mask"}
_MANY = {"box": "Boxes", "mask": "Masks"}
_PARTS = ("truth", "found")
_AP = {"ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_small": "AP small", "ap_medium": "AP medium"}
_AP |= {"ap_large": "AP large"}
_COLUMNS = (
    Column("things", "Things", whole),
    *(Column(f"{kind}_{key}", f"{name} {title}") for kind, name in _KINDS.items() for key, title in _AP.items()),
)
_MOST_LINES = 12  # of classes: more cannot be told apart
_MOST_NAMED = 5  # below a picture


def blocks(records: dict[str, Any], picture: Picture | None) -> list[list[Block]]:
    """Return the pictures, precision over recall, and the table of classes."""
    classes = rows(records.get("classes"))
    shades = {text(row.get("name")): colour(row.get("colour")) for row in classes}
    known = table(
        "Every class",
        "Class",
        "Average precision of every class",
        _COLUMNS,
        classes,
        ("Mean", obj(records, "summary")),
        "AP: mean over IoU of 0.50, 0.55 … 0.95; small things have less than 32² pixels, large ones 96² and more.",
    )
    title = f"Test images{after(records)}: {', '.join(_PARTS)}"
    found = [[_marks(rows(one.get(side)), shades) for side in ("truth", "found")] for one in rows(records.get("shown"))]
    note = "Shown is what was found with a score of at least 50 %, in the colour of its class."
    pictures: list[Block] = []
    if picture:
        pictures = [Pictures(title, picture, _PARTS, len(found) or None, found, note=note)]
    tables: list[Block] = [known] if known else []
    return [row for row in (pictures, _curves(records, classes), tables) if row]


def tiles(records: dict[str, Any]) -> list[dict[str, str]]:
    """Return AP of boxes at one threshold, and AP of masks."""
    found, told = obj(records, "summary"), []
    strict = number(found.get("box_ap75"))
    if number(found.get("box_ap50")) is not None:
        note = f"{percent(strict)} at IoU 0.75" if strict is not None else ""
        told.append({"label": "Box AP at IoU 0.50", "value": percent(found["box_ap50"]), "note": note})
    if number(found.get("mask_ap")) is not None:
        ends = [(number(found.get(f"mask_ap{at}")), at) for at in (50, 75)]
        note = ", ".join(f"{percent(value)} at IoU 0.{at}" for value, at in ends if value is not None)
        told.append({"label": "Mask AP", "value": percent(found["mask_ap"]), "note": note})
    return told


def _marks(things: list[dict[str, Any]], shades: dict[str, str]) -> list[Mark]:
    """The names of things, with their scores where they have some."""
    told = []
    for one in things[:_MOST_NAMED]:
        name, score = text(one.get("name")) or "–", number(one.get("score"))
        told.append(Mark(f"{name} {percent(score, 0)}" if score is not None else name, shades.get(name, "")))
    if not things:
        return [Mark("nothing")]
    return told + ([Mark(f"{len(things) - _MOST_NAMED} more")] if len(things) > _MOST_NAMED else [])


def _curves(records: dict[str, Any], classes: list[dict[str, Any]]) -> list[Block]:
    found = obj(records, "curves")
    asked = found.get("recall")
    recall = [number(value) for value in asked] if isinstance(asked, list) else []
    if len(recall) < 2 or None in recall:
        return []
    size = len(recall)
    mean = [
        one
        for kind, name in _MANY.items()
        for at in (50, 75)
        for one in line(f"{name}, IoU 0.{at}", found.get(f"{kind}_precision{at}"), size)
    ]
    views = [View("mean", "Mean", mean)]
    for kind, name in _MANY.items() if len(classes) <= _MOST_LINES else ():
        views.append(View(kind, f"{name} by class", _by_class(classes, kind, size)))
    views = [view for view in views if view.lines]
    if not views:
        return []
    return [
        Curves(
            "Precision over recall",
            "precision",
            "Precision over recall of what was found; the numbers are in the table below",
            [round(100 * value, 4) for value in recall if value is not None],
            "recall, %",
            "Recall of {} %",
            views,
            each=10 if size > 40 else 1,
            note="Mean of the classes, or each class at IoU 0.50. The area below is the average precision.",
        )
    ]


def _by_class(classes: list[dict[str, Any]], kind: str, size: int) -> list[Line]:
    return [
        one
        for row in classes
        for one in line(text(row.get("name")) or "–", row.get(f"{kind}_precision50"), size, colour(row.get("colour")))
    ]
