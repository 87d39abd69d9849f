"""SpiNNaker 2: a mesh of ARM processors, whose neurons are software."""

from hw.chip import Chip
from hw.chips.sources import KIB, OPEN_NEUROMORPHIC, published, unread
from hw.quantity import Quantity

_KERAS = "KerasSpiking, citing arXiv 1903.08941; lower end: part of the synaptic operation (Tang et al. 2023)"

CHIP = Chip(
    name="spinnaker2",
    title="SpiNNaker 2, 22 nm, ARM M4F cores",
    numbers={
        "node_nm": Quantity(22, "nm", f"{OPEN_NEUROMORPHIC}: 22FDX"),
        "power_mw": Quantity(2000, "mW", f"{OPEN_NEUROMORPHIC}: 2 to 5 W", high=5000),
        "step_ns": unread(1e6, "ns", note="1 ms, as software sets it"),
        "cores": Quantity(153, "cores", f"{OPEN_NEUROMORPHIC}; others say 152, not checked", low=152, confirmed=False),
        "neurons": Quantity(1_000_000, "neurons", OPEN_NEUROMORPHIC),
        "neurons_per_core": unread(
            1000, "neurons", 250, 6536, "software, about 250 to 1,000; upper end: 1 M a chip over its cores"
        ),
        "core_memory_bits": unread(128 * KIB, "bits", note="128 kB of SRAM"),
        "memory_bits": Quantity(19 * 1024 * KIB, "bits", f"{OPEN_NEUROMORPHIC}: 19 MB"),
        "dram_bits": Quantity(2 * 1024 * 1024 * KIB, "bits", f"{OPEN_NEUROMORPHIC}: 2 GB"),
        "weight_bits": unread(16, "bits", low=8, note="8, 16 or float: software"),
        "state_bits": unread(32, "bits"),
        "delay_steps": unread(15, "steps", high=16, note="15 to 16, more in software"),
        "pj_per_synop": published("spinnaker2"),
        "pj_per_neuron_update": Quantity(published("spinnaker2", "E_update").interval.high, "pJ", _KERAS, low=0),
    },
    neurons=(),
    resets=("hard", "soft", "none"),
    notes=(
        "Neurons are programs in C: any dynamics and any reset runs, as fast as it is written. The two energies of a "
        "synaptic operation are 45 times apart: one holds the neurons and the other charges them by themselves."
    ),
)
