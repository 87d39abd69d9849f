"""IBM TrueNorth: 4,096 cores, each a crossbar of 256 × 256 binary synapses."""

from hw.chip import Chip
from hw.chips.sources import MEROLLA, published, unread
from hw.quantity import Quantity

CHIP = Chip(
    name="truenorth",
    title="IBM TrueNorth (2014), 28 nm, 4.3 cm²",
    numbers={
        "node_nm": Quantity(28, "nm", MEROLLA),
        "area_mm2": Quantity(430, "mm2", MEROLLA),
        "transistors": Quantity(5.4e9, "transistors", MEROLLA),
        "power_mw": Quantity(63, "mW", f"{MEROLLA}; 63 to 70 mW", high=70),
        "step_ns": unread(1e6, "ns", note="a tick of 1 ms"),
        "cores": Quantity(4096, "cores", MEROLLA),
        "neurons_per_core": Quantity(256, "neurons", MEROLLA),
        "synapses_per_core": Quantity(256 * 256, "synapses", f"{MEROLLA}: binary crossbar"),
        "in_axons": unread(256, "axons", note="a row of the crossbar each"),
        "fan_in": unread(256, "synapses", note="a column of the crossbar"),
        "targets_per_neuron": unread(1, "cores", note="one axon a neuron"),
        "distinct_weights": unread(4, "weights", note="one for each of four axon types"),
        "weight_bits": unread(9, "bits", note="with sign"),
        "state_bits": unread(20, "bits", note="with sign"),
        "delay_steps": unread(15, "steps", note="1 to 15 ticks"),
        "pj_per_synop": published("truenorth"),
        "pj_per_hop": unread(2.3, "pJ", note="about 2.3"),
    },
    neurons=("lif", "integrate_fire"),
    resets=(),
    notes=(
        "A synapse is there or not; its weight is that of its axon's type, of which a neuron has four. The energies "
        "of a synaptic operation are ten times apart: their definitions differ, the upper one was not checked. Neurons "
        "are like LIF with 22 parameters (not checked); their resets are not described here."
    ),
)
