"""Darwin3: a mesh of cores with an instruction set for neurons and learning."""

from hw.chip import Chip
from hw.chips.sources import DARWIN3, published, unread
from hw.quantity import Quantity

CHIP = Chip(
    name="darwin3",
    title="Darwin3 (2024), 22 nm",
    numbers={
        "node_nm": unread(22, "nm"),
        "cores": unread(575, "cores", note="of 576 places"),
        "neurons": Quantity(2_350_000, "neurons", DARWIN3),
        "neurons_per_core": unread(4096, "neurons"),
        "mesh_width": unread(24, "tiles"),
        "mesh_height": unread(24, "tiles"),
        "cores_per_tile": unread(1, "cores"),
        "weight_bits": unread(16, "bits", low=1, note="1, 2, 4, 8 or 16"),
        "state_bits": unread(16, "bits"),
        "pj_per_synop": published("darwin3"),
    },
    neurons=("lif", "integrate_fire", "izhikevich", "adaptive_exponential"),
    resets=(),
    notes=(
        "Neurons are programs of its own instruction set. Connections are compressed: its abstract claims fan-ins of "
        "4,096 and fan-outs of 3,072 times what the depth of its memory would hold without."
    ),
)
