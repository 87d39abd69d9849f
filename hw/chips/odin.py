"""ODIN: one core of 256 neurons behind a crossbar, published silicon with open RTL."""

from hw.chip import Chip
from hw.chips.sources import FRENKEL, published
from hw.quantity import Quantity

_RTL = "ODIN RTL @1781931, src"

CHIP = Chip(
    name="odin",
    title="ODIN (2019), 28 nm FDSOI, 0.086 mm²",
    semantics="odin",
    numbers={
        "node_nm": Quantity(28, "nm", FRENKEL),
        "area_mm2": Quantity(0.086, "mm2", FRENKEL),
        "cores": Quantity(1, "cores", FRENKEL),
        "neurons_per_core": Quantity(256, "neurons", FRENKEL),
        "synapses_per_core": Quantity(256 * 256, "synapses", f"{_RTL}: all pairs"),
        "synapse_bits_per_core": Quantity(256 * 256 * 4, "bits", f"{_RTL}: a weight of 3 bits and a mapped bit"),
        "fan_in": Quantity(256, "synapses", f"{_RTL}: crossbar"),
        "fan_out": Quantity(256, "synapses", f"{_RTL}: crossbar"),
        "weight_bits": Quantity(3, "bits", f"{_RTL}: 0 to 7, the sign is that of the source neuron"),
        "state_bits": Quantity(8, "bits", f"{_RTL}: without sign"),
        "threshold_bits": Quantity(8, "bits", _RTL),
        "leak_bits": Quantity(7, "bits", _RTL),
        "pj_per_synop": published("odin"),
    },
    neurons=("integrate_fire",),
    resets=("hard",),
    reset_value=0.0,
    notes=(
        "Events are worked off one by one, and the threshold is tested after each: a neuron may fire several times in "
        "what a network calls a step. Leaks subtract: a membrane that decays by a factor is not there. Bit-exact "
        "with the LIF neurons of the RTL on recorded traces; Izhikevich neurons and plasticity were not traced."
    ),
)
