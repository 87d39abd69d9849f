"""An audit as a page: one file that opens without a network, in the look of the run report, whose style it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compiler.auditing.terminal import break_evens, facts, needed, refusals, verdict_lines, warning
from snnkit.report.single_file import allowed, asset, embedded, templates
from snnkit.report.values import joules, percent, si

_TEMPLATES = Path(__file__).parent / "templates"
_SIDES = {
    "network": "network",
    "twin": "ordinary twin",
    "twin_skipping": "… zeros skipped",
    "qnn": "ordinary, few bits",
}
_SCRIPTS = ("errors.js", "core.js", "page.js")


def text(found: dict[str, Any]) -> str:
    """Return the page."""
    scripts = [asset(name) for name in _SCRIPTS]
    return (
        templates(_TEMPLATES)
        .get_template("audit.html.j2")
        .render(
            it=found,
            verdict=verdict_lines(found["verdict"]),
            loud=warning(found["subject"]),
            tiles=_tiles(found),
            facts=facts(found),
            models=[_model(one) for one in found["energy"] if one["results"]],
            refused=refusals(found),
            even=break_evens(found),
            needed=needed,
            style=asset("style.css"),
            scripts=scripts,
            hashes=allowed(scripts),
            data=embedded({"populations": []}),
        )
    )


def _tiles(found: dict[str, Any]) -> list[dict[str, str]]:
    totals, about = found["totals"], found["subject"]
    own, twin = totals["network"], totals["twin"]
    work = "synaptic_events" if about["spiking"] else "mac"
    tiles = [{"label": "ACs a sample" if about["spiking"] else "MACs a sample", "value": si(own[work]), "note": ""}]
    if about["spiking"]:
        tiles[0]["note"] = f"and {si(own['mac'])} MACs"
        note = f"per neuron and step, T = {about['timesteps']}"
        tiles.append({"label": "Firing rate", "value": percent(totals["mean_rate"]), "note": note})
    priced = [one for one in found["energy"] if one["results"]]
    if priced:
        first = priced[0]
        other = first["ratios"].get("twin")
        ratio = f"; its twin {other:.3g} times as much" if other else ""
        value = joules(first["results"]["network"]["nominal"], first["unit"])
        tiles.append({"label": "Energy a sample", "value": value, "note": f"by {first['model']}{ratio}"})
    elif twin is not None:
        tiles.append({"label": "MACs of the twin", "value": si(twin["mac"]), "note": ""})
    broken = found["verdict"]["breaks"]
    if about["spiking"]:
        words = {"label": "Edges that break it", "value": f"{broken:,}", "note": found["verdict"]["layer"]}
        tiles.append(words)
    return tiles


def _model(one: dict[str, Any]) -> dict[str, Any]:
    """One energy model: bars of the network and its twin, as shares of the largest end of both."""
    given = [(key, label, one["results"][key]) for key, label in _SIDES.items() if key in one["results"]]
    most = max(result["high"] for _, _, result in given) or 1.0
    tags = [{"words": f"{one['technology_nm']:g} nm", "style": ""}] if one["technology_nm"] is not None else []
    tags += [{"words": one["precision"], "style": ""}] if one["precision"] else []
    tags += [{"words": "lower bound", "style": "warn"}] if one["uncounted"] else []
    tags += [{"words": "unchecked constants", "style": "warn"}] if one["assumed"] else []
    return {"name": one["model"], "title": one["scope"], "tags": tags} | {
        "bars": [_bar(one, key, label, result, most) for key, label, result in given]
    }


def _bar(one: dict[str, Any], key: str, label: str, result: dict[str, Any], most: float) -> dict[str, Any]:
    low, nominal, high = (joules(result[end], one["unit"]) for end in ("low", "nominal", "high"))
    shares = {end: result[end] / most for end in ("low", "nominal", "high")}
    words = f"{label}, {one['model']}: {nominal}, from {low} to {high}"
    return {"label": label, "twin": key != "network", "value": nominal, "words": words} | shares
