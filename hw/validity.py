"""What keeps a description from being a chip: numbers that contradict each other. Called when a chip is made."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from hw.lookup import nearest
from hw.numbers import NUMBERS, wrong_numbers
from hw.quantity import Quantity

if TYPE_CHECKING:
    from hw.chip import Build, Chip
    from hw.layers import LayerLimits

_WIDEST = 64
RESETS = ("hard", "soft", "none")
_LAYER_UNITS = {
    "kernel": "pixels",
    "padding": "pixels",
    "channels": "channels",
    "input_map": "pixels",
    "output_map": "pixels",
    "destinations": "layers",
    "inputs": "inputs",
    "hidden": "neurons",
    "outputs": "neurons",
    "fan_in": "synapses",
    "fan_out": "synapses",
    "spikes_per_step": "spikes",
}


def contradictions(chip: Chip) -> list[str]:
    """Return everything in a description that cannot be, a short text each; empty for a chip that can."""
    found = [*_words(chip), *wrong_numbers(chip.numbers)]
    if chip.build is not None:
        found += _build(chip.build)
    if chip.layers is not None:
        found += _layers(chip.layers, chip.numbers)
    # Numbers that are wrong by themselves would only be found again beside others.
    return list(dict.fromkeys(found or _between(chip.numbers)))


def _words(chip: Chip) -> Iterator[str]:
    if not chip.name.strip() or not chip.title.strip():
        yield "a chip needs a name and a title"
    for reset in chip.resets:
        if reset not in RESETS:
            yield f"unknown reset {reset!r}.{nearest(reset, RESETS)} There are {', '.join(RESETS)}"
    for what, words in (("neuron", chip.neurons), ("reset", chip.resets)):
        for word in sorted({word for word in words if words.count(word) > 1}):
            yield f"the {what} {word!r} stands there twice"
        if not all(words):
            yield f"a {what} without a name"
    if chip.reset_value is not None:
        if "hard" not in chip.resets:
            yield f"a reset to {chip.reset_value:g}, but no hard reset"
        if not math.isfinite(chip.reset_value):
            yield f"a reset to {chip.reset_value}, which is not finite"
    if chip.build is not None and not chip.semantics:
        yield "a build, but no semantics that would say what its numbers mean"
    if chip.semantics:
        needed = {"neurons": chip.neurons, "resets": chip.resets}
        lacking = [name for name, given in needed.items() if not given]
        lacking += [key for key in ("cores", "neurons_per_core") if key not in chip.numbers]
        if lacking:
            yield f"the semantics {chip.semantics!r}, but nothing to make programs from: no {', no '.join(lacking)}"


def _build(build: Build) -> Iterator[str]:
    a, s, m = build.arithmetic, build.synapses, build.mesh
    for part, name in ((a, "arithmetic"), (s, "synapses"), (m, "mesh")):
        if len(part.source.strip()) < 3:
            yield f"the {name} has no source"
    if not _ascending(a.weight_bits, 1):
        yield f"weight_bits {a.weight_bits}: give one or more widths from 1 to {_WIDEST}, in ascending order"
    low, high = a.weight_exponent
    if not -_WIDEST <= low <= high <= _WIDEST:
        yield f"weight exponents from {low} to {high}: give the lowest and the highest, within ±{_WIDEST}"
    if s.chunk_weights < 1:
        yield f"chunks of {s.chunk_weights} weights"
    widths = {"threshold_shift": a.threshold_shift, "payload_bits": a.payload_bits, "delay_bits": s.delay_bits}
    for name, bits in {**widths, "tag_bits": s.tag_bits, "chunk_header_bits": s.chunk_header_bits}.items():
        if not 0 <= bits <= _WIDEST:
            yield f"{name} of {bits}: 0 to {_WIDEST}"
    if not _ascending(s.index_bits, 0):
        yield f"index_bits {s.index_bits}: give one or more widths from 0 to {_WIDEST}, in ascending order"
    elif 2 ** max(s.index_bits) < build.core.neurons.value:
        room, held = 2 ** max(s.index_bits), build.core.neurons.value
        yield f"neurons_per_core of {held:,.0f}, but an index of {max(s.index_bits)} bits addresses {room:,}"
    if min(m.width, m.height, m.cores_per_tile) < 1:
        yield f"a mesh of {m.width}×{m.height} tiles of {m.cores_per_tile} cores"


def _ascending(bits: tuple[int, ...], least: int) -> bool:
    return bool(bits) and least <= min(bits) and max(bits) <= _WIDEST and list(bits) == sorted(set(bits))


def _layers(layers: LayerLimits, numbers: Mapping[str, Quantity]) -> Iterator[str]:
    if len(layers.source.strip()) < 3:
        yield "layers have no source"
    for name, unit in _LAYER_UNITS.items():
        limit = getattr(layers, name)
        if limit is None:
            continue
        least = 0 if name == "padding" else 1
        if limit.unit != unit:
            yield f"layers.{name} is given in {limit.unit!r}, it is in {unit}"
        if not least <= limit.value < math.inf or limit.value != int(limit.value):
            yield f"layers.{name} is {limit.value:g}: a whole number from {least} on"
    for name in ("strides", "pools", "neuron_memory", "kernel_memory", "bias_memory"):
        if any(value < 1 for value in getattr(layers, name)):
            yield f"layers.{name} {getattr(layers, name)}: whole numbers from 1 on"
    for stride, kernels in layers.stride_kernels.items():
        if stride not in layers.strides:
            yield f"kernels for a stride of {stride}, but strides {_listed(layers.strides)}"
        if layers.kernel is not None and any(not 1 <= kernel <= layers.kernel.value for kernel in kernels):
            yield f"a stride of {stride} with kernels {_listed(kernels)}, but kernels up to {layers.kernel.value:g}"
    cores = numbers.get("cores")
    for name in ("neuron_memory", "kernel_memory", "bias_memory"):
        words = getattr(layers, name)
        if words and cores is not None and len(words) != cores.value:
            yield f"layers.{name} of {len(words)} cores, but cores {cores.value:g}"
    words, neurons = layers.neuron_memory, numbers.get("neurons")
    if words and neurons is not None and sum(words) < neurons.interval.low:
        yield f"neurons {neurons.value:,.0f}, but layers.neuron_memory holds {sum(words):,}"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values)) or "none"


# A limit, and the numbers whose product it may not exceed.
_AT_MOST = (
    ("neurons", ("cores", "neurons_per_core")),
    ("synapses", ("cores", "synapses_per_core")),
    ("cores", ("mesh_width", "mesh_height", "cores_per_tile")),
    ("cores", ("addressable_cores",)),
    ("weight_bits", ("synapse_word_bits",)),
    ("synapse_word_bits", ("synapse_bits_per_core",)),
    ("weight_bits", ("synapse_bits_per_core",)),
    ("synapse_bits_per_core", ("core_memory_bits",)),
    ("decay_bits", ("state_bits",)),
    ("idle_power_mw", ("power_mw",)),
    ("pj_per_inactive_update", ("pj_per_neuron_update",)),
)


def _between(numbers: Mapping[str, Quantity]) -> Iterator[str]:
    """Yield the pairs that contradict each other whatever lies in their ranges is true."""
    for key, factors in _AT_MOST:
        if key not in numbers or not all(factor in numbers for factor in factors):
            continue
        ends = numbers[key].interval
        least = ends.high if NUMBERS[key].formats else ends.low
        most = math.prod(numbers[factor].interval.high for factor in factors)
        if least > most:
            shown = " × ".join(factors)
            yield f"{key} of {_plain(least)}, but {shown} {'are' if len(factors) > 1 else 'is'} {_plain(most)}"
    if {"index_bits", "neurons_per_core"} <= set(numbers):
        bits, held = int(numbers["index_bits"].interval.high), numbers["neurons_per_core"].interval.low
        if 2**bits < held:
            yield f"neurons_per_core of {held:,.0f}, but an index of {bits} bits addresses {2**bits:,}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"
