"""Tianjic: a mesh of cores that run spiking and ordinary layers side by side."""

from hw.chip import Chip
from hw.chips.sources import CAS, KIB, published, unread
from hw.quantity import Quantity

CHIP = Chip(
    name="tianjic",
    title="Tianjic, 28 nm, 3.8 × 3.8 mm",
    numbers={
        "node_nm": Quantity(28, "nm", CAS),
        "area_mm2": Quantity(3.8 * 3.8, "mm2", CAS),
        "clock_mhz": Quantity(300, "MHz", CAS),
        "power_mw": Quantity(400, "mW", f"{CAS}: on average, at 0.9 V"),
        "step_ns": Quantity(5050 / 0.3, "ns", f"{CAS}: 5,050 clocks"),
        "cores": Quantity(156, "cores", CAS),
        "neurons_per_core": Quantity(256, "neurons", CAS),
        "fan_in": Quantity(256, "synapses", CAS),
        "fan_out": Quantity(256, "synapses", CAS),
        "distinct_weights": Quantity(32, "weights", f"{CAS}: indices"),
        "core_memory_bits": Quantity(22 * KIB, "bits", f"{CAS}: 22 KB of SRAM"),
        "weight_bits": unread(8, "bits"),
        "state_bits": unread(24, "bits"),
        "pj_per_synop": published("tianjic"),
    },
    neurons=("lif", "integrate_fire"),
    resets=(),
    notes="Cores run LIF neurons or units of ordinary networks. Its resets are not described in what was read.",
)
