"""The stages behind the verbs: each takes what the one before made and writes its JSON into the run folder."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compiler.analysis.readings import readings
from compiler.analysis.spike_driven import spike_driven
from compiler.commands.source import batch_axis, first
from compiler.commands.tested import Samples
from compiler.conventions import Conventions
from compiler.converting import relu_twin
from compiler.counting import count
from compiler.exchange import nir
from compiler.graph import Graph, is_neuron
from compiler.graph.picture import describe
from compiler.interpreting import interpret
from compiler.mapping.partition import spatial_order
from compiler.parts import PartCounts, Parts, count_parts
from compiler.pricing import SCHEMA, Priced, companions, price, skipping
from compiler.program import Equality, Program, Trace
from compiler.targets.loihi.image import MappedImage
from compiler.traffic import traffic
from hw.counts import Counts, Traffic
from hw.energy import MODELS, Energy
from snnkit.errors import CorruptFileError
from snnkit.files import read_json, weights_of, write_json

_BATCH = 100
_TWIN_SAMPLES = 100
"""On so many the zeros of the ordinary twin are counted."""

COUNTS_SCHEMA = "snnkit.counts/2"
RASTER_BINS = 64


def batches(graph: Graph, images: Tensor) -> list[Tensor]:
    """Cut images (B, …), or sequences (T, B, …), into batches of samples that fit small memories."""
    return list(torch.split(images, _BATCH, batch_axis(graph, images)))


def describe_graph(graph: Graph, folder: Path | None) -> dict[str, Any]:
    """Return a typed graph as plain data: its blocks and edges, operations, types and verdict; write graph.json."""
    verdict = spike_driven(graph)
    description = describe(graph, broken(graph))
    description |= {"spike_driven": verdict.spike_driven, "verdict": str(verdict), "breaks": verdict.breaks}
    if folder is not None:
        write_json(folder / "graph.json", description)
    return description


def broken(graph: Graph) -> frozenset[str]:
    """Return the nodes that keep a spiking network from being spike-driven; an ordinary one makes no such claim."""
    if not any(is_neuron(node) for node in graph):
        return frozenset()
    return frozenset(reading.node.name for reading in readings(graph) if reading.breaks)


def count_and_price(
    graph: Graph,
    images: Tensor | Iterable[Tensor],
    models: Sequence[str],
    folder: Path | None,
    conventions: Conventions | None = None,
    teacher: Counts | None = None,
    strict: bool = False,
) -> Priced:
    """Count a simplified graph and its ordinary companions on images, price all; write counts.json and energy.json.

    ``images`` is (B, …) or (T, B, …), or an iterable of such batches, of which one is held at a time. ``models``: names
    of energy models; all that can price the network where empty.
    """
    parts = batches(graph, images) if isinstance(images, Tensor) else images
    first_part: list[Tensor] = []

    def noted() -> Iterator[Tensor]:
        for part in parts:
            first_part.extend([_one_step(graph, part)] * (not first_part))
            yield part

    network = count(graph, noted(), conventions=conventions)
    counts = {"network": network, **companions(graph, first_part, teacher, conventions)}
    priced = price(graph.name, counts, models, strict)
    _write_priced(priced, graph, folder, {})
    return priced


def count_and_price_parts(
    given: Parts,
    images: Iterable[Tensor],
    models: Sequence[str],
    folder: Path | None,
    conventions: Conventions,
    teacher: Counts | None = None,
    strict: bool = False,
) -> tuple[Priced, PartCounts]:
    """``count_and_price`` for what is made of parts; the files say as well how often each part ran for an image."""
    own = given.with_conventions(conventions)
    spiking = any(is_neuron(node) for node in own.whole)
    alike = replace(conventions, batch_norm="folded")
    counted = count_parts(own, images, conventions, relu_twin if spiking else None, _TWIN_SAMPLES, alike)
    counts = {"network": counted.network}
    if counted.twin is not None:
        counts |= {"twin": counted.twin, "twin_skipping": skipping(counted.twin)}
    if teacher is not None:
        counts |= {"teacher": teacher, "teacher_skipping": skipping(teacher)}
    priced = price(own.whole.name, counts, models, strict)
    _write_priced(priced, own.whole, folder, {"runs_per_image": dict(counted.runs)})
    return priced, counted


def _write_priced(priced: Priced, graph: Graph, folder: Path | None, more: dict[str, Any]) -> None:
    """Write counts.json and energy.json of a run."""
    if folder is None:
        return
    more = {**more, "weights": weights_of(folder)}
    write_json(folder / "counts.json", {**_counted(priced), **more, "signals": _signals(graph)})
    write_json(folder / "energy.json", {**priced.to_dict(), **more})


def _counted(priced: Priced) -> dict[str, Any]:
    network = priced.counts["network"]
    about = {"schema": COUNTS_SCHEMA, "images": network.images, "samples": network.images}
    others = {entry: one.to_dict() for entry, one in priced.counts.items() if not entry.endswith("_skipping")}
    return {**about, "timesteps": network.timesteps, **others}


def _signals(graph: Graph) -> dict[str, Any]:
    """Return the types of all signals, and what they say of a spike-driven claim."""
    verdict = spike_driven(graph)
    states = {name for state in graph.states for name in (state.read, state.written)}
    return {
        "spike_driven": verdict.spike_driven,
        "verdict": str(verdict),
        "first_break": verdict.first_break,
        "encoding_layers": list(verdict.encoding_layers),
        "edges": [
            {"signal": s.name, "type": str(s.type), "shape": list(s.shape)}
            for s in graph.signals.values()
            if s.name not in states
        ],
    }


def _one_step(graph: Graph, images: Tensor) -> Tensor:
    """Samples as an ordinary network takes them, (B, …): of a sequence its first step."""
    some = first(graph, images, _TWIN_SAMPLES)
    return some[0] if batch_axis(graph, images) else some


def describe_mapping(program: Program, folder: Path | None, part: str = "") -> dict[str, Any]:
    """Return the mapping as plain data, with what stays on the host; write mapping.json.

    ``part``: in words, of which part of a network the program is; "" for all of it.
    """
    description = program.to_dict() | ({"part": part} if part else {})
    host = program.host_graph
    macs = 0.0
    if host is not None:
        blank = torch.zeros(1, *host.shape(host.inputs[0]), dtype=torch.float64)
        macs = count(host, [blank]).total("mac")
    description["host"] = {
        "layers": list(program.host_layers),
        "macs": macs,
        "note": "computed once per image on the host from real pixels; enters the chip as bias current",
        "operations": list(program.host_operations),
    }
    if folder is not None:
        description["weights"] = weights_of(folder)
        write_json(folder / "mapping.json", description)
    return description


def run_on_chip(
    program: Program, tested: Samples, folder: Path | None, marks: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Run test samples in integers, compare with the quantised graph, and add what happened to mapping.json.

    ``marks`` go into mapping.json as they are.
    """
    trace = program.simulate(tested.x)
    equality = program.verify(tested.x, trace)
    result = compared(equality) | tested.scores(program, trace, equality) | {"measure": tested.measure}
    description = describe_mapping(program, None, tested.what)
    for core, events in zip(description["cores"], trace.synaptic_events, strict=True):
        core["events_per_image"] = float(events) / equality.images
    description["equality"] = result
    priced = None
    if "mesh" in description:
        crossing = traffic(program, trace, equality.images)
        priced = chip_energies(crossing, equality.images)
        description["traffic"] = crossed(crossing)
    if trace.counters:
        description["counters"] = {name: float(value) for name, value in trace.counters.items()}
        result["counters"] = description["counters"]
    if priced is not None:
        description["energy"] = [model.to_dict() for model in priced.models]
    if folder is not None:
        path = folder / "mapping.json"
        before = read_json(path) if path.exists() else {}
        if before.get("chip") == program.chip.name and "exchange" in before:
            description["exchange"] = before["exchange"]
        if priced is not None:
            _add_models(folder, priced)
        write_json(path, {**description, "weights": weights_of(folder), **(marks or {})})
        write_json(folder / "raster.json", raster(program, trace, tested.first))
    result["energy"] = [_in_words(model.results["network"]) for model in (priced.models if priced else ())]
    return result


def _in_words(energy: Energy) -> dict[str, Any]:
    interval = energy.total
    return {"model": energy.model, "title": energy.title, **asdict(interval)}


def compared(equality: Equality) -> dict[str, Any]:
    """Return both comparisons as plain data: float → quantised graph (``float_…``), quantised graph → program."""
    return {
        "images": equality.images,
        "spikes": equality.spikes,
        "compared": equality.compared,
        "spike_mismatches": equality.mismatches,
        "membranes": equality.quantised_logits.numel(),
        "membrane_mismatches": equality.membrane_mismatches,
        "verdict": equality.verdict,
        "float_compared": equality.float_compared,
        "float_mismatches": equality.float_mismatches,
        "float_by_layer": {name: list(pair) for name, pair in equality.float_by_layer.items()},
        "float_logit_error": equality.float_logit_error,
        "float_logit_bound": _bound(equality),
        "float_verdict": equality.float_verdict,
        "float_proven": equality.float_proven,
    }


def _bound(equality: Equality) -> float | None:
    """What the logits differ by at most; None where spikes differ or nothing is proven."""
    bound = equality.float_logit_bound
    return bound if math.isfinite(bound) and not equality.float_mismatches else None


def crossed(traffic: Traffic) -> dict[str, Any]:
    """Return the traffic of a mapped network as plain data for mapping.json."""
    return {
        **asdict(traffic),
        "packets_per_image": traffic.packets,
        "host_packets_per_image": traffic.host_packets,
        "hops_per_image": traffic.hops_east_west + traffic.hops_north_south,
        "max_link_load": traffic.busiest_link,
    }


def chip_energies(traffic: Traffic, images: int) -> Priced | None:
    """Price what a mapped network did by the models of its chip; None where there is none."""
    counts = {"network": Counts((), traffic.steps, images, traffic=traffic)}
    names = [name for name, model in MODELS.items() if model.whole and model.refuse(counts["network"]) is None]
    return price(traffic.chip, counts, names) if names else None


def _add_models(folder: Path, priced: Priced) -> None:
    """Put estimates of a mapped network into a run's energy.json, in the place of earlier ones of the same models."""
    path = folder / "energy.json"
    data = read_json(path) if path.exists() else {}
    if data.get("schema") != SCHEMA:
        return
    new = priced.to_dict()["models"]
    names = {model["model"] for model in new}
    kept = [model for model in data["models"] if model["model"] not in names]
    refused = {name: why for name, why in data.get("refused", {}).items() if name not in names}
    write_json(path, {**data, "models": kept + new, "refused": refused})


def mapped_models(folder: Path | None) -> list[str]:
    """Return the models of a mapped network that a run's energy.json holds."""
    try:
        data = {} if folder is None else read_json(folder / "energy.json")
    except CorruptFileError:  # or there is none: it is written anew
        return []
    held = data.get("models") if isinstance(data, dict) else None
    names = [model.get("model") for model in held or () if isinstance(model, dict)]
    return [name for name in names if name in MODELS and MODELS[name].whole]


def raster(program: Program, trace: Trace, label: str) -> dict[str, Any]:
    """Return the first image's spikes, binned over neurons in (row, column, channel) order."""
    populations = []
    for layer, order in _orders(program, trace):
        bins = min(RASTER_BINS, len(order))
        steps = trace.spikes[layer][:, 0, order]
        sums = [[int(part.sum()) for part in np.array_split(row, bins)] for row in steps]
        populations.append({"name": layer, "neurons": len(order), "bins": bins, "counts": sums})
    return {"image": 0, "label": label, "populations": populations}


def _orders(program: Program, trace: Trace) -> Iterator[tuple[str, Any]]:
    """Yield each layer with the order of its neurons: that of the chip's cores, where it has such."""
    if not isinstance(program.image, MappedImage):
        yield from ((layer, np.arange(spikes.shape[2])) for layer, spikes in trace.spikes.items())
        return
    shown = set()
    for placed in program.mapping.lowered.placed:
        if placed.kind == "neuron" and placed.layer not in shown:  # a neuron of several levels has several
            shown.add(placed.layer)
            yield placed.layer, spatial_order(placed)


def exchange_nir(graph: Graph, images: Tensor, path: Path) -> dict[str, Any]:
    """Write NIR, read it back with ``nir.read``, run both graphs and compare every spike."""
    written = nir.write(graph, path)
    again = nir.read(path, timesteps=graph.timesteps)
    layers = [node.output for node in graph if is_neuron(node)]
    theirs = [written.names[name] for name in layers]
    differing = total = 0
    samples = images.shape[batch_axis(graph, images)]
    for batch in batches(graph, images):
        _, ours = interpret(graph, batch, probes=layers)
        _, read = interpret(again, batch, timesteps=graph.timesteps, probes=theirs)
        for mine, other in zip(layers, theirs, strict=True):
            differing += int((ours[mine] != read[other]).sum())
            total += int(ours[mine].sum())
    return {
        "format": "NIR",
        "file": path.name,
        "verdict": "exact" if differing == 0 else "approximate",
        "detail": f"{differing:,} of {total:,} spikes differ after reading back ({samples:,} images)",
        "differing": differing,
    }


def record_exchange(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Add what was exchanged to mapping.json, replacing earlier entries of the same format."""
    path = folder / "mapping.json"
    description = read_json(path) if path.exists() else {}
    formats = {row["format"] for row in rows}
    kept = [row for row in description.get("exchange", []) if row["format"] not in formats]
    write_json(path, {**description, "exchange": kept + rows})
