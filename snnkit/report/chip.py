"""The two sections about the chip: where the network lies on it, and whether it still computes the same."""

from __future__ import annotations

from typing import Any

from snnkit.report.headline import FINDS, chip_size
from snnkit.report.palette import Palette
from snnkit.report.read import Run
from snnkit.report.values import number, obj, percent, plural, ratio, rows, si, text, total, whole

_CORE_NUMBERS = ("id", "x", "y", "neurons", "in_axons", "out_axons", "synapses", "synapse_bits", "events_per_image")
_VERDICTS = ("exact", "bounded", "approximate")
MEASURED = {
    "pixel accuracy": ", accuracy of pixels",
    **{key: f", average precision of {of}" for key, of in FINDS.items()},
}
"""What is measured where it is not the accuracy of samples."""


def cores(run: Run, palette: Palette) -> dict[str, Any] | None:
    """Every core of the mesh with its load, and every population with the cores it takes."""
    placed = [
        {key: number(core.get(key)) for key in _CORE_NUMBERS}
        | {"population": palette.of(core.get("population")), "name": text(core.get("population"))}
        for core in rows(run.mapping.get("cores"))
    ]
    placed = [core for core in placed if core["x"] is not None and core["y"] is not None]
    if not placed:
        return None
    limits = {key: number(value) for key, value in obj(run.mapping, "limits").items()}
    mesh = _mesh(run, placed)
    return {
        "chip": text(run.mapping.get("chip")),
        "used": len(placed),
        "size": chip_size(run),
        "facts": _facts(run),
        "host": _host(run),
        "populations": _populations(run, palette, placed, limits),
        "views": _views(placed, limits),
        "placed": placed,
        "data": {"mesh": mesh, "limits": limits, "cores": placed},
    }


def _mesh(run: Run, placed: list[dict[str, Any]]) -> dict[str, int]:
    """The mesh as described, and never smaller than what is placed on it."""
    mesh = obj(run.mapping, "mesh")
    spots: dict[tuple[Any, Any], int] = {}
    for core in placed:
        spot = (core["x"], core["y"])
        spots[spot] = spots.get(spot, 0) + 1
    found = {
        "width": max(core["x"] for core in placed) + 1,
        "height": max(core["y"] for core in placed) + 1,
        "cores_per_tile": max(spots.values()),
    }
    return {key: int(max(size, number(mesh.get(key)) or 0)) for key, size in found.items()}


def _views(placed: list[dict[str, Any]], limits: dict[str, Any]) -> list[dict[str, str]]:
    views = [{"key": "population", "label": "Population"}]
    if limits.get("synapse_bits") and any(core["synapse_bits"] is not None for core in placed):
        views.append({"key": "memory", "label": "Synapse memory"})
    if any(core["events_per_image"] is not None for core in placed):
        views.append({"key": "events", "label": "Events"})
    return views


def _facts(run: Run) -> list[dict[str, str]]:
    traffic = obj(run.mapping, "traffic")
    found = [
        ("Steps per image", run.mapping.get("steps"), "time steps until the last layer has answered"),
        ("Packets per image", traffic.get("packets_per_image"), "spikes sent from core to core"),
        ("Hops per image", traffic.get("hops_per_image"), "links that these packets cross, added up"),
        ("Busiest link", traffic.get("max_link_load"), "packets over the link with the most of them"),
    ]
    return [
        {"label": label, "value": si(value), "note": note} for label, value, note in found if number(value) is not None
    ]


def _host(run: Run) -> dict[str, str] | None:
    host = obj(run.mapping, "host")
    layers = [text(layer) for layer in host.get("layers") or []]
    if not layers:
        return None
    macs = number(host.get("macs"))
    return {
        "layers": ", ".join(layers),
        "macs": f"{si(macs)} multiply-accumulates per image" if macs is not None else "",
        "note": text(host.get("note")),
    }


def _populations(
    run: Run, palette: Palette, placed: list[dict[str, Any]], limits: dict[str, Any]
) -> list[dict[str, Any]]:
    table = []
    for item in rows(run.mapping.get("populations")):
        name = text(item.get("name"))
        own = [core for core in placed if core["name"] == name]
        fills = [ratio(core["synapse_bits"], limits.get("synapse_bits")) for core in own]
        table.append(
            {
                "name": name,
                "population": palette.of(name),
                "kind": text(item.get("kind")),
                "neurons": number(item.get("neurons")),
                "depth": number(item.get("depth")),
                "cores": len(own),
                "ids": _ranges([int(core["id"]) for core in own if core["id"] is not None]),
                "weight_bits": number(item.get("weight_bits")),
                "fill": max((fill for fill in fills if fill is not None), default=None),
                "events": total([core["events_per_image"] for core in own]),
            }
        )
    return table


def _ranges(ids: list[int]) -> str:
    """Core numbers in short: 0, 1, 2, 7 is `0–2, 7`."""
    runs: list[list[int]] = []
    for core in sorted(ids):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)


def equality(run: Run, palette: Palette) -> dict[str, Any] | None:
    """The chain from the float network to the chip and to foreign formats, a verdict at every link."""
    found, files = obj(run.mapping, "equality"), rows(run.mapping.get("exchange"))
    if not found and not files:
        return None
    images = number(found.get("images"))
    of = MEASURED.get(text(found.get("measure")), "")
    stages = [
        _stage("Float graph", found.get("float_accuracy"), f"as trained{of}"),
        _stage("Quantised graph", found.get("quantised_accuracy"), "integer weights and thresholds"),
        _stage(
            "Integer program", found.get("chip_accuracy"), f"simulated for {text(run.mapping.get('chip')) or 'chip'}"
        ),
    ]
    return {
        "images": plural(images, "image") if images is not None else "",
        "stages": [stage for stage in stages if stage["accuracy"]] if found else [],
        "links": [_rounding(found), _on_chip(found)],
        "layers": _by_layer(found, palette),
        "exchange": [
            {"format": text(row.get("format")), "file": text(row.get("file")), "detail": text(row.get("detail"))}
            | verdict(row.get("verdict"))
            for row in files
        ],
    }


def _by_layer(found: dict[str, Any], palette: Palette) -> list[dict[str, Any]]:
    """In which layers the quantised graph fires other spikes than the float graph."""
    table = []
    for name, pair in obj(found, "float_by_layer").items():
        differing, places = (number(value) for value in pair) if isinstance(pair, list) and len(pair) == 2 else (0, 0)
        share = ratio(differing, places)
        if share is not None:
            row = {"name": name, "population": palette.of(name), "differing": differing, "places": places}
            table.append(row | {"share": share})
    return table if any(row["differing"] for row in table) else []


def _stage(title: str, reached: Any, note: str) -> dict[str, str]:
    return {"title": title, "accuracy": percent(reached) if number(reached) is not None else "", "note": note}


def _rounding(found: dict[str, Any]) -> dict[str, str]:
    """Float graph against quantised graph; runs of earlier versions know the accuracies only."""
    before, after = number(found.get("float_accuracy")), number(found.get("quantised_accuracy"))
    differing, places = number(found.get("float_mismatches")), number(found.get("float_compared"))
    said = []
    if differing is not None:
        said.append(f"{si(differing)} of {si(places)} spikes differ" if places else f"{si(differing)} spikes differ")
        error = number(found.get("float_logit_error"))
        said.append(f"{'outputs' if found.get('measure') in FINDS else 'logits'} by up to {error:.2g}" if error else "")
    if before is not None and after is not None:
        change = 100 * (after - before)
        same = abs(change) < 0.05
        said.append(f"no change{_in(found)}" if same else f"{change:+.1f} points".replace("-", "−"))
    word = found.get("float_verdict") or ("approximate" if said else None)
    return verdict(word) | {"detail": "; ".join(part for part in said if part)}


def _in(found: dict[str, Any]) -> str:
    return "" if found.get("measure") in FINDS else " in accuracy"


def _on_chip(found: dict[str, Any]) -> dict[str, str]:
    differing, places = number(found.get("spike_mismatches")), number(found.get("compared"))
    words = ""
    if differing is not None:
        words = f"{whole(differing)} of {si(places)} spikes differ" if places else f"{whole(differing)} spikes differ"
    return verdict(found.get("verdict")) | {"detail": words}


def verdict(value: Any) -> dict[str, str]:
    """The word as it stands, and the style class for the three words that have a meaning."""
    word = text(value)
    return {"verdict": word, "style": word if word in _VERDICTS else "unknown"}
