"""tinyODIN: the simplified derivative of ODIN, open RTL without silicon."""

from hw.chip import Chip
from hw.chips.sources import published
from hw.quantity import Quantity

_RTL = "tinyODIN RTL @1865653, src"

CHIP = Chip(
    name="tinyodin",
    title="tinyODIN, open RTL",
    semantics="tinyodin",
    numbers={
        "cores": Quantity(1, "cores", _RTL),
        "neurons_per_core": Quantity(256, "neurons", _RTL),
        "synapses_per_core": Quantity(256 * 256, "synapses", f"{_RTL}: all pairs"),
        "synapse_bits_per_core": Quantity(256 * 256 * 4, "bits", _RTL),
        "fan_in": Quantity(256, "synapses", f"{_RTL}: crossbar"),
        "fan_out": Quantity(256, "synapses", f"{_RTL}: crossbar"),
        "weight_bits": Quantity(4, "bits", f"{_RTL}: -8 to 7"),
        "synapse_word_bits": Quantity(32, "bits", f"{_RTL}: eight synapses"),
        "state_bits": Quantity(12, "bits", f"{_RTL}: with sign"),
        "threshold_bits": Quantity(12, "bits", f"{_RTL}: compared without sign, 2,048 and more never fires"),
        "leak_bits": Quantity(7, "bits", _RTL),
        "event_queue": Quantity(128, "events", f"{_RTL}: scheduler.v, fifo.v; later ones are dropped"),
        "cycles_per_synop": Quantity(2, "cycles", _RTL),
        "pj_per_synop": Quantity(
            published("odin").value, "pJ", "measured on ODIN, not on tinyODIN (Frenkel et al. 2019)", confirmed=False
        ),
    },
    neurons=("integrate_fire",),
    resets=("hard",),
    reset_value=0.0,
    notes=(
        "Events are worked off one by one, and the threshold is tested after each. Leaks subtract, without delay or "
        "refractory period. Bit-exact with the RTL on recorded traces; it was never made in silicon."
    ),
)
