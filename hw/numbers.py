"""Names of a chip's numbers, shared by all chips so that these can be compared: unit, meaning, and what is possible.

A number of another name, of another unit or outside of what is possible is refused when a chip is made. Sizes of
memories are in bits; sources write kB, KB and MB, which are read as 1024 and 1024² bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hw.lookup import nearest
from hw.quantity import Quantity


@dataclass(frozen=True)
class Number:
    """One name: ``units`` that it may have, ``text`` says what it is; its values lie from ``low`` to ``high``.

    ``whole``: only whole numbers make sense; ``formats``: its range is no doubt, but what there is to choose from.
    """

    units: tuple[str, ...]
    text: str
    low: float = 1
    high: float = 1e12
    whole: bool = True
    formats: bool = False


def _count(unit: str, text: str, high: float = 1e12) -> Number:
    return Number((unit,), text, 1, high)


def _measure(unit: str, text: str, low: float, high: float) -> Number:
    return Number((unit,), text, low, high, whole=False)


NUMBERS: Mapping[str, Number] = {
    # The silicon.
    "node_nm": _measure("nm", "process node", 1, 1000),
    "area_mm2": _measure("mm2", "area of the die", 0.001, 100_000),
    "transistors": _count("transistors", "transistors of the chip"),
    "clock_mhz": _measure("MHz", "clock", 0.001, 100_000),
    "power_mw": _measure("mW", "power of the chip at work", 0, 1e7),
    "idle_power_mw": _measure("mW", "power of the chip at rest", 0, 1e7),
    "step_ns": _measure("ns", "time of one step", 0.1, 1e12),
    # How much of what.
    "cores": _count("cores", "neuron cores of the chip", 1e7),
    "host_cores": _count("cores", "processors beside the neuron cores", 1e4),
    "addressable_cores": _count("cores", "cores that a system of such chips can address", 1e9),
    "neurons": _count("neurons", "neurons of the chip"),
    "neurons_per_core": Number(("neurons", "compartments"), "neurons of a core", 1, 1e9),
    "synapses": _count("synapses", "synapses of the chip", 1e15),
    "synapses_per_core": _count("synapses", "synapses of a core"),
    "fan_in": _count("synapses", "synapses onto one neuron", 1e9),
    "fan_out": _count("synapses", "synapses from one neuron", 1e9),
    "in_axons": _count("axons", "axons into a core: sources that it can tell apart", 1e9),
    "out_axons": _count("axons", "axons out of a core", 1e9),
    "targets_per_neuron": _count("cores", "cores that one neuron can send to", 1e7),
    "input_lines": _count("inputs", "inputs of the chip", 1e9),
    "output_neurons": _count("neurons", "neurons that are read out", 1e9),
    "distinct_weights": _count("weights", "different weights that one neuron, or core, can hold", 1e9),
    "synaptic_states": _count("states", "synaptic currents of a neuron", 64),
    "compartment_configurations": _count("configurations", "sets of neuron constants of a core", 1e6),
    "threshold_configurations": _count("configurations", "thresholds of a core", 1e6),
    "synapse_configurations": _count("configurations", "synapse formats of a core", 1e6),
    # Memories.
    "synapse_bits_per_core": _count("bits", "synapse memory of a core"),
    "synapse_words_per_core": _count("words", "synapse words of a core"),
    "core_memory_bits": _count("bits", "all memory of a core", 1e15),
    "memory_bits": _count("bits", "all memory on the chip", 1e15),
    "dram_bits": _count("bits", "memory beside the chip", 1e18),
    # Formats.
    "weight_bits": Number(("bits",), "a weight; the range: the formats there are", 1, 64, formats=True),
    "synapse_word_bits": _count("bits", "a word of synapse memory", 4096),
    "index_bits": _count("bits", "the longest index of a synapse's target", 64),
    "state_bits": _count("bits", "a membrane", 64),
    "current_bits": _count("bits", "a synaptic current", 64),
    "threshold_bits": _count("bits", "a threshold", 64),
    "bias_mantissa_bits": _count("bits", "the mantissa of a bias", 64),
    "bias_exponent_bits": _count("bits", "the exponent of a bias", 16),
    "decay_bits": _count("bits", "a decay constant", 64),
    "leak_bits": _count("bits", "a leak that is subtracted", 64),
    "refractory_bits": _count("bits", "a refractory period", 64),
    "payload_bits": _count("bits", "what a graded event carries, sign included", 64),
    # Time and traffic.
    "delay_steps": _count("steps", "longest delay of a synapse", 1e6),
    "mesh_width": _count("tiles", "tiles from west to east", 1e5),
    "mesh_height": _count("tiles", "tiles from north to south", 1e5),
    "cores_per_tile": _count("cores", "cores of a tile", 1e5),
    "core_spikes_per_step": _count("spikes", "spikes of a core and step that arrive", 1e9),
    "neuron_spikes_per_step": _count("spikes", "spikes of a neuron in one step", 1e6),
    "packets_per_step": _count("packets", "packets between cores that a step can hold", 1e12),
    "delayed_events_per_step": _count("events", "events that a core can hold for one later step", 1e9),
    "event_queue": _count("events", "events that wait for a core", 1e9),
    "cycles_per_synop": _measure("cycles", "clock cycles of a synaptic operation", 0.001, 1e6),
    # Energies, each as far as the measurement behind it went.
    "pj_per_synop": _measure("pJ", "energy of a synaptic operation", 0, 1e6),
    "pj_per_neuron_update": _measure("pJ", "energy of a neuron's update", 0, 1e6),
    "pj_per_inactive_update": _measure("pJ", "energy of the update of a neuron at rest", 0, 1e6),
    "pj_per_message": _measure("pJ", "energy of sending one message", 0, 1e6),
    "pj_per_hop": _measure("pJ", "energy of a message's way from tile to tile", 0, 1e6),
}
"""Every name, in the order in which a chip's numbers are shown."""
MEMORIES = ("synapse_bits_per_core", "core_memory_bits", "memory_bits", "dram_bits")
"""Those that are sizes of memories, in bits."""
OF_THE_WHOLE = ("area_mm2", "transistors", "power_mw", "idle_power_mw", "neurons", "synapses", "memory_bits")
"""Those that are sums over a chip's cores."""


def wrong_numbers(numbers: Mapping[str, Quantity]) -> Iterator[str]:
    """Yield what is wrong with each number by itself: its name, unit, size or source."""
    for key, quantity in numbers.items():
        if key not in NUMBERS:
            yield f"no number is called {key!r}.{nearest(key, NUMBERS, cutoff=0.4)} hw/numbers.py has all names"
            continue
        if not isinstance(quantity, Quantity):
            yield f"{key} is {quantity!r}, not a quantity with unit and source"
            continue
        yield from _wrong(key, NUMBERS[key], quantity)


def _wrong(key: str, number: Number, quantity: Quantity) -> Iterator[str]:
    if quantity.unit not in number.units:
        yield f"{key} is given in {quantity.unit!r}, it is in {' or '.join(number.units)}"
    ends = quantity.interval
    for value in dict.fromkeys((ends.low, ends.nominal, ends.high)):
        if value == ends.nominal == 0:
            yield f"{key} is 0: what is not known is left out"
        elif not number.low <= value <= number.high:
            yield f"{key} of {value:g} {quantity.unit} is outside of {number.low:g} to {number.high:g}"
        elif number.whole and value != int(value):
            yield f"{key} of {value:g} {quantity.unit} is no whole number"
    if len(quantity.source.strip()) < 3:
        yield f"{key} has no source"
