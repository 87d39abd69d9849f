"""BrainScaleS-2: one core of analog neurons."""

from hw.chip import Chip
from hw.chips.sources import OPEN_NEUROMORPHIC, unread
from hw.quantity import Quantity

CHIP = Chip(
    name="brainscales2",
    title="BrainScaleS-2, 65 nm, analog neurons",
    numbers={
        "node_nm": unread(65, "nm"),
        "power_mw": Quantity(1000, "mW", f"{OPEN_NEUROMORPHIC}: about 1 W"),
        "cores": unread(1, "cores"),
        "host_cores": unread(2, "cores", note="plasticity processors"),
        "neurons_per_core": unread(512, "neurons"),
        "synapses_per_core": unread(131072, "synapses"),
        "fan_in": unread(256, "synapses", note="rows of a neuron"),
        "weight_bits": unread(6, "bits"),
    },
    neurons=("adaptive_exponential",),
    resets=(),
    notes=(
        "Neurons are adaptive exponential ones and analog: what a network does there has no meaning in integers. Its "
        "resets are not described in what was read."
    ),
)
