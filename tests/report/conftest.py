"""An invented run folder for the tests of the report: its numbers fit together, but no network ever gave them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

T = 4
LIMITS = {"neurons": 1024, "in_axons": 4096, "out_axons": 4096, "synapse_bits": 1048576}
# layer, operation, multiply-accumulates per step, neurons behind it, their rate, cores, depth
BLOCKS = (
    ("stem", "conv2d", 225792, 6272, 0.164, 7, 0),
    ("block1", "conv2d", 1806336, 6272, 0.118, 9, 1),
    ("block2", "conv2d", 903168, 3136, 0.143, 6, 2),
    ("block3", "conv2d", 1806336, 3136, 0.087, 9, 3),
    ("block4", "conv2d", 903168, 1568, 0.121, 5, 4),
    ("fc1", "linear", 401408, 256, 0.206, 4, 5),
)


def config() -> dict[str, Any]:
    return {
        "recipe": "demo",
        "model": {"name": "spiking_cnn_small", "timesteps": T, "num_classes": 10, "in_chans": 1, "img_size": 28},
        "data": {"name": "fashion_mnist", "train_images": 4000, "augment": None, "batch_size": 64},
        "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "schedule": {"name": "cosine", "warmup": 1}},
        "epochs": 14,
        "label_smoothing": 0.1,
    }


def environment() -> dict[str, Any]:
    return {
        "created": "2026-11-22T20:14:05Z",
        "command": "snnkit demo --seed 0",
        "seed": 0,
        "python": "3.11.7",
        "packages": {"torch": "2.14.1", "numpy": "2.3.5", "numba": "0.68.0", "jinja2": "3.1.6", "snnkit": "0.1.0"},
        "git": {"revision": "3f1c0ab94d17", "dirty": False},
        "machine": {
            "system": "Linux 6.8",
            "processor": "an invented processor",
            "cores": 2,
            "memory_gib": 23.4,
            "device": "cpu",
        },
    }


def metrics() -> list[dict[str, Any]]:
    lines = []
    for epoch in range(1, 15):
        left = math.exp(-epoch / 3.2)
        wobble = 0.006 * math.sin(2.3 * epoch)
        train, test = 0.925 - 0.44 * left, 0.878 - 0.29 * left + wobble - (0.006 if epoch != 13 else 0.0)
        lines.append(
            {
                "epoch": epoch,
                "step": 63 * epoch,
                "train": {"loss": 0.24 + 1.3 * left, "accuracy": train},
                "test": {"loss": 0.39 + 0.8 * left - wobble, "accuracy": test if epoch != 13 else 0.878},
                "learning_rate": 1e-3 * 0.5 * (1 + math.cos(math.pi * epoch / 14)),
                "seconds": 7.1 + wobble * 20,
                "firing_rate": 0.128 - 0.05 * left,
            }
        )
    return lines


def summary() -> dict[str, Any]:
    return {
        "parameters": 102346,
        "optimizer_bytes": 208000,
        "optimizer_bytes_fp32": 818768,
        "train_images": 4000,
        "test_images": 1000,
        "best": {"epoch": 13, "accuracy": 0.878},
        "final": {"epoch": 14, "accuracy": 0.874},
        "classes": ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Boot"],
    }


def _layers(spiking: bool) -> list[dict[str, Any]]:
    layers, rate_before = [], None
    for name, op, macs, neurons, rate, _, _ in (*BLOCKS, ("head", "linear", 2560, None, None, 1, 6)):
        real = rate_before is None or not spiking
        dense = macs * (T if spiking else 1)
        layers.append(
            {"name": name if name == "head" else f"{name}.{'conv' if op == 'conv2d' else 'linear'}", "op": op}
            | {"kind": "synapse", "input_type": "real" if real else "binary", "dense_macs": dense}
            | {"mac": float(macs) if real else 0.0, "ac": 0.0 if real else dense * rate_before}
            | {"synaptic_events": 0.0 if real else dense * rate_before, "static": spiking and rate_before is None}
            | {"spikes": None, "neurons": None, "rate": None, "neuron_updates": 0}
        )
        if neurons:
            layers.append(
                {"name": f"{name}.{'lif' if spiking else 'relu'}", "op": "lif" if spiking else "relu"}
                | {
                    "kind": "neuron" if spiking else "other",
                    "input_type": "real",
                    "dense_macs": 0,
                    "mac": 0.0,
                    "ac": 0.0,
                }
                | {"synaptic_events": 0.0, "static": False, "neurons": neurons, "rate": rate if spiking else None}
                | {"spikes": neurons * T * rate if spiking else None, "neuron_updates": neurons * T if spiking else 0}
            )
        rate_before = rate
    return layers


def graph() -> dict[str, Any]:
    def signal(name: str, kind: str, *shape: int) -> dict[str, Any]:
        return {"name": name, "type": kind, "shape": list(shape)}

    blocks, edges = [], []
    for index, (name, op, *_) in enumerate(BLOCKS):
        does = {"conv" if op == "conv2d" else op: 1, "lif": 1}
        kinds = {"synapse": 1, "neuron": 1}
        blocks.append({"label": name, "nodes": 2, "kinds": kinds, "operations": does, "states": 1, "broken": 0})
        carried = (
            signal("input", "real", 1, 28, 28) if index == 0 else signal(f"{BLOCKS[index - 1][0]}.lif", "binary", 32)
        )
        edges.append({"from": index - 1, "to": index, "later": False, "signals": [carried]})
    edges.append({"from": 1, "to": 4, "later": False, "signals": [signal("block1.lif", "binary", 32, 14, 14)]})
    edges.append({"from": 3, "to": 2, "later": True, "signals": [signal("block3.lif", "binary", 64, 7, 7)]})
    edges.append({"from": 5, "to": -1, "later": False, "signals": [signal("fc1.lif", "binary", 256)]})
    return {
        "name": "SpikingCNN",
        "timesteps": T,
        "static_input": True,
        "nodes": 12,
        "inputs": [signal("input", "real", 1, 28, 28)],
        "outputs": [signal("fc1.lif", "binary", 256)],
        "states": {"count": 6, "values": 20640},
        "stored": 102346,
        "kinds": {"synapse": {"conv": 5, "linear": 1}, "neuron": {"lif": 6}},
        "types": {"real": 7, "binary": 6},
        "blocks": blocks,
        "edges": edges,
        "mermaid": "flowchart TD\n  in --> b0\n",
        "spike_driven": True,
        "verdict": "spike-driven but for the encoding layer stem",
        "breaks": 0,
    }


def counts() -> dict[str, Any]:
    def side(spiking: bool) -> dict[str, Any]:
        layers = _layers(spiking)
        keys = ("mac", "ac", "spikes", "dense_macs", "neuron_updates")
        return {"per_layer": layers, "totals": {key: sum(layer[key] or 0 for layer in layers) for key in keys}}

    edges = [{"signal": "stem.conv", "type": "real", "shape": [32, 28, 28]}]
    edges += [{"signal": f"{block[0]}.lif", "type": "binary", "shape": [block[3] // 49, 7, 7]} for block in BLOCKS]
    return {
        "images": 1000,
        "timesteps": T,
        "network": side(True),
        "twin": side(False),
        "signals": {
            "spike_driven": True,
            "verdict": "spike-driven but for the encoding layer",
            "first_break": None,
            "encoding_layers": ["stem.conv"],
            "edges": edges,
        },
    }


HOROWITZ = "Horowitz, ISSCC 2014, figure 1.1.9"
# constant: value, low, high, unit, source, confirmed
ARITHMETIC = {
    "E_MAC": (4.6, 3.2, 4.6, "pJ", HOROWITZ, True),
    "E_AC": (0.9, 0.1, 0.9, "pJ", HOROWITZ, True),
}
SRAM = {"E_SRAM": (5.0, 1.25, 5.0, "pJ", f"{HOROWITZ}, 8 kB, 32 bit", False)}
LOIHI = {
    "E_SYN": (35.5, 24.0, 35.5, "pJ", "SANA-FE, arch/loihi.yaml, dense", True),
    "E_UPDATE": (51.2, 51.2, 72.8, "pJ", "SANA-FE, arch/loihi.yaml", True),
}
UPDATES = {"update share": ("share of the neuron updates that is charged", 0.0, 1.0, 1.0)}
REUSE = {"reads a weight": ("how often a weight is fetched for each use: once, or once for 8 uses", 0.125, 0.5, 1.0)}
# part: formula in words, and in numbers from a layer's counts n and the values v of constants and choices
ACCUMULATES = ("AC × E_AC", lambda n, v: n["ac"] * v["E_AC"])
MULTIPLIES = ("MAC × E_MAC", lambda n, v: n["mac"] * v["E_MAC"])
LEAKS = (
    "updates × share × (E_MAC + E_AC)",
    lambda n, v: n["neuron_updates"] * v["update share"] * (v["E_MAC"] + v["E_AC"]),
)
ADDS = ("updates × share × E_AC", lambda n, v: n["neuron_updates"] * v["update share"] * v["E_AC"])
FETCHES = (
    "(MAC + AC) × reads × E_SRAM + states × E_SRAM",
    lambda n, v: ((n["mac"] + n["ac"]) * v["reads a weight"] + n["neuron_updates"] * 2) * v["E_SRAM"],
)
COMPARES = ("comparisons × E_AC", lambda n, v: (n["neurons"] or 0) * v["E_AC"])
EVENTS = ("events × E_SYN", lambda n, v: (n["ac"] + n["mac"]) * v["E_SYN"])
CORES = ("updates × share × E_UPDATE", lambda n, v: n["neuron_updates"] * v["update share"] * v["E_UPDATE"])
# name, title, node, precision, scope, constants, choices, parts
PRICES: tuple[tuple[Any, ...], ...] = (
    (
        *("45nm", "operations in 45 nm CMOS at 0.9 V", 45.0, "fp32", "arithmetic; no memory, no wires"),
        *(ARITHMETIC, UPDATES),
        {"synapse accumulates": ACCUMULATES, "MACs": MULTIPLIES, "neuron updates": LEAKS},
    ),
    (
        *("45nm-memory", "operations and memory in 45 nm CMOS", 45.0, "fp32", "arithmetic and SRAM; no wires, no DRAM"),
        *(ARITHMETIC | SRAM, UPDATES | REUSE),
        {"synapse accumulates": ACCUMULATES, "MACs": MULTIPLIES, "neuron updates": ADDS}
        | {"memory": FETCHES, "other": COMPARES},
    ),
    (
        *("loihi", "additive costs of Loihi", 14.0, "int8", "synapses and updates; no packets", LOIHI, UPDATES),
        {"synapse accumulates": EVENTS, "neuron updates": CORES},
    ),
)
ENTRIES = {
    "network": "the network as trained, T = 4",
    "twin": "the same layers with ReLU for neurons, one evaluation, every multiply-accumulate",
    "twin_skipping": "the twin, multiply-accumulates with a zero left out",
}


def _amounts(entry: str) -> list[dict[str, Any]]:
    """The layers of a network beside; half of the twin's activations are zero."""
    layers = _layers(entry == "network")
    return [layer | {"mac": layer["mac"] / 2} for layer in layers] if entry == "twin_skipping" else layers


def _priced(entry: str, constants: dict[str, Any], choices: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    at = {
        end: {name: values[place] for name, values in constants.items()}
        | {name: values[1 + index] for name, values in choices.items()}
        for index, (end, place) in enumerate((("low", 1), ("nominal", 0), ("high", 2)))
    }
    layers = _amounts(entry)

    def cost(part: str, values: dict[str, float], chosen: list[dict[str, Any]]) -> float:
        return sum(parts[part][1](layer, {**values}) for layer in chosen) * 1e-6

    def everything(values: dict[str, float]) -> float:
        return sum(cost(part, values, layers) for part in parts)

    drivers = [
        {"name": name, "kind": "constant" if name in constants else "choice"}
        | {end: everything(at["nominal"] | {name: at[end][name]}) for end in ("low", "high")}
        for name in at["nominal"]
    ]
    sampling = 0.01 * everything(at["nominal"])
    around = {end: everything(at["nominal"]) + sign * sampling for end, sign in (("low", -1), ("high", 1))}
    drivers.append({"name": "the samples", "kind": "samples"} | around)
    return {end: everything(values) for end, values in at.items()} | {
        "sampling": sampling,
        "parts": [{"name": part} | {end: cost(part, at[end], layers) for end in at} for part in parts],
        "per_layer": [
            {"name": layer["name"], "kind": layer["kind"], "nominal": sum(found.values()), "parts": found}
            for layer in layers
            for found in [{part: cost(part, at["nominal"], [layer]) for part in parts}]
        ],
        "drivers": sorted(drivers, key=lambda row: row["low"] - row["high"]),
    }


def _break_even(ratio: float) -> dict[str, Any]:
    """Rates of the neurons before each layer; the twin's product over the accumulate is the rate that breaks even."""
    per_layer = [
        {"name": f"{after[0]}.{'conv' if after[1] == 'conv2d' else 'linear'}", "rate": before[4], "break_even": even}
        for before, after, even in zip(BLOCKS[:-1], BLOCKS[1:], (ratio, ratio, ratio, 0.07, ratio * 2), strict=True)
    ]
    total = {"rate": ratio, "measured_rate": 0.128, "note": "all layers scaled alike"}
    return {"total": total, "per_layer": per_layer}


def energy() -> dict[str, Any]:
    models = []
    for name, title, node, precision, scope, constants, choices, parts in PRICES:
        keys = ("value", "low", "high", "unit", "source", "confirmed")
        models.append(
            {"model": name, "title": title, "unit": "uJ", "technology_nm": node, "precision": precision, "scope": scope}
            | {"ends": {"low": "8-bit accumulates", "nominal": "as most papers count", "high": "every update charged"}}
            | {"formulas": {part: formula for part, (formula, _) in parts.items()}}
            | {"constants": [{"name": n} | dict(zip(keys, v, strict=True)) for n, v in constants.items()]}
            | {
                "choices": [
                    {"name": n} | dict(zip(("what", "low", "nominal", "high"), v, strict=True))
                    for n, v in choices.items()
                ]
            }
            | {"uncounted": [], "assumed": ["E_SRAM"] if "E_SRAM" in constants else []}
            | {"results": {entry: _priced(entry, constants, choices, parts) for entry in ENTRIES}}
            | {"break_even": _break_even(1.28 if node == 45.0 else 0.3)}
        )
    subject = {"name": "SpikingCNN", "timesteps": T, "samples": 1000, "data": "fashion_mnist"}
    conventions = {"repconv": "merged", "batch_norm": "folded", "first_layer": "once", "padding": "skipped"}
    return {
        "schema": "snnkit.energy/2",
        "subject": subject | {"conventions": conventions},
        "entries": ENTRIES,
        "models": models,
    }


def old_energy() -> dict[str, Any]:
    """The headline model as energy.json's first schema had it."""
    model = energy()["models"][0]

    def side(entry: str) -> dict[str, Any]:
        found = model["results"][entry]
        parts = [part | {"formula": model["formulas"][part["name"]]} for part in found["parts"]]
        per_layer = [{key: layer[key] for key in ("name", "nominal")} for layer in found["per_layer"]]
        return {end: found[end] for end in ("low", "nominal", "high")} | {"parts": parts, "per_layer": per_layer}

    kept = {key: model[key] for key in ("model", "title", "unit", "ends", "constants", "uncounted")}
    return kept | {"source": HOROWITZ, "network": side("network"), "twin": side("twin")}


def converted() -> dict[str, Any]:
    """What `snnkit convert` leaves of an ordinary network."""
    steps = ((1, 0.78, 0.81, 0.742), (2, 0.89, 0.94, 1.064), (4, 0.905, 1.0, 1.229))
    forms = [{"name": "float", "accuracy": 0.915, "agreement": 0.96, "events": None}]
    forms += [{"name": "quantised", "accuracy": 0.905, "agreement": 1.0, "events": None}]
    forms += [
        {"name": f"spiking, T = {step}", "accuracy": right, "agreement": same, "events": events}
        for step, right, same, events in steps
    ]
    forms += [{"name": "spiking, at rest", "accuracy": 0.905, "agreement": 1.0, "events": 1.232}]
    dense = {"dense_macs": 3029248.0, "mac": 3029248.0, "ac": 0.0, "neuron_updates": 0.0}
    spiking = {"dense_macs": 21204736.0, "mac": 614656.0, "ac": 1200000.0, "shift_adds": 570953.0}
    return {
        "samples": 200,
        "codes": 1971200,
        "codes_differ": 0,
        "logit_error": 0.0,
        "float_error": 2.3237648,
        "rest": 6,
        "bound": 86,
        "settled": 4,
        "verdict": "exact",
        "forms": forms,
        "totals": {"float": dense, "quantised": dense, "spiking": spiking | {"neuron_updates": 56752.0}},
        "levels": 16,
        "per_channel": False,
        "start": "mean",
        "finetune": 2,
        "chip_clean": False,
        "max_exponent": 2,
        "spike_input": False,
    }


def mapping() -> dict[str, Any]:
    kinds = [(f"{b[0]}.lif", "neuron", b[3], b[6], b[5], b[4]) for b in BLOCKS]
    kinds += [("block3.skip", "relay", 3136, 3, 4, 0.143), ("head", "readout", 10, 6, 1, None)]
    populations, cores = [], []
    for name, kind, neurons, depth, amount, rate in kinds:
        ids = list(range(len(cores), len(cores) + amount))
        populations.append(
            {"name": name, "kind": kind, "neurons": neurons, "depth": depth, "cores": ids, "weight_bits": 8}
        )
        for place, core in enumerate(ids):
            share = neurons // amount + (place < neurons % amount)
            synapses = min(int(share * (118 - 9 * depth) * (1 + 0.06 * (place % 3))), 127000)
            tile = core // 4
            cores.append(
                {"id": core, "x": tile // 4, "y": tile % 4, "population": name, "neurons": share}
                | {"in_axons": min(900 + 173 * place + 310 * depth, 4096), "out_axons": min(share * 2, 4096)}
                | {"synapses": synapses, "synapse_bits": synapses * 8, "events_per_image": synapses * T * (rate or 0.2)}
            )
    return {
        "chip": "loihi1",
        "mesh": {"width": 8, "height": 4, "cores_per_tile": 4},
        "limits": LIMITS,
        "host": {"layers": ["stem.conv"], "macs": 225792, "note": "It turns pixels into currents once per image."},
        "populations": populations,
        "cores": cores,
        "traffic": {"packets_per_image": 38211.5, "hops_per_image": 71022.0, "max_link_load": 5120.2},
        "steps": 9,
        "equality": {"images": 200, "float_accuracy": 0.88, "quantised_accuracy": 0.875, "chip_accuracy": 0.875}
        | {"spikes": 2231040, "compared": 32614400, "spike_mismatches": 0, "verdict": "exact"}
        | {"membranes": 2000, "membrane_mismatches": 0}
        | {"float_compared": 32614400, "float_mismatches": 81536, "float_verdict": "approximate"}
        | {"float_logit_error": 0.0213, "float_logit_bound": None}
        | {"float_by_layer": {"stem.lif": [0, 5017600], "block1.lif": [81536, 5017600]}},
        "exchange": [
            {"format": "NIR", "file": "network.nir", "verdict": "exact"}
            | {"detail": "0 of 2231040 spikes differ after reading back"},
            {"format": "Lava", "file": "network_lava.npz", "verdict": "exact", "detail": "0 of 84512 spikes differ"},
            {
                "format": "SANA-FE",
                "file": "network.yaml",
                "verdict": "approximate",
                "detail": "largest rate error 0.3 %",
            },
        ],
    }


def raster() -> dict[str, Any]:
    populations = []
    names = [(f"{b[0]}.lif", b[3], b[4]) for b in BLOCKS] + [("block3.skip", 3136, 0.143), ("head", 10, 0.2)]
    for depth, (name, neurons, rate) in enumerate(names):
        bins = min(64, neurons)
        steps = []
        for t in range(T + 5):
            active = 1.0 if min(depth, 5) <= t < min(depth, 5) + T and name != "head" else 0.0
            shape = [1 + 0.9 * math.sin(0.31 * b * (1 + depth % 3) + 0.8 * t) for b in range(bins)]
            steps.append([int(active * neurons / bins * rate * value) for value in shape])
        populations.append({"name": name, "neurons": neurons, "bins": bins, "counts": steps})
    return {"image": 0, "label": "Sneaker", "populations": populations}


FILES: dict[str, Callable[[], Any]] = {
    "config.json": config,
    "environment.json": environment,
    "metrics.jsonl": metrics,
    "summary.json": summary,
    "graph.json": graph,
    "counts.json": counts,
    "energy.json": energy,
    "mapping.json": mapping,
    "raster.json": raster,
}
CONVERTED = "converted/convert.json"


def write_invented_run(folder: Path, leave_out: tuple[str, ...] = (), **changed: Any) -> Path:
    """Write the invented run; `changed` replaces the content of a file, named by its stem.

    With `conversion`, what `snnkit convert` found lies there too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in FILES.items():
        if name in leave_out:
            continue
        content = changed.get(name.split(".")[0], build())
        lines = content if name.endswith(".jsonl") else [content]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    if "conversion" in changed:
        (folder / "converted").mkdir(exist_ok=True)
        (folder / CONVERTED).write_text(json.dumps(changed["conversion"]), encoding="utf-8")
    return folder


@pytest.fixture
def invented() -> dict[str, Callable[[], Any]]:
    """The functions that build the invented files, for a test that wants to change one."""
    return {**FILES, "convert.json": converted, "old energy.json": old_energy}


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write an invented run folder, with some files left out or changed."""
    return lambda leave_out=(), **changed: write_invented_run(tmp_path / "invented-run", leave_out, **changed)
