"""What energy.json says, in one form: as its second schema has it, and the first put into that form."""

from __future__ import annotations

from typing import Any

from snnkit.report.read import Run, is_ordinary
from snnkit.report.values import number, obj, rows, text

_LABELS = {
    "network": "Spiking network",
    "twin": "Ordinary twin",
    "twin_skipping": "Twin, zeros skipped",
    "qnn": "Quantised twin",
    "teacher": "Teacher",
}
_ORDINARY = ("twin", "twin_skipping", "qnn")
_ENDS = ("low", "nominal", "high")
WHOLE = "all parts"  # what the sum of a layer is called where its parts are not known


def is_old(run: Run) -> bool:
    """Whether the file is of the first schema: one model, two networks, no break-even rates."""
    return "models" not in run.energy and bool(obj(run.energy, "network"))


def models(run: Run) -> list[dict[str, Any]]:
    """The models that price the run's own network, the headline's first."""
    found = [_upgraded(run.energy)] if is_old(run) else rows(run.energy.get("models"))
    return [model for model in found if nominal(model, "network") is not None]


def unpriced(run: Run) -> list[tuple[str, str]]:
    """Models that have no price for the run's own network, with the reason where the file gives one."""
    found = [] if is_old(run) else rows(run.energy.get("models"))
    empty = [(text(model.get("model")), "no price in the file") for model in found if nominal(model, "network") is None]
    refused = run.energy.get("refused")
    reasons = (
        refused.items()
        if isinstance(refused, dict)
        else [(row.get("model"), row.get("reason")) for row in rows(refused)]
    )
    return empty + [(text(name), text(reason)) for name, reason in reasons]


def result(model: dict[str, Any], entry: str) -> dict[str, Any]:
    """What one model says of one network; empty where it says nothing."""
    return obj(model, "results", entry)


def nominal(model: dict[str, Any], entry: str) -> float | int | None:
    """The nominal total, in the unit of the model."""
    return number(result(model, entry).get("nominal"))


def ends(value: dict[str, Any]) -> dict[str, float | int | None]:
    """low, nominal and high of anything that has them."""
    return {end: number(value.get(end)) for end in _ENDS}


def entries(run: Run, model: dict[str, Any]) -> list[str]:
    """The networks that a model prices, the run's own first, in the order of the file."""
    order = dict.fromkeys([*obj(run.energy, "entries"), *obj(model, "results")])
    priced = [key for key in order if nominal(model, key) is not None]
    return sorted(priced, key=lambda key: key != "network")


def dearer(run: Run) -> tuple[list[str], int]:
    """Models under which the network costs more than the cheapest ordinary one beside it, and how many models compare.

    A teacher is another network, often a larger one, and so is not asked.
    """
    found, compared = [], 0
    for model in models(run):
        beside = [cost for key in _ORDINARY if (cost := nominal(model, key)) is not None]
        if beside:
            compared += 1
            found += [text(model.get("model"))] if (nominal(model, "network") or 0) > min(beside) else []
    return found, compared


def label(run: Run, entry: str) -> str:
    """What a network is called on the page."""
    if entry == "network" and is_ordinary(run):
        return "Network"
    return _LABELS.get(entry, entry.replace("_", " ").capitalize())


def node(model: dict[str, Any]) -> str:
    """The technology of a model's constants, such as "45 nm"; models of two nodes share no axis."""
    size = number(model.get("technology_nm"))
    return f"{size:g} nm" if size is not None else ""


def _upgraded(energy: dict[str, Any]) -> dict[str, Any]:
    """The one model of the first schema; of a layer it knows the sum alone."""
    sides = {key: obj(energy, key) for key in ("network", "twin") if obj(energy, key)}
    formulas = {
        text(part.get("name")): text(part.get("formula"))
        for side in sides.values()
        for part in rows(side.get("parts"))
        if part.get("formula")
    }
    results = {
        key: side
        | {"per_layer": [layer | {"parts": {WHOLE: layer.get("nominal")}} for layer in rows(side.get("per_layer"))]}
        for key, side in sides.items()
    }
    kept = ("model", "title", "unit", "ends", "constants", "uncounted")
    return {key: energy.get(key) for key in kept} | {"formulas": formulas, "results": results}
