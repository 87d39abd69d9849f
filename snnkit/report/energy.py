"""The section about energy: every model's price of the network and of what stands beside it, with all that drives it.

A chart shows one model at a time, so that constants of different technologies never share an axis.
"""

from __future__ import annotations

from typing import Any

from snnkit.report import priced
from snnkit.report.palette import Palette
from snnkit.report.read import Run
from snnkit.report.values import joules, names, number, obj, percent, plural, ratio, rows, si, text, times

_CARDS = 6  # with more models than that, incomplete ones are folded away
_KINDS = {"constant": "constant", "choice": "what is counted", "samples": "the samples"}


def energy(run: Run, palette: Palette) -> dict[str, Any] | None:
    """The estimated energy of a sample under every model, by part and by layer, beside other networks."""
    models = priced.models(run)
    if not models:
        return None
    subject = obj(run.energy, "subject")
    nodes = {priced.node(model) for model in models}
    known = dict.fromkeys(key for model in models for key in priced.entries(run, model))
    described = [_model(run, model) for model in models]
    # Numbers of chips that leave operations out would crowd out the models that hold everything.
    incomplete = [model for model in described[1:] if model["uncounted"]] if len(models) > _CARDS else []
    for model in described:
        model["aside"] = model in incomplete
    return {
        "old": priced.is_old(run),
        "run": run.name,
        "subject": _subject(subject),
        "conventions": [(text(key), text(value)) for key, value in obj(subject, "conventions").items()],
        "entries": [
            (priced.label(run, key), text(obj(run.energy, "entries").get(key)))
            for key in known
            if obj(run.energy, "entries").get(key)
        ],
        "mixed": len(nodes) > 1,
        "dearer": _dearer(run),
        "unpriced": priced.unpriced(run),
        "others": [{"key": key, "label": priced.label(run, key)} for key in known if key != "network"],
        "models": described,
        "aside": [model["name"] for model in incomplete],
        "data": {
            "parts": _fills(models),
            "labels": {key: priced.label(run, key) for key in known},
            "models": [_drawn(run, model, palette) for model in models],
        },
    }


def _subject(subject: dict[str, Any]) -> str:
    steps, samples, data = (subject.get(key) for key in ("timesteps", "samples", "data"))
    said = [f"{si(steps)} time step{'' if steps == 1 else 's'}" if number(steps) else ""]
    said.append(f"mean of {si(samples)} samples{f' of {text(data)}' if data else ''}" if number(samples) else "")
    return ", ".join(part for part in said if part)


def _fills(models: list[dict[str, Any]]) -> dict[str, int]:
    """The colour and pattern of every part: it keeps them under every model, and shares them with none beside it."""
    together = [_part_names(model) for model in models]
    found: dict[str, int] = {}
    for name in dict.fromkeys(name for one in together for name in one):
        taken = {found[other] for one in together if name in one for other in one if other in found}
        found[name] = next(fill for fill in range(len(taken) + 1) if fill not in taken)
    return found


def _part_names(model: dict[str, Any]) -> dict[str, None]:
    """The parts of one model, of any network."""
    found: dict[str, None] = {}
    for result in obj(model, "results").values():
        found |= dict.fromkeys(text(part.get("name")) for part in rows(obj(result).get("parts")))
        for layer in rows(obj(result).get("per_layer")):
            found |= dict.fromkeys(obj(layer, "parts"))
    return found


# ---- words ----


def _model(run: Run, model: dict[str, Any]) -> dict[str, Any]:
    """What the page says of one model in words and tables."""
    unit, keys = text(model.get("unit")), priced.entries(run, model)
    own = priced.nominal(model, "network")
    return {
        "name": text(model.get("model")),
        "title": text(model.get("title")),
        "scope": text(model.get("scope")),
        "node": priced.node(model),
        "precision": text(model.get("precision")),
        "nominal": joules(own, unit),
        "interval": _interval(priced.result(model, "network"), unit),
        "beside": _beside(run, model),
        "labels": [priced.label(run, key) for key in keys],
        "totals": [_total(run, model, key, unit) for key in keys],
        "sections": _sections(model, keys, unit),
        "parts": _parts(model, keys, unit),
        "layers": _layer_rows(run, model, keys, unit),
        "even": _even(model),
        "drivers": [_driver(row, model, unit) for row in rows(priced.result(model, "network").get("drivers"))],
        "unmoved": names(priced.result(model, "network").get("unmoved")),
        "ends": [
            (end, text(obj(model, "ends")[end])) for end in ("low", "nominal", "high") if obj(model, "ends").get(end)
        ],
        "constants": [_constant(row) for row in rows(model.get("constants"))],
        "choices": [_choice(row) for row in rows(model.get("choices"))],
        "uncounted": names(model.get("uncounted")),
        "assumed": names(model.get("assumed")),
    }


def _interval(value: dict[str, Any], unit: str) -> str:
    found = priced.ends(value)
    if found["low"] is None or found["high"] is None or found["low"] == found["high"]:
        return ""
    return f"{joules(found['low'], unit)} – {joules(found['high'], unit)}"


def _beside(run: Run, model: dict[str, Any]) -> str:
    """The network beside its ordinary twin, or what else the model prices, in a few words."""
    others = sorted(priced.entries(run, model)[1:], key=lambda key: key != "twin")
    words = times(ratio(priced.nominal(model, others[0]), priced.nominal(model, "network"))) if others else ""
    name = "twin" if others[:1] == ["twin"] else priced.label(run, others[0]).lower() if others else ""
    return f"{words} than the {name}" if words else ""


def _dearer(run: Run) -> str:
    """Under which models the network costs more, so that no one takes the one that suits."""
    dearer, compared = priced.dearer(run)
    if not compared:
        return ""
    of = f"of {plural(compared, 'model')} with an ordinary network beside"
    if not dearer:
        return f"Under every one {of}, this network costs less than the cheapest of those."
    return f"Under {len(dearer)} {of}, this network costs more than the cheapest of those: {', '.join(dearer)}."


def _total(run: Run, model: dict[str, Any], key: str, unit: str) -> dict[str, Any]:
    result = priced.result(model, key)
    found = priced.ends(result)
    sampling = number(result.get("sampling"))
    share = ratio(found["nominal"], priced.nominal(model, "network"))
    return {
        "label": priced.label(run, key),
        "sampling": f"± {joules(sampling, unit)}" if sampling else "",
        "times": si(float(f"{share:.3g}")) if share is not None else "",
    } | {end: joules(value, unit) for end, value in found.items()}


def _sections(model: dict[str, Any], keys: list[str], unit: str) -> list[dict[str, Any]]:
    """A row for backbone, neck and head, where a network has them: nominal, and its share of the network's total."""
    found: dict[str, dict[str, float | int | None]] = {}
    for key in keys:
        for row in rows(priced.result(model, key).get("sections")):
            found.setdefault(text(row.get("name")), {})[key] = number(row.get("nominal"))
    whole = {key: priced.nominal(model, key) for key in keys}
    return [
        {
            "name": name,
            "values": [
                {"nominal": joules(sides.get(key), unit), "share": percent(ratio(sides.get(key), whole[key]), 1)}
                for key in keys
            ],
        }
        for name, sides in found.items()
    ]


def _parts(model: dict[str, Any], keys: list[str], unit: str) -> list[dict[str, Any]]:
    """A row a part: its formula, and nominal with interval for every network."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for key in keys:
        for part in rows(priced.result(model, key).get("parts")):
            found.setdefault(text(part.get("name")), {})[key] = part
    formulas = obj(model, "formulas")
    return [
        {
            "name": name,
            "formula": text(formulas.get(name)),
            "values": [
                {"nominal": joules(number(part.get("nominal")), unit), "interval": _interval(part, unit)}
                for part in (sides.get(key, {}) for key in keys)
            ],
        }
        for name, sides in found.items()
    ]


def _layer_rows(run: Run, model: dict[str, Any], keys: list[str], unit: str) -> list[dict[str, Any]]:
    """A row a layer: nominal energy in every network, the rate it fires at, and the rate that would break even."""
    table = []
    for name, layer in _layers(run, model, keys).items():
        rate, even = layer["rate"], layer["break_even"]
        table.append(
            {"name": name, "kind": layer["kind"], "rate": rate, "break_even": even, "stands": _stands(rate, even)}
            | {"above": rate is not None and even is not None and rate > even}
            | {"values": [(value, joules(value, unit)) for value in (layer["sums"].get(key) for key in keys)]}
        )
    return table


def _layers(run: Run, model: dict[str, Any], keys: list[str]) -> dict[str, dict[str, Any]]:
    """Layers of all networks by name, with sum and parts for each network that has them, and both rates."""
    counted = rows(obj(run.counts, "network").get("per_layer"))
    kinds = {text(layer.get("name")): text(layer.get("kind")) for layer in counted}
    found: dict[str, dict[str, Any]] = {}
    for key in keys:
        for row in rows(priced.result(model, key).get("per_layer")):
            layer = found.setdefault(text(row.get("name")), _blank())
            layer["kind"] = layer["kind"] or text(row.get("kind")) or kinds.get(text(row.get("name")), "")
            layer["sums"][key] = number(row.get("nominal"))
            layer["parts"][key] = {text(part): number(value) for part, value in obj(row, "parts").items()}
    for row in rows(obj(model, "break_even").get("per_layer")):
        layer = found.setdefault(text(row.get("name")), _blank())
        layer["rate"], layer["break_even"] = number(row.get("rate")), number(row.get("break_even"))
    return {
        name: layer
        for name, layer in found.items()
        if any(layer["sums"].values()) or layer["rate"] is not None or layer["break_even"] is not None
    }


def _blank() -> dict[str, Any]:
    return {"kind": "", "sums": {}, "parts": {}, "rate": None, "break_even": None}


def _stands(rate: float | int | None, even: float | int | None) -> str:
    """How far a rate lies from the one that breaks even: `2.3 × below`."""
    if rate is None or even is None:
        return ""
    if rate > even:
        return f"{_factor(rate / even)} × above" if even else "above"
    return f"{_factor(even / rate)} × below" if rate else "silent"


def _factor(value: float) -> str:
    """Two digits, or three where two would say 1."""
    return si(float(f"{value:.{3 if value < 1.1 else 2}g}"))


def _even(model: dict[str, Any]) -> dict[str, Any]:
    total = obj(model, "break_even", "total")
    rate, measured = number(total.get("rate")), number(total.get("measured_rate"))
    return {
        "rate": percent(rate) if rate is not None else "",
        "measured": percent(measured) if measured is not None else "",
        "above": rate is not None and measured is not None and measured > rate,
        "stands": _stands(measured, rate),
        "note": text(total.get("note")),
    }


def _driver(row: dict[str, Any], model: dict[str, Any], unit: str) -> dict[str, Any]:
    name = text(row.get("name"))
    what = {text(choice.get("name")): text(choice.get("what")) for choice in rows(model.get("choices"))}
    source = {text(one.get("name")): text(one.get("source")) for one in rows(model.get("constants"))}
    low, high = number(row.get("low")), number(row.get("high"))
    return {
        "name": name,
        "kind": _KINDS.get(text(row.get("kind")), text(row.get("kind"))),
        "what": what.get(name) or source.get(name) or "",
        "low": joules(low, unit),
        "high": joules(high, unit),
        "width": None if low is None or high is None else high - low,
        "width_text": joules(None if low is None or high is None else high - low, unit),
    }


def _constant(row: dict[str, Any]) -> dict[str, Any]:
    low, high = number(row.get("low")), number(row.get("high"))
    return {
        "name": text(row.get("name")),
        "value": si(row.get("value")),
        "interval": f"{si(low)} – {si(high)}" if low is not None and high is not None and low != high else "",
        "unit": text(row.get("unit")),
        "source": text(row.get("source")),
        "confirmed": row.get("confirmed"),
    }


def _choice(row: dict[str, Any]) -> dict[str, str]:
    return {key: text(row.get(key)) for key in ("name", "what")} | {
        end: si(row.get(end)) for end in ("low", "nominal", "high")
    }


# ---- what the charts draw ----


def _drawn(run: Run, model: dict[str, Any], palette: Palette) -> dict[str, Any]:
    keys = priced.entries(run, model)
    return {
        "name": text(model.get("model")),
        "unit": text(model.get("unit")),
        "entries": keys,
        "formulas": {name: text(value) for name, value in obj(model, "formulas").items()},
        "bars": [priced.ends(priced.result(model, key)) for key in keys],
        "parts": [
            {text(part.get("name")): priced.ends(part) for part in rows(priced.result(model, key).get("parts"))}
            for key in keys
        ],
        "layers": [
            {"name": name, "kind": layer["kind"], "population": palette.of(name)}
            | {"rate": layer["rate"], "even": layer["break_even"]}
            | {"sums": [_short(layer["sums"].get(key)) for key in keys]}
            | {"parts": [{part: _short(v) for part, v in layer["parts"].get(key, {}).items()} for key in keys]}
            for name, layer in _layers(run, model, keys).items()
        ],
        "drivers": [
            {"name": text(row.get("name")), "kind": text(row.get("kind"))}
            | {end: number(row.get(end)) for end in ("low", "high")}
            for row in rows(priced.result(model, "network").get("drivers"))
        ],
    }


def _short(value: float | int | None) -> float | int | None:
    """Five digits are more than a chart shows, and many layers of many models would make the page long."""
    return None if value is None else float(f"{value:.5g}")
