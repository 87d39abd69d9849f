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


def energy() -> dict[str, Any]:
    constants = {"multiply-accumulates": (4.6, 3.2, 4.6), "accumulates": (0.9, 0.1, 0.9)}
    constants |= {"neuron updates": (1.8, 0.9, 5.5), "weight reads": (0.0, 0.0, 1.25)}
    formulas = {"multiply-accumulates": "MAC × E_MAC", "accumulates": "AC × E_AC"}
    formulas |= {"neuron updates": "updates × (E_MAC + E_AC)", "weight reads": "reads × E_SRAM"}

    def amounts(layer: dict[str, Any]) -> dict[str, float]:
        done = {"multiply-accumulates": layer["mac"], "accumulates": layer["ac"]}
        return done | {"neuron updates": layer["neuron_updates"], "weight reads": layer["mac"] + layer["ac"]}

    def side(spiking: bool) -> dict[str, Any]:
        layers, parts = _layers(spiking), []
        for part, (nominal, low, high) in constants.items():
            amount = sum(amounts(layer)[part] for layer in layers) * 1e-6
            ends = {"low": low * amount, "nominal": nominal * amount, "high": high * amount}
            parts.append({"name": part} | ends | {"formula": formulas[part]})
        per_layer = [
            {"name": layer["name"], "nominal": sum(amounts(layer)[k] * v[0] * 1e-6 for k, v in constants.items())}
            for layer in layers
        ]
        sums = {end: sum(part[end] for part in parts) for end in ("low", "nominal", "high")}
        return sums | {"parts": parts, "per_layer": per_layer}

    source = "Horowitz, ISSCC 2014, figure 1.1.9"
    return {
        "model": "45nm",
        "unit": "uJ",
        "title": "operations in 45 nm CMOS at 0.9 V",
        "source": "Constants of Horowitz, ISSCC 2014; arithmetic only unless the high end says otherwise.",
        "network": side(True),
        "twin": side(False),
        "ends": {
            "low": "8-bit accumulates, no neuron arithmetic beyond the leak",
            "nominal": "32-bit floating point, as most papers count",
            "high": "and a read of every weight from an 8 kB SRAM",
        },
        "constants": [
            {
                "name": "E_MAC fp32",
                "value": 4.6,
                "low": 3.2,
                "high": 4.6,
                "unit": "pJ",
                "source": source,
                "confirmed": True,
            },
            {
                "name": "E_AC fp32",
                "value": 0.9,
                "low": 0.1,
                "high": 0.9,
                "unit": "pJ",
                "source": source,
                "confirmed": True,
            },
            {
                "name": "E_SRAM 8 kB, 32 bit",
                "value": 5,
                "low": 5,
                "high": 5,
                "unit": "pJ",
                "source": source,
                "confirmed": False,
            },
        ],
        "uncounted": [],
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


def write_invented_run(folder: Path, leave_out: tuple[str, ...] = (), **changed: Any) -> Path:
    """Write the invented run; `changed` replaces the content of a file, named by its stem."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, build in FILES.items():
        if name in leave_out:
            continue
        content = changed.get(name.split(".")[0], build())
        lines = content if name.endswith(".jsonl") else [content]
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


@pytest.fixture
def invented() -> dict[str, Callable[[], Any]]:
    """The functions that build the invented files, for a test that wants to change one."""
    return dict(FILES)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write an invented run folder, with some files left out or changed."""
    return lambda leave_out=(), **changed: write_invented_run(tmp_path / "invented-run", leave_out, **changed)
