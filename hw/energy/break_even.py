"""Break-even: how busy a spiking network may be before the ordinary one beside it takes less.

What hangs on events is scaled by one factor m, all else (updates, biases, real layers) stays as it is:

    E(m) = E₀ + m·(E₁ − E₀),    m* = (E_other − E₀) / (E₁ − E₀),    rate* = m* · measured rate

E₁ is the price as measured, E₀ that without any event. A layer's rate is that of the values it reads, per step; the
network's that of its neurons. Where E₀ alone is more than the other takes, no rate is low enough: rate* is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hw.counts import Counts, LayerCounts
from hw.energy.model import EnergyModel
from hw.energy.registry import model_of

_OF_EVENTS = ("ac", "shift_adds", "synaptic_events", "resets", "input_events", "output_events")


@dataclass(frozen=True)
class BreakEven:
    """``rate`` below which a network (or layer) takes less than the other, and ``measured``; None where none is.

    ``per_layer`` maps the name of a layer that reads events to its own (rate, measured) pair.
    """

    rate: float | None
    measured: float | None
    per_layer: Mapping[str, tuple[float | None, float | None]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        layers = [{"name": name, "break_even": pair[0], "rate": pair[1]} for name, pair in self.per_layer.items()]
        return {"total": {"rate": self.rate, "measured_rate": self.measured}, "per_layer": layers}


def break_even(model: str | EnergyModel, counts: Counts, other: Counts) -> BreakEven:
    """Compare a spiking network with an ordinary one of the same layers, both priced by ``model``.

    Args:
        model: an energy model, or its name.
        counts: of the spiking network.
        other: of the ordinary one; layers of the same name are compared one by one.

    Raises:
        UnknownNameError: no such model.
        EstimateError: the model cannot price them.
    """
    model = model_of(model)
    priced = model.estimate(counts)
    silent, others = model.estimate(without_events(counts)), model.estimate(other)
    own, idle, twin = (dict(one.per_layer) for one in (priced, silent, others))
    layers = {}
    for layer in counts.per_layer:
        busy = input_rate(layer)
        if busy is not None and twin.get(layer.name):
            layers[layer.name] = (_rate(own[layer.name], idle[layer.name], twin[layer.name], busy), busy)
    neurons = sum(layer.neuron_updates for layer in counts.per_layer if layer.spikes is not None)
    rate = counts.total("resets") / neurons if neurons else None
    measured, still, beside = (one.total.nominal for one in (priced, silent, others))
    return BreakEven(None if rate is None else _rate(measured, still, beside, rate), rate, layers)


def input_rate(layer: LayerCounts) -> float | None:
    """Return how many of the values that a layer of weights reads in a step are events; None where they are real."""
    if layer.kind != "synapse" or layer.input_type == "real" or not layer.inputs:
        return None
    return layer.input_events / (layer.inputs * layer.evaluations)


def without_events(counts: Counts) -> Counts:
    """Return the counts of the same network had nothing ever fired."""
    return replace(counts, per_layer=tuple(_silent(layer) for layer in counts.per_layer), traffic=None)


def _silent(layer: LayerCounts) -> LayerCounts:
    none: dict[str, Any] = dict.fromkeys(_OF_EVENTS, 0.0)
    none["spikes"] = None if layer.spikes is None else 0.0
    none["rate"] = None if layer.rate is None else 0.0
    none["weight_fetches"] = max(layer.weight_fetches - layer.ac - layer.shift_adds, 0.0)
    return replace(layer, **none)


def _rate(own: float, idle: float, other: float, measured: float) -> float | None:
    if own <= idle:
        return None  # nothing hangs on events, or there were none
    return max(other - idle, 0.0) / (own - idle) * measured
