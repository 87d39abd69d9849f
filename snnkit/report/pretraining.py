"""The section about training without labels: loss and its parts, what keeps features apart, pictures of test images."""

from __future__ import annotations

from typing import Any

from snnkit.report.palette import Palette
from snnkit.report.pictures import Picture, groups, picture
from snnkit.report.read import Run
from snnkit.report.values import names, number, obj, percent, rows, si, text

COLLAPSED = 1e-3  # spread of features below which a run is watched for collapse
_PICTURES = ("reconstructions.png", "views.png")
_SHARES = {
    "matched": "Own view found nearest",
    "assignment_entropy": "Entropy of the mean assignment",
    "assignment_information": "Information of assignments",
}
_SPREAD = "feature_spread"
_NO_PARTS = ("epoch", "loss", "score", "firing_rate", _SPREAD, "pictures", "columns", "mask_ratio", *_SHARES)
_TASKS = {
    "masked": "Parts of every image were hidden, and the network paints them",
    "mr_mae": "Parts of every image were hidden; the network paints them, and mimics a teacher on what it sees",
    "moco": "Two views of an image are brought together, and kept apart from a queue of others",
    "swav": "Views of an image predict each other's assignment to prototypes",
    "dino": "A student that sees small views predicts what its own average makes of large ones",
}


def pretraining(run: Run, palette: Palette) -> dict[str, Any] | None:
    """Curves of every epoch's test, the collapse told plainly, the pictures with the names of their columns."""
    lines = rows(run.pretraining.get("epochs"))
    epochs = [text(line.get("epoch", index)) or "–" for index, line in enumerate(lines, start=1)]
    loss = _curves(lines, {"loss": "Loss", **_parts(lines)})
    loss["curves"] += _training(run, lines)
    spread = _curves(lines, {_SPREAD: "Spread of features"})["curves"]
    shares = _curves(lines, _SHARES)["curves"]
    pictures = _pictures(run, lines)
    columns = [*loss["curves"], *spread, *shares]
    if not columns and pictures is None:
        return None
    last = spread[0]["values"][-1] if spread else None
    return {
        "sentence": _TASKS.get(text(run.pretraining.get("task")), ""),
        "collapsed": run.pretraining.get("collapsed") is True,
        "limit": COLLAPSED,
        "spread": f"{last:.2g}" if last is not None else "",
        "hidden": _hidden(run, lines),
        "alone": loss["alone"],
        "curves": {"loss": bool(loss["curves"]), "spread": bool(spread), "shares": bool(shares)},
        "pictures": pictures,
        "columns": [curve["name"] for curve in columns],
        "table": [
            {"epoch": epoch, "values": [si(curve["values"][index]) for curve in columns]}
            for index, epoch in enumerate(epochs)
        ],
        "data": {
            "epochs": epochs,
            "loss": loss["curves"],
            "spread": spread,
            "shares": shares,
            "limit": COLLAPSED,
        },
    }


def _curves(lines: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, Any]:
    """The curves that have a value; a part that is the whole loss in every epoch is named instead of drawn."""
    found = {key: [number(line.get(key)) for line in lines] for key in labels}
    known = {key: values for key, values in found.items() if any(value is not None for value in values)}
    alone = [key for key in known if key != "loss" and known[key] == known.get("loss")]
    curves = [{"name": labels[key], "values": values} for key, values in known.items() if key not in alone]
    return {"curves": curves, "alone": [labels[key].lower() for key in alone]}


def _parts(lines: list[dict[str, Any]]) -> dict[str, str]:
    """What a task noted beside the known figures, in the order in which it did."""
    keys = dict.fromkeys(key for line in lines for key in line if number(line[key]) is not None)
    return {key: _capital(key.replace("_", " ")) for key in keys if key not in _NO_PARTS}


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _training(run: Run, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The loss in training, of the same epochs."""
    known = {line.get("epoch"): number(obj(line, "train").get("loss")) for line in run.metrics if _hashable(line)}
    values = [known.get(line.get("epoch")) if _hashable(line) else None for line in lines]
    return [{"name": "Loss in training", "values": values}] if any(value is not None for value in values) else []


def _hashable(line: dict[str, Any]) -> bool:
    return number(line.get("epoch")) is not None


def _hidden(run: Run, lines: list[dict[str, Any]]) -> str:
    """The share of an image that was hidden: as the run recorded it, else as it was configured."""
    recorded = [number(place.get("mask_ratio")) for place in (run.pretraining, *reversed(lines))]
    configured = number(obj(run.config, "model", "sizes").get("mask_ratio"))
    share = next((value for value in (*recorded, configured) if value is not None), None)
    return percent(share, 0) if share is not None else ""


def _pictures(run: Run, lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The picture that the last epoch names: its groups, and the names of the columns in each."""
    none: dict[str, Any] = {}
    line = next((line for line in reversed(lines) if line.get("pictures") in _PICTURES), none)
    name = text(line.get("pictures"))
    shown: Picture | None = picture(run.pictures.get(name))
    if shown is None:
        return None
    columns = names(line.get("columns")) or (["one view", "another view"] if name == "views.png" else [])
    return {
        "picture": shown,
        "columns": columns,
        "groups": groups(shown, len(columns)) if columns else [],
        "title": "Test images" if name == "reconstructions.png" else "Views of test images",
        "named": bool(names(line.get("columns"))),
        "epoch": text(line.get("epoch")),
    }
