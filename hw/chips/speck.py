"""SynSense Speck, with the DYNAP-CNN core: nine convolution cores, programmed layer by layer."""

from hw.chip import Chip
from hw.chips.sources import SINABS, YAO, unread
from hw.layers import LayerLimits
from hw.quantity import Quantity

_KI = 1024
_NEURON_WORDS = tuple(_KI * words for words in (64, 64, 64, 32, 32, 16, 16, 16, 16))
_KERNEL_WORDS = tuple(_KI * words for words in (16, 16, 16, 32, 32, 64, 64, 16, 16))

CHIP = Chip(
    name="speck",
    title="SynSense Speck / DYNAP-CNN, nine convolution cores",
    numbers={
        "node_nm": unread(65, "nm"),
        "idle_power_mw": Quantity(0.42, "mW", YAO),
        "power_mw": Quantity(0.70, "mW", f"{YAO}: the least in total"),
        "cores": Quantity(9, "cores", f"{SINABS}; a readout core beside them"),
        "neurons": Quantity(sum(_NEURON_WORDS), "neurons", f"{SINABS}: words of all neuron memories"),
        "weight_bits": Quantity(8, "bits", SINABS),
        "state_bits": Quantity(16, "bits", SINABS),
    },
    layers=LayerLimits(
        source=SINABS,
        kernel=Quantity(16, "pixels", SINABS),
        strides=(1, 2, 4, 8),
        padding=Quantity(7, "pixels", SINABS),
        channels=Quantity(1024, "channels", SINABS),
        input_map=Quantity(128, "pixels", SINABS),
        output_map=Quantity(64, "pixels", SINABS),
        pools=(1, 2, 4),
        destinations=Quantity(2, "layers", SINABS),
        neuron_memory=_NEURON_WORDS,
        kernel_memory=_KERNEL_WORDS,
        bias_memory=(_KI,) * 9,
    ),
    neurons=("integrate_fire",),
    resets=(),
    notes=(
        "Integrate-and-fire only; a bias is a leak. Events are worked off one by one as they "
        "come, not in time steps: a simulation in steps is not the chip. Pools are sums. Nothing is said on grouped "
        "convolutions."
    ),
)
