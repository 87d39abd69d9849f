"""BrainChip Akida AKD1000: neural processing units, programmed layer by layer."""

from hw.chip import Chip
from hw.chips.sources import BRAINCHIP, KIB, unread
from hw.layers import LayerLimits
from hw.quantity import Quantity

CHIP = Chip(
    name="akida",
    title="BrainChip Akida AKD1000, 28 nm",
    numbers={
        "node_nm": Quantity(28, "nm", BRAINCHIP),
        "power_mw": Quantity(0.1, "mW", f"{BRAINCHIP}: 0.1 to 300 mW by task", high=300),
        "cores": Quantity(80, "cores", f"{BRAINCHIP}: units, said to be 20 nodes of 4"),
        "neurons": Quantity(1_200_000, "neurons", f"{BRAINCHIP}: claimed"),
        "synapses": Quantity(10e9, "synapses", f"{BRAINCHIP}: claimed"),
        "core_memory_bits": unread(100 * KIB, "bits", note="100 KB of SRAM"),
        "weight_bits": unread(4, "bits", low=1, note="1, 2 or 4; 8 in the second generation"),
    },
    layers=LayerLimits(
        source=BRAINCHIP,
        kernel=Quantity(7, "pixels", BRAINCHIP),
        strides=(1, 2),
        stride_kernels={2: (3,)},
        loops=False,
    ),
    neurons=(),
    resets=(),
    notes=(
        "Sizes are the maker's claims. Its engine is closed; layers feed forward only, and a stride of 2 goes with "
        "kernels of 3 alone. Its neurons and resets are not described in what was read."
    ),
)
