"""An audit as plain data, schema ``snnkit.audit/1`` (docs/audit.md): every other form is made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from compiler.analysis.readings import readings
from compiler.analysis.spike_driven import spike_driven
from compiler.auditing.measuring import Estimates, Judged, Measured
from compiler.auditing.subject import Subject
from compiler.graph import Graph
from compiler.pricing import ENTRIES
from hw.counts import Counts, LayerCounts
from hw.energy import Energy
from hw.quantity import Quantity

SCHEMA = "snnkit.audit/1"

_COUNTS = (
    *("dense_macs", "padding_macs", "mac", "ac", "shift_adds", "synaptic_events", "bias_adds", "spikes"),
    *("neuron_updates", "activations", "adds", "multiplies", "divisions", "exponentials", "roots", "lookups"),
)


def document(subject: Subject, measured: Measured, judged: Sequence[Judged], strict: bool) -> dict[str, Any]:
    """Return everything that an audit found."""
    uncounted = list(measured.network.uncounted)
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "subject": _subject(subject, measured.network),
        "verdict": _verdict(subject.graph, subject.spiking),
        "totals": _totals(measured),
        "layers": _layers(measured),
        "entries": {**{name: ENTRIES[name] for name in measured.counts}, "qnn": ENTRIES["qnn"]},
        "energy": [_energy(one) for one in measured.estimates],
        "formula": _formula(measured),
        "claims": [_claim(one, subject) for one in judged],
        "uncounted": uncounted,
        "complete": not uncounted,
    }
    return {**found, "strict": _strict(measured) if strict else None}


def _subject(subject: Subject, counts: Counts) -> dict[str, Any]:
    graph = subject.graph
    return {
        "title": subject.title,
        "kind": subject.kind,
        "name": graph.name,
        "spiking": subject.spiking,
        "input": list(graph.shape(graph.inputs[0])),
        "input_type": str(graph.type(graph.inputs[0])),
        "static_input": graph.static_input,
        "timesteps": counts.timesteps,
        "samples": counts.images,
        "data": subject.data,
        "noise": subject.noise,
        "weights": subject.weights,
        "trained": subject.trained,
        "measured": subject.measured,
        "steps_equal": subject.steps_equal,
        "conventions": dict(counts.conventions),
        "notes": list(subject.notes),
    }


def _verdict(graph: Graph, spiking: bool) -> dict[str, Any]:
    """Whether it is spike-driven, the first edge that breaks it, and where events are other than 0 and 1."""
    if not spiking:
        words = "an ordinary network: it has no neurons and claims nothing"
        return {"spike_driven": None, "words": words, "first_break": None, "layer": "", "breaks": 0} | {
            "encoding_layers": [],
            "graded": {"layers": 0, "first": None},
            "edges": [],
        }
    found, read = spike_driven(graph), readings(graph)
    graded = [one for one in read if one.type.is_event and str(one.type) != "binary"]
    first = f"{graded[0].node.name} reads {graded[0].type}" if graded else None
    return {
        "spike_driven": found.spike_driven,
        "words": str(found),
        "first_break": found.first_break,
        "layer": found.layer,
        "breaks": found.breaks,
        "encoding_layers": list(found.encoding_layers),
        "graded": {"layers": len({one.node.name for one in graded}), "first": first},
        "edges": [
            {"signal": one.signal, "type": str(one.type), "layer": one.node.name, "op": one.node.op}
            for one in read
            if one.breaks
        ],
    }


def _totals(measured: Measured) -> dict[str, Any]:
    network, twin = measured.network, measured.twin
    neurons = [layer for layer in network.per_layer if layer.rate is not None and layer.neuron_updates]
    updates = sum(layer.neuron_updates for layer in neurons)
    spikes = sum(layer.spikes or 0.0 for layer in neurons)
    return {
        "network": {name: network.total(name) for name in _COUNTS},
        "twin": None if twin is None else {name: twin.total(name) for name in _COUNTS},
        "mean_rate": spikes / updates if updates else None,
        "neurons": sum(layer.neurons or 0 for layer in neurons),
        "silent": [layer.name for layer in neurons if not layer.spikes],
    }


def _layers(measured: Measured) -> list[dict[str, Any]]:
    """Every layer that counts something, in the order of execution."""
    twin = {} if measured.twin is None else {layer.name: layer for layer in measured.twin.per_layer}
    energies = {
        one.model.name: dict(one.result.results["network"].per_layer)
        for one in measured.estimates
        if one.result is not None
    }
    return [
        _layer(layer, twin.get(layer.name), {model: by_layer.get(layer.name) for model, by_layer in energies.items()})
        for layer in measured.network.per_layer
        if layer.rate is not None or any(getattr(layer, name) for name in _COUNTS)
    ]


def _layer(layer: LayerCounts, twin: LayerCounts | None, energies: Mapping[str, float | None]) -> dict[str, Any]:
    return {
        "name": layer.name,
        "op": layer.op,
        "kind": layer.kind,
        "reads": layer.input_type,
        "rate": layer.rate,
        "neurons": layer.neurons,
        "static": layer.static,
        **{name: getattr(layer, name) or 0.0 for name in _COUNTS},
        "half_widths": dict(layer.spread),
        "twin_mac": None if twin is None else twin.mac,
        "energy": {model: value for model, value in energies.items() if value is not None},
    }


def _energy(found: Estimates) -> dict[str, Any]:
    model, result = found.model, found.result
    constants = [{"name": name, **asdict(one), **_ends(one)} for name, one in model.constants.items()]
    network = None if result is None else result.results["network"]
    return {
        "model": model.name,
        "title": model.title,
        "unit": model.unit,
        "technology_nm": model.technology_nm,
        "precision": model.precision,
        "scope": model.scope,
        "ends": dict(model.ends),
        "formulas": dict(model.formulas),
        "constants": constants,
        "choices": [{"name": name, **asdict(one)} for name, one in model.choices.items()],
        "refused": found.refused or None,
        "results": {} if result is None else {name: _result(one) for name, one in result.results.items()},
        "refused_entries": {} if result is None else dict(result.refused),
        "ratios": found.ratios(),
        "break_even": None if result is None or result.break_even is None else result.break_even.to_dict(),
        "uncounted": [] if network is None else list(network.uncounted),
        "assumed": [] if network is None else list(network.assumed),
    }


def _ends(constant: Quantity) -> dict[str, float]:
    return {"low": constant.interval.low, "high": constant.interval.high}


def _result(energy: Energy) -> dict[str, Any]:
    return {name: value for name, value in energy.to_dict().items() if name != "per_layer"}


def _formula(measured: Measured) -> dict[str, Any]:
    """The papers' formula on the same network: with the first layer charged once, and at each step as some do."""
    return {
        "words": "E = 4.6 pJ · FL of layers that read real numbers + 0.9 pJ · Σ rate · T · FL",
        **{
            way.replace(" ", "_"): {"mj": one.energy_mj, "macs": one.macs, "accumulates": one.accumulates}
            for way, one in measured.formula.items()
        },
        "layers": [
            {"name": row.name, "operations": row.operations, "rate": row.rate, "real": row.real}
            for row in measured.formula["once"].layers
        ],
    }


def _claim(judged: Judged, subject: Subject) -> dict[str, Any]:
    """A claim beside the counts; ``holds`` is None where it hangs on rates that are not the network's own."""
    free = "MAC" in judged.claim.unit or not subject.spiking
    known = subject.measured or free
    return {
        "claim": str(judged.claim),
        "value": judged.claim.value,
        "unit": judged.claim.unit,
        "kind": judged.claim.kind,
        "counted": judged.counted,
        "holds": judged.holds if known else None,
        "must_hold": judged.must_hold,
        "or": judged.other or None,
        "left_out": (known and judged.left_out) or None,
        "implied_rate": {way.replace(" ", "_"): rate for way, rate in judged.implied_rate.items()} or None,
        "explanations": [
            {"name": one.name, "value": one.value, "difference": one.difference, "error": one.is_error}
            | {"words": one.sentence}
            for one in judged.explanations
        ],
    }


def _strict(measured: Measured) -> list[str]:
    """What a strict audit does not let pass; a model that is for others, and was not asked for, is no reason."""
    reasons = [f"{name} is not counted" for name in measured.network.uncounted]
    return reasons + [f"{one.model.name}: {one.refused}" for one in measured.estimates if one.refused and one.applies]
