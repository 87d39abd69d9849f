"""Numbers: how many neurons and synapses a network has, and what one neuron reads and reaches, against a chip's."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from compiler.checking.findings import Findings
from compiler.checking.needs import OUTPUT, Layer
from compiler.checking.rewrites import fewer, narrower_fan_in, widths
from hw.chip import Chip
from hw.quantity import Quantity

HOPELESS = 2
"""What needs so many times what a chip has is refused before synapses are unrolled: rounding may make some of them 0,
but not half."""


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
        check_synapses(found, in_all(chip, "synapses", "synapses_per_core"), 1)
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


def check_synapses(found: Findings, room: Quantity | None, times: int) -> None:
    """Hold all synapses against ``room``, refusing what needs more than ``times`` as many."""
    total = sum(layer.synapses for layer in found.layers)
    if room is None or times == 1:
        found.most("the network", total, "synapses", room, "synapses", _less(found, room, total, 0.5))
    elif total > times * room.value:
        rewrite = _less(found, room, total, 0.5)
        found.most("the network", total, "synapses", replace(room, low=None), "synapses", rewrite)


def _less(found: Findings, room: Quantity | None, total: int, power: float) -> str:
    """What would have ``room``: neurons grow with the widths (power 1), synapses with their square (power 1/2)."""
    if room is None or total <= room.value:
        return ""
    share = room.value / total
    return widths(found.graph, share**power, share)


def synapse_room(chip: Chip) -> Quantity | None:
    """Return the most synapses that the memory of all cores holds, where nothing is stored but weights."""
    bits, cores, weight = (chip.numbers.get(key) for key in ("synapse_bits_per_core", "cores", "weight_bits"))
    if bits is None or cores is None or weight is None:
        return None
    return replace(_times(bits, cores, "synapses"), value=bits.value * cores.value // weight.value, low=None)


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
        most, limit = 0, int(kept.value)
        for row in weight[:4096]:  # one is enough to refuse; large layers need not be sorted to the end
            most = max(most, int(torch.unique(row[row != 0]).numel()))
            if most > limit:
                break
        rewrite = f"quantise its weights to {limit} values (compiler.converting), with training"
        found.most(layer.name, most, "different weights onto one neuron", kept, "weights", rewrite)


def check_capacity(found: Findings) -> None:
    """What can be said of a chip that programs are made for without making one: whether it is hopelessly small."""
    room = synapse_room(found.chip)
    if room is not None:
        check_synapses(found, room, HOPELESS)
    neurons = in_all(found.chip, "neurons", "neurons_per_core")
    total = sum(layer.size for layer in found.layers)
    if neurons is not None and total > HOPELESS * neurons.value:
        rewrite = _less(found, neurons, total, 1.0)
        found.most("the network", total, "neurons", replace(neurons, low=None), "neurons", rewrite)
