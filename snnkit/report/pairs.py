"""The section about image–text training: what lies near what, how well one finds the other, how the training went.

Every part is left out where its file, or its piece of a file, is missing or is something else than expected.
"""

from __future__ import annotations

import re
from typing import Any

from snnkit.report.palette import Palette
from snnkit.report.pictures import groups, picture
from snnkit.report.read import Run
from snnkit.report.values import names, number, obj, percent, plural, ratio, rows, si, text, total

_RECALL = re.compile(r"(image|text)_recall_(\d+)")
_FINDS = {"image": "Images find texts", "text": "Texts find images"}
_ZERO_SHOT = "Zero-shot accuracy"
_MOST_TEXTS, _MOST_CLASSES, _MOST_POINTS = 64, 200, 200
_FIRST_EXAMPLES = 6  # the others are folded away

Matrix = list[list[float | int | None]]


def pairs(run: Run, palette: Palette) -> dict[str, Any] | None:
    """Similarities, retrieval and zero-shot classes of the last test; recall over epochs; scale and gradient."""
    similarity, confusion = _similarity(run), _confusion(run)
    examples, recall = _examples(run), _recall(run)
    steps, memory = _steps(run), _memory(run)
    if not any((similarity, confusion, examples, recall, steps, memory)):
        return None
    shown = picture(run.pictures.get("pairs.png"))
    boxes = groups(shown, 1, len(rows(run.pairs.get("examples")))) if shown else []
    for example in examples:
        example["box"] = boxes[example["place"]] if boxes else ""
    return {
        "sentence": _sentence(run),
        "similarity": similarity,
        "confusion": confusion,
        "examples": [part for part in (examples[:_FIRST_EXAMPLES], examples[_FIRST_EXAMPLES:]) if part],
        "picture": shown,
        "cropped": bool(boxes and examples),
        "recall": recall,
        "steps": steps,
        "memory": memory,
        "data": {
            "similarity": similarity and {key: similarity[key] for key in ("texts", "values")},
            "confusion": confusion and {key: confusion[key] for key in ("classes", "counts")},
            "recall": recall and {key: recall[key] for key in ("epochs", "views")},
            "steps": steps and {key: steps[key] for key in ("steps", "scale", "gradient_norm", "highest")},
            "memory": memory,
        },
    }


def _matrix(value: Any, size: int) -> Matrix | None:
    """A square matrix of numbers, None where one is missing; None when there is no number or no square."""
    if not isinstance(value, list) or len(value) != size or not all(isinstance(line, list) for line in value):
        return None
    found = [[number(line[place]) if place < len(line) else None for place in range(size)] for line in value]
    return found if any(cell is not None for line in found for cell in line) else None


def _similarity(run: Run) -> dict[str, Any] | None:
    """How near each image is to each text; the diagonal is its own."""
    texts = names(obj(run.pairs, "similarity").get("texts"))
    values = _matrix(obj(run.pairs, "similarity").get("values"), len(texts))
    if values is None:
        return None
    texts, values = texts[:_MOST_TEXTS], [line[:_MOST_TEXTS] for line in values[:_MOST_TEXTS]]
    known = [cell for line in values for cell in line if cell is not None]
    if not known:
        return None
    own = [line[place] for place, line in enumerate(values)]
    others = [value for place, line in enumerate(values) for at, value in enumerate(line) if at != place]
    return {
        "texts": texts,
        "values": values,
        "own": _mean(own),
        "others": _mean(others),
        "least": min(known),
        "most": max(known),
        "table": [
            {"text": words, "cells": [{"value": cell, "shown": _similar(cell)} for cell in line]}
            for words, line in zip(texts, values, strict=True)
        ],
    }


def _mean(values: list[float | int | None]) -> float | None:
    return ratio(total(values), len([value for value in values if value is not None]))


def _similar(value: Any) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _examples(run: Run) -> list[dict[str, Any]]:
    """The first test images with the texts that lie nearest to them."""
    found = run.pairs.get("examples")
    shown = []
    for place, example in enumerate(rows(found)):
        nearest = [
            {
                "text": text(near.get("text")),
                "similarity": _similar(number(near.get("similarity"))),
                "own": near.get("own") is True,
            }
            for near in rows(example.get("nearest"))
        ]
        if not nearest:
            continue
        missed = not any(near["own"] for near in nearest)
        shown.append(
            {"place": place, "text": text(example.get("text")), "nearest": nearest, "missed": missed, "box": ""}
        )
    return shown


def _confusion(run: Run) -> dict[str, Any] | None:
    """How many images of each class (a row) were put into each; accuracy of every class."""
    classes = names(obj(run.pairs, "confusion").get("classes"))
    counts = _matrix(obj(run.pairs, "confusion").get("counts"), len(classes))
    if counts is None or len(classes) > _MOST_CLASSES:
        return None
    table, cells = [], []
    everyone: list[float | int | None] = []
    for place, (name, line) in enumerate(zip(classes, counts, strict=True)):
        images = total(line) or 0
        everyone.append(images)
        wrong = [(count, classes[at]) for at, count in enumerate(line) if count and at != place]
        most = max(wrong, key=lambda pair: pair[0], default=None)
        table.append(
            {
                "name": name,
                "images": images,
                "right": ratio(line[place], images),
                "mistaken": f"{most[1]} ({plural(most[0], 'image')})" if most else "–",
            }
        )
        cells += [
            {"name": name, "taken": classes[at], "count": count, "share": ratio(count, images)}
            for at, count in enumerate(line)
            if count
        ]
    tested = total(everyone)
    right = total([line[place] for place, line in enumerate(counts)])
    return {
        "classes": classes,
        "counts": counts,
        "table": table,
        "cells": cells,
        "images": tested,
        "accuracy": ratio(right, tested),
        "chance": 1 / len(classes),
    }


def _recall(run: Run) -> dict[str, Any] | None:
    """Recall both ways and zero-shot accuracy of the test, an epoch a place; views of one chart."""
    lines = [line for line in run.metrics if any(_RECALL.fullmatch(key) for key in obj(line, "test"))]
    if not lines:
        return None
    keys = {key for line in lines for key in obj(line, "test") if _RECALL.fullmatch(key)}
    parts = sorted((match[1], int(match[2])) for match in map(_RECALL.fullmatch, keys) if match)
    views: list[dict[str, Any]] = [
        {
            "key": side,
            "label": label,
            "curves": [
                {"name": f"among {place} nearest" if place > 1 else "nearest", "values": _over(lines, side, place)}
                for found, place in parts
                if found == side
            ],
        }
        for side, label in _FINDS.items()
    ]
    zero_shot = [number(obj(line, "test").get("accuracy")) for line in lines]
    views.append({"key": "accuracy", "label": _ZERO_SHOT, "curves": [{"name": _ZERO_SHOT, "values": zero_shot}]})
    for view in views:
        view["curves"] = [curve for curve in view["curves"] if any(value is not None for value in curve["values"])]
    views = [view for view in views if view["curves"]]
    if not views:
        return None
    epochs = [text(line.get("epoch", index)) or "–" for index, line in enumerate(lines, start=1)]
    columns = [(view, curve) for view in views for curve in view["curves"]]
    return {
        "epochs": epochs,
        "views": views,
        "columns": [
            view["label"] if view["key"] == "accuracy" else f"{view['label']}, {curve['name']}"
            for view, curve in columns
        ],
        "table": [
            {"epoch": epoch, "values": [percent(curve["values"][index], 1) for _, curve in columns]}
            for index, epoch in enumerate(epochs)
        ],
    }


def _over(lines: list[dict[str, Any]], side: str, place: int) -> list[float | int | None]:
    return [number(obj(line, "test").get(f"{side}_recall_{place}")) for line in lines]


def _steps(run: Run) -> dict[str, Any] | None:
    """Inverse temperature and norm of the gradient over the steps; of many steps, means of as many as fit."""
    lines = [line for line in run.steps if number(line.get("step")) is not None]
    known = [line for line in lines if any(number(line.get(key)) is not None for key in ("scale", "gradient_norm"))]
    if not known:
        return None
    each = -(-len(known) // _MOST_POINTS)
    parts = [known[start : start + each] for start in range(0, len(known), each)]
    norms = [[number(line.get("gradient_norm")) for line in part] for part in parts]
    found = {
        "steps": [part[-1]["step"] for part in parts],
        "scale": [_mean([number(line.get("scale")) for line in part]) for part in parts],
        "gradient_norm": [_mean(values) for values in norms],
        "highest": [max((value for value in values if value is not None), default=None) for values in norms],
    }
    keys = ("scale", "gradient_norm", "highest")
    columns = [found[key] for key in keys]
    shown = [
        {"step": step, "values": [si(column[index]) for column in columns]} for index, step in enumerate(found["steps"])
    ]
    return {**found, "each": each, "table": shown}


def _memory(run: Run) -> dict[str, Any] | None:
    """Peak of memory over the size of the batch, measured and predicted."""
    batches = run.memory.get("batch")
    if not isinstance(batches, list):
        return None
    keys = ("peak_bytes", "predicted_bytes")
    columns = [run.memory.get(key) for key in keys]
    lines = [
        [
            number(batch),
            *(number(column[at]) if isinstance(column, list) and at < len(column) else None for column in columns),
        ]
        for at, batch in enumerate(batches)
    ]
    kept = sorted(line for line in lines if line[0] is not None and line[0] > 0 and line[1:] != [None, None])
    if not kept:
        return None
    return {"batch": [line[0] for line in kept]} | {
        key: [line[at] for line in kept] for at, key in enumerate(keys, start=1)
    }


def _sentence(run: Run) -> str:
    """What the last test found, in words."""
    last = next((obj(line, "test") for line in reversed(run.metrics) if _recalls(obj(line, "test"))), {})
    said = []
    finds, found = number(last.get("image_recall_1")), number(last.get("text_recall_1"))
    if finds is not None:
        said.append(f"{percent(finds)} of the test images lie nearest to their own text")
    if found is not None:
        said.append(f"{percent(found)} of the texts nearest to an image of theirs")
    words = f"{', '.join(said)}. " if said else ""
    epoch = number(run.pairs.get("epoch"))
    after = f" after epoch {epoch:.0f}" if epoch is not None else ""
    return f"{words}The matrices and examples are those of the test{after}." if run.pairs else words


def _recalls(test: dict[str, Any]) -> bool:
    return any(number(test.get(f"{side}_recall_1")) is not None for side in _FINDS)
