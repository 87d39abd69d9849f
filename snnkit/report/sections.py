"""What each section of the page shows: for its template a dictionary of words, for its charts plain data.

Every function returns None when the run has nothing for its section.
"""

from __future__ import annotations

import json
from typing import Any

from snnkit.report import priced
from snnkit.report.headline import measure
from snnkit.report.palette import Palette
from snnkit.report.read import Run
from snnkit.report.values import names, number, obj, percent, ratio, rows, si, text, total

_SPLITS = ("train", "validation", "test")
_CURVES = {"accuracy": "Accuracy", "loss": "Loss"}


def training(run: Run, palette: Palette) -> dict[str, Any] | None:
    """Accuracy, loss and firing rate of each epoch."""
    if not run.metrics:
        return None
    score, words, share = measure(run)
    labels = {score: f"{words[:1].upper()}{words[1:]}", **_CURVES}
    curves = {
        key: {part: [number(obj(line, part).get(key)) for line in run.metrics] for part in _SPLITS} for key in labels
    }
    curves["firing_rate"] = {"network": [number(line.get("firing_rate")) for line in run.metrics]}
    views = [
        {"key": key, "label": {**labels, "firing_rate": "Firing rate"}[key]}
        for key, parts in curves.items()
        if any(value is not None for values in parts.values() for value in values)
    ]
    if not views:
        return None
    seconds = total([number(line.get("seconds")) for line in run.metrics])
    best = obj(run.summary, "best")
    data = {
        "epochs": [line.get("epoch", index) for index, line in enumerate(run.metrics, start=1)],
        "curves": {view["key"]: curves[view["key"]] for view in views},
        "learning_rate": [number(line.get("learning_rate")) for line in run.metrics],
        "seconds": [number(line.get("seconds")) for line in run.metrics],
        "best": {
            "epoch": best.get("epoch"),
            "key": score,
            "value": number(best.get(score)),
            "split": best.get("split", "test"),
        },
    }
    said = {"epochs": len(run.metrics), "duration": _duration(seconds), "states": _states(run)}
    data["shares"] = [key for key in curves if key != "loss" and (key != score or share)]
    return {"views": views, "data": data} | said | _epochs(run, curves, labels, data["shares"])


def _epochs(
    run: Run, curves: dict[str, dict[str, list[Any]]], labels: dict[str, str], shares: list[str]
) -> dict[str, Any]:
    """The curves as a table: a row an epoch, a column for every curve that has a value."""
    shown = [
        (key, part, values)
        for key, parts in curves.items()
        for part, values in parts.items()
        if any(value is not None for value in values)
    ]
    titles = [
        "Firing rate" if key == "firing_rate" else f"{labels[key]}, {part if part != 'train' else 'training'}"
        for key, part, _ in shown
    ]
    table = [
        {
            "epoch": text(line.get("epoch", index + 1)) or "–",
            "values": [percent(values[index], 2) if key in shares else si(values[index]) for key, _, values in shown],
        }
        for index, line in enumerate(run.metrics)
    ]
    return {"columns": titles, "table": table}


def _states(run: Run) -> str:
    """What the optimizer kept beside the parameters."""
    kept, full = (number(run.summary.get(key)) for key in ("optimizer_bytes", "optimizer_bytes_fp32"))
    if not kept:
        return ""
    less = f", instead of {si(full, 'B')} in float32" if full and full > kept else ""
    return f"{si(kept, 'B')} of optimizer states{less}"


def _duration(seconds: float | int | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.3g} s"


def rates(run: Run, palette: Palette) -> dict[str, Any] | None:
    """How often the neurons of each layer fire."""
    layers = [
        {
            "name": text(layer.get("name")),
            "population": palette.of(layer.get("name")),
            "rate": layer["rate"],
            "spikes": number(layer.get("spikes")),
            "neurons": number(layer.get("neurons")),
        }
        for layer in rows(obj(run.counts, "network").get("per_layer"))
        if layer.get("kind") == "neuron" and number(layer.get("rate")) is not None
    ]
    if not layers:
        return None
    spikes = total([layer["spikes"] for layer in layers])
    neurons = total([layer["neurons"] for layer in layers])
    steps = number(run.counts.get("timesteps"))
    mean = ratio(spikes, neurons * steps) if neurons and steps else None
    return {
        "mean": percent(mean) if mean is not None else "",
        "layers": layers,
        "data": {"layers": layers, "mean": mean},
    }


def operations(run: Run, palette: Palette) -> dict[str, Any] | None:
    """What each layer does per image, and whether the network is spike-driven."""
    layers = rows(obj(run.counts, "network").get("per_layer"))
    if not layers:
        return None
    signals = obj(run.counts, "signals")
    encoding = [text(name) for name in signals.get("encoding_layers") or []]
    first_break = text(signals.get("first_break"))
    driven = signals.get("spike_driven")
    table = [_operation(layer, palette, encoding) for layer in layers]
    return {
        "layers": table,
        "most": max((row["rate"] or 0 for row in table), default=0) or 1,
        "own": priced.label(run, "network"),
        "totals": {key: number(value) for key, value in obj(run.counts, "network", "totals").items()},
        "twin": {key: number(value) for key, value in obj(run.counts, "twin", "totals").items()},
        "images": number(run.counts.get("images")),
        "spread": any(row["spread"] for row in table),
        "shifts": any(row["shift_adds"] for row in table),
        "uncounted": names(obj(run.counts, "network").get("uncounted")),
        "verdict": text(signals.get("verdict")),
        "driven": driven if isinstance(driven, bool) else None,
        "first_break": first_break,
        "encoding": encoding,
        "edges": [
            {"signal": text(edge.get("signal")), "type": text(edge.get("type")), "shape": _shape(edge.get("shape"))}
            | {"population": palette.of(edge.get("signal"))}
            for edge in rows(signals.get("edges"))
        ],
    }


def _operation(layer: dict[str, Any], palette: Palette, encoding: list[str]) -> dict[str, Any]:
    name = text(layer.get("name"))
    numbers = (
        "dense_macs",
        "mac",
        "ac",
        "shift_adds",
        "synaptic_events",
        "spikes",
        "neurons",
        "rate",
        "neuron_updates",
    )
    words = {"name": name, "op": text(layer.get("op")), "input": text(layer.get("input_type"))}
    marks = {"population": palette.of(name), "static": layer.get("static") is True, "encoding": name in encoding}
    spread = {"spread": {key: number(value) for key, value in obj(layer, "spread").items()}}
    return words | marks | spread | {key: number(layer.get(key)) for key in numbers}


def _shape(value: Any) -> str:
    return " × ".join(text(size) for size in value) if isinstance(value, list) else text(value)


def raster(run: Run, palette: Palette) -> dict[str, Any] | None:
    """The spikes of one image: neurons in bins against time steps, a panel for each population."""
    panels = []
    for item in rows(run.raster.get("populations")):
        counts = item.get("counts")
        steps = [_counts(step) for step in counts] if isinstance(counts, list) else []
        bins = max((len(step) for step in steps), default=0)
        if not bins:
            continue
        spikes = total([value for step in steps for value in step])
        name = text(item.get("name"))
        panels.append(
            {"name": name, "population": palette.of(name), "neurons": number(item.get("neurons")), "bins": bins}
            | {
                "counts": steps,
                "sums": [total(step) or 0 for step in steps],
                "spikes": spikes,
                "spikes_text": si(spikes),
            }
        )
    if not panels:
        return None
    steps = max(len(panel["counts"]) for panel in panels)
    words = {"image": run.raster.get("image"), "label": text(run.raster.get("label")), "steps": steps}
    return words | {"panels": panels, "data": panels}


def _counts(step: Any) -> list[float | int]:
    return [number(value) or 0 for value in step] if isinstance(step, list) else []


def made(run: Run, palette: Palette) -> dict[str, Any]:
    """The command, the configuration and the machine that made the run."""
    environment, git = run.environment, obj(run.environment, "git")
    machine = obj(environment, "machine")
    memory = number(machine.get("memory_gib"))
    revision = text(git.get("revision"))
    facts = [
        ("Created", text(environment.get("created"))),
        ("Seed", text(environment.get("seed"))),
        ("Revision", revision + (" with local changes" if revision and git.get("dirty") else "")),
        ("Python", text(environment.get("python"))),
        ("System", text(machine.get("system"))),
        ("Processor", text(machine.get("processor"))),
        ("Cores", text(machine.get("cores"))),
        ("Memory", f"{memory:.1f} GiB" if memory is not None else ""),
        ("Device", text(machine.get("device"))),
    ]
    packages = sorted(obj(environment, "packages").items())
    return {
        "command": text(environment.get("command")),
        "facts": [fact for fact in facts if fact[1]],
        "packages": [(name, text(version)) for name, version in packages],
        "config": json.dumps(run.config, indent=2, ensure_ascii=False),
        "classes": names(run.summary.get("classes")),
    }
