"""The section that compares several runs: accuracy against energy, one energy model at a time."""

from __future__ import annotations

from typing import Any

from snnkit.report import priced
from snnkit.report.headline import accuracy, model_name
from snnkit.report.palette import Palette
from snnkit.report.read import Run
from snnkit.report.values import joules, number, obj, rows, text


def comparison(run: Run, palette: Palette) -> dict[str, Any] | None:
    """All runs under every energy model that at least two of them have, with what keeps one out of a comparison."""
    if not run.others:
        return None
    runs = [run, *run.others]
    prices = [{text(model.get("model")): model for model in priced.models(one)} for one in runs]
    known = dict.fromkeys(name for found in prices for name in found)
    shared = [name for name in known if sum(name in found for found in prices) > 1]
    models = [_model(name, runs, [found.get(name) for found in prices]) for name in shared]
    data = {text(obj(one.config, "data").get("dataset") or obj(one.config, "data").get("name")) for one in runs}
    return {
        "runs": [_run(letter, one) for letter, one in zip(_letters(len(runs)), runs, strict=True)],
        "models": models,
        "views": [
            {"key": str(index), "label": ", ".join(word for word in (model["name"], model["node"]) if word)}
            for index, model in enumerate(models)
        ],
        "data_sets": sorted(data) if len(data) > 1 else [],
        "data": {
            "runs": [
                {"letter": letter, "name": one.name} for letter, one in zip(_letters(len(runs)), runs, strict=True)
            ],
            "models": [{key: model[key] for key in ("name", "unit", "points")} for model in models],
        },
    }


def _letters(count: int) -> list[str]:
    """A, B, …, Z, then A2, B2, …"""
    alphabet = [chr(ord("A") + index) for index in range(26)]
    return [alphabet[index % 26] + (str(index // 26 + 1) if index >= 26 else "") for index in range(count)]


def _run(letter: str, run: Run) -> dict[str, Any]:
    data, steps = obj(run.config, "data"), number(obj(run.config, "model").get("timesteps"))
    return {
        "letter": letter,
        "name": run.name,
        "model": model_name(run),
        "data": text(data.get("dataset") or data.get("name")),
        "steps": number(run.counts.get("timesteps")) or steps or None,
        "parameters": number(run.summary.get("parameters")),
        "spikes": number(obj(run.counts, "network", "totals").get("spikes")),
        "accuracy": accuracy(run),
    }


def _model(name: str, runs: list[Run], found: list[dict[str, Any] | None]) -> dict[str, Any]:
    """One model's price of every run, in the unit of the first; other constants or technologies stay outside."""
    first = next(model for model in found if model is not None)
    unit = text(first.get("unit"))
    points: list[dict[str, Any] | None] = []
    left_out = []
    for letter, run, model in zip(_letters(len(runs)), runs, found, strict=True):
        if model is None:
            left_out.append(f"{letter} has no price under it (snnkit energy {run.name})")
        elif differing := _differing(first, model):
            left_out.append(f"{letter} was priced with another {differing}")
        shares_axis = model is not None and not _differing(first, model)
        points.append(
            priced.ends(priced.result(model, "network")) | {"accuracy": accuracy(run)} if shares_axis else None
        )
    best = _undominated(points)
    return {
        "name": name,
        "title": text(first.get("title")),
        "node": priced.node(first),
        "precision": text(first.get("precision")),
        "unit": unit,
        "points": points,
        "left_out": left_out,
        "rows": [
            {"front": index in best, "value": None if point is None else point["nominal"]}
            | {end: "–" if point is None else joules(point[end], unit) for end in ("low", "nominal", "high")}
            for index, point in enumerate(points)
        ],
    }


def _differing(one: dict[str, Any], other: dict[str, Any]) -> str:
    """What keeps two prices from standing on one axis: technology, unit, or the value of a constant; else nothing."""
    for key, word in (("technology_nm", "technology"), ("unit", "unit"), ("precision", "precision")):
        if one.get(key) != other.get(key):
            return f"{word} ({text(other.get(key)) or 'none'} instead of {text(one.get(key)) or 'none'})"
    known = {text(row.get("name")): number(row.get("value")) for row in rows(one.get("constants"))}
    for row in rows(other.get("constants")):
        name = text(row.get("name"))
        if name in known and known[name] != number(row.get("value")):
            return f"{name} ({text(row.get('value'))} instead of {text(known[name])})"
    return ""


def _undominated(points: list[dict[str, Any] | None]) -> set[int]:
    """Runs than which no other is both as accurate and cheaper, or as cheap and more accurate."""
    known = {
        index: (point["nominal"], point["accuracy"])
        for index, point in enumerate(points)
        if point is not None and point["nominal"] is not None and point["accuracy"] is not None
    }
    return {
        index
        for index, (cost, reached) in known.items()
        if not any(c <= cost and a >= reached and (c, a) != (cost, reached) for c, a in known.values())
    }
