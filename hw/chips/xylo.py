"""SynSense Xylo in three variants: one core of LIF neurons with any connections between them."""

from __future__ import annotations

from hw.chip import Chip
from hw.chips.sources import OPEN_NEUROMORPHIC, ROCKPOOL
from hw.layers import LayerLimits
from hw.quantity import Quantity

_BOTH = f"{ROCKPOOL}; {OPEN_NEUROMORPHIC}"


def _xylo(name: str, title: str, hidden: int, outputs: int, fan_out: int) -> Chip:
    inputs = Quantity(16, "inputs", ROCKPOOL)
    neurons = Quantity(hidden, "neurons", ROCKPOOL)
    read = Quantity(outputs, "neurons", ROCKPOOL)
    spikes = Quantity(31, "spikes", f"{ROCKPOOL}: hidden neurons")
    into, out_of = Quantity(63, "synapses", _BOTH), Quantity(fan_out, "synapses", f"{_BOTH}; 32 on average")
    return Chip(
        name=name,
        title=title,
        numbers={
            "node_nm": Quantity(28, "nm", OPEN_NEUROMORPHIC),
            "power_mw": Quantity(
                5, "mW", f"{OPEN_NEUROMORPHIC}: about 5 mW; lower end: below 1 mW ({ROCKPOOL})", low=0
            ),
            "cores": Quantity(1, "cores", ROCKPOOL),
            "neurons_per_core": neurons,
            "input_lines": inputs,
            "output_neurons": read,
            "fan_in": into,
            "fan_out": out_of,
            "synaptic_states": Quantity(2, "states", ROCKPOOL),
            "neuron_spikes_per_step": spikes,
            "weight_bits": Quantity(8, "bits", ROCKPOOL),
            "state_bits": Quantity(16, "bits", ROCKPOOL),
        },
        layers=LayerLimits(
            source=ROCKPOOL,
            inputs=inputs,
            hidden=neurons,
            outputs=read,
            fan_in=into,
            fan_out=out_of,
            spikes_per_step=spikes,
            loops=True,
        ),
        neurons=("lif", "cuba_lif"),
        resets=("soft",),
        notes=(
            "Decays are shifts of bits, so that a decay is one of a few; a reset subtracts the threshold. Output "
            "neurons come on top of the hidden ones. rockpool ships a simulator that is exact in every bit."
        ),
    )


CHIPS = (
    _xylo("xylo_audio2", "SynSense Xylo Audio 2, 28 nm", 1000, 8, 64),
    _xylo("xylo_audio3", "SynSense Xylo Audio 3, 28 nm", 992, 32, 1024),
    _xylo("xylo_imu", "SynSense Xylo IMU, 28 nm", 496, 16, 512),
)
