"""Numbers: how many neurons and synapses a network has, and what one neuron reads and reaches, against a chip's."""

from __future__ import annotations

import math

from compiler.checking.findings import Findings
from compiler.checking.needs import OUTPUT, Layer
from compiler.checking.rewrites import fewer, narrower_fan_in, widths
from hw.chip import Chip
from hw.quantity import Quantity


def allowed(chip: Chip, key: str) -> Quantity | None:
    """Return a chip's number: a limit of its layers, else one under the shared name."""
    own = getattr(chip.layers, key, None) if chip.layers else None
    return own if isinstance(own, Quantity) else chip.numbers.get(key)


def in_all(chip: Chip, whole: str, each: str) -> Quantity | None:
    """Return the chip's number ``whole``, or else ``each`` of a core times its cores."""
    cores, part = chip.numbers.get("cores"), chip.numbers.get(each)
    if whole in chip.numbers or cores is None or part is None:
        return chip.numbers.get(whole)
    return _times(cores, part, part.unit)


def _times(one: Quantity, other: Quantity, unit: str) -> Quantity:
    sources = one.source if one.source == other.source else f"{one.source}; {other.source}"
    low = (one.low or one.value) * (other.low or other.value)
    both = one.confirmed and other.confirmed
    return Quantity(one.value * other.value, unit, sources, min(low, one.value * other.value), None, both)


def check_sizes(found: Findings) -> None:
    """Hold the whole network against what the chip has of everything."""
    chip, graph, layers = found.chip, found.graph, found.layers
    total, room = sum(layer.size for layer in layers), in_all(chip, "neurons", "neurons_per_core")
    if chip.layers is None or not (chip.layers.neuron_memory or chip.layers.hidden):
        rewrite = _less(found, room, total, 1.0)
        found.most("the network", total, "neurons", room, "neurons", rewrite)
        synapses, room = sum(layer.synapses for layer in layers), in_all(chip, "synapses", "synapses_per_core")
        found.most("the network", synapses, "synapses", room, "synapses", _less(found, room, synapses, 0.5))
    inputs = sum(math.prod(graph.shape(name)) for name in graph.inputs)
    outputs = graph.signals[graph.outputs[0]].size
    hidden = total - sum(layer.size for layer in layers if layer.neuron is None or layer.neuron.output in graph.outputs)
    parts = {
        "inputs": (inputs, "inputs", allowed(chip, "inputs") or chip.numbers.get("input_lines")),
        "hidden": (hidden, "hidden neurons", allowed(chip, "hidden")),
        "outputs": (outputs, "outputs", allowed(chip, "outputs") or chip.numbers.get("output_neurons")),
    }
    for key, (need, unit, limit) in parts.items():
        if limit is not None:
            found.most("the network", need, unit, limit, key, fewer(unit, need, int(limit.value)))


def _less(found: Findings, room: Quantity | None, total: int, power: float) -> str:
    """What would have ``room``: neurons grow with the widths (power 1), synapses with their square (power 1/2)."""
    if room is None or total <= room.value:
        return ""
    share = room.value / total
    return widths(found.graph, share**power, share)


def check_layers(found: Findings) -> None:
    """Hold each layer against what one neuron may read and reach."""
    chip = found.chip
    into = allowed(chip, "fan_in") or chip.numbers.get("in_axons")
    out, kept = allowed(chip, "fan_out"), chip.numbers.get("distinct_weights")
    weighted = not (chip.layers and chip.layers.kernel_memory)  # cores with kernels have no limit of synapses
    for layer in found.layers:
        if weighted:
            rewrite = ""
            if into is not None and layer.fan_in > into.value:
                rewrite = narrower_fan_in(found.graph, layer, int(into.value))
            found.most(layer.name, layer.fan_in, "synapses onto one neuron", into, "fan-in", rewrite)
        if weighted and layer.name != OUTPUT:
            fan_out = fewer("targets of a neuron", layer.fan_out, int(out.value)) if out else ""
            found.most(layer.name, layer.fan_out, "synapses from one neuron", out, "fan-out", fan_out)
        if kept is not None:
            _distinct(found, layer, kept)


def _distinct(found: Findings, layer: Layer, kept: Quantity) -> None:
    """Weights of a neuron that differ: some chips have only a few values for each."""
    for node in layer.weighing:
        weight = node.parameters["weight"]
        if node.op not in ("linear", "conv"):
            continue
        limit = int(kept.value)
        row = weight.flatten(1).sort(1).values
        new = (row[:, 1:] != row[:, :-1]).sum(1) + bool(row.shape[1])
        most = int((new - (row == 0).any(1).long()).max())  # a weight of 0 is no synapse
        rewrite = f"quantise its weights to {limit} values (compiler.converting), with training"
        found.most(layer.name, most, "different weights onto one neuron", kept, "weights", rewrite)
