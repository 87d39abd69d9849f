"""Catalyst N1: open RTL, in the sizes of its top level and of its largest FPGA build."""

from __future__ import annotations

from hw.chip import Chip
from hw.quantity import Quantity

_RTL = "Catalyst N1 RTL @fbfd2e5"
_CORE = f"{_RTL}, rtl/scalable_core_v2.v"
_MESH = f"{_RTL}, rtl/neuromorphic_mesh.v"
_TOP = f"{_RTL}, rtl/neuromorphic_top.v: default of a parameter"
_F2 = f"{_RTL}, fpga/f2/cl_neuromorphic.sv"

_NUMBERS = {
    "neurons_per_core": Quantity(1024, "neurons", f"{_CORE}: default of a parameter"),
    "fan_out": Quantity(4095, "synapses", f"{_CORE}: of one source on one core, a count of 12 bits"),
    "targets_per_neuron": Quantity(12, "cores", f"{_MESH}: 8 local and 4 global routes"),
    "core_spikes_per_step": Quantity(64, "spikes", f"{_CORE}, spike_fifo.v; later ones are dropped"),
    "packets_per_step": Quantity(512, "packets", f"{_MESH}: of the chip; later ones are dropped"),
    "delayed_events_per_step": Quantity(64, "events", f"{_CORE}: more arrive at once"),
    "delay_steps": Quantity(63, "steps", f"{_CORE}: not between cores"),
    "weight_bits": Quantity(16, "bits", f"{_CORE}: with sign; decoded ones have 1 to 9", low=1),
    "synapse_word_bits": Quantity(10 + 16 + 2 + 6, "bits", f"{_CORE}: target, weight, compartment, delay"),
    "index_bits": Quantity(10, "bits", f"{_CORE}: target"),
    "state_bits": Quantity(16, "bits", f"{_CORE}: clamped to 16 of the 24 bits stored"),
    "current_bits": Quantity(24, "bits", f"{_CORE}: wraps"),
    "threshold_bits": Quantity(16, "bits", f"{_CORE}: as programmed, with sign"),
    "bias_mantissa_bits": Quantity(13, "bits", _CORE),
    "bias_exponent_bits": Quantity(3, "bits", _CORE),
    "decay_bits": Quantity(12, "bits", _CORE),
    "refractory_bits": Quantity(8, "bits", _CORE),
    "payload_bits": Quantity(8, "bits", f"{_CORE}: 1 to 255, without sign"),
}
_NOTES = (
    "Bit-exact with the core RTL (membranes, currents, refractory counters, spikes, payloads, cycles) on recorded "
    "traces, within its limits. Packets between cores overwrite one another and what is too much is dropped without a "
    "word: a program must rule that out, or say so. No silicon, no energy and no reviewed paper; the largest build "
    "that ships has 16 cores."
)


def _n1(name: str, title: str, **numbers: Quantity) -> Chip:
    return Chip(
        name=name,
        title=title,
        semantics="catalyst_n1",
        numbers={**_NUMBERS, **numbers},
        neurons=("lif", "integrate_fire"),
        resets=("hard",),
        notes=_NOTES,
    )


CHIPS = (
    _n1(
        "catalyst_n1",
        "Catalyst N1, open RTL: defaults of its top level",
        cores=Quantity(128, "cores", _TOP),
        synapse_words_per_core=Quantity(131072, "words", _TOP),
    ),
    _n1(
        "catalyst_n1_f2",
        "Catalyst N1 on an F2 FPGA, open RTL: its largest build",
        cores=Quantity(16, "cores", _F2),
        synapse_words_per_core=Quantity(4096, "words", _F2),
        clock_mhz=Quantity(62.5, "MHz", _F2),
        power_mw=Quantity(1850, "mW", f"{_RTL}: of the FPGA"),
    ),
)
