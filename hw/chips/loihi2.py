"""Intel Loihi 2: little of it is published; what programs need beyond that is assumed, number by number."""

from hw.chip import Build, Chip, CoreLimits, Mesh
from hw.chips import graded
from hw.chips.sources import KIB, NETX, OPEN_NEUROMORPHIC, unread
from hw.quantity import Quantity

_BLOG = "Intel's blog, and open-neuromorphic.org, hardware pages"
_LAVA = "assumed: lava-nc 0.10.0, fixed_pt models as Loihi2SimCfg runs them; not checked on the silicon"


def _as_loihi1(value: float, unit: str, high: float | None = None, note: str = "") -> Quantity:
    return Quantity(value, unit, f"assumed: that of Loihi 1{note}", high=high, confirmed=False)


def _build() -> Build:
    return graded.build(
        cores=Quantity(
            128, "cores", f"{OPEN_NEUROMORPHIC}; others say 120 and 152, not checked", 120, 152, confirmed=False
        ),
        core=CoreLimits(
            neurons=unread(8192, "neurons", note="the most that secondary sources give"),
            in_axons=_as_loihi1(4096, "axons"),
            out_axons=_as_loihi1(4096, "axons"),
            synapse_bits=_as_loihi1(128 * KIB, "bits", 192 * KIB, "; upper end: all memory of a core"),
        ),
        weight_bits=(1, 2, 3, 4, 5, 6, 8),
        bits={
            "state_bits": Quantity(24, "bits", _LAVA, confirmed=False),
            "threshold_bits": Quantity(17, "bits", _LAVA, confirmed=False),
            "bias_mantissa_bits": Quantity(13, "bits", _LAVA, confirmed=False),
            "bias_exponent_bits": Quantity(3, "bits", _LAVA, confirmed=False),
            "decay_bits": Quantity(12, "bits", _LAVA, confirmed=False),
        },
        payload_bits=32,
        products=True,
        index_bits=(0, 6, 7, 8, 9, 10, 11, 12, 13),
        mesh=Mesh(8, 4, 4, "assumed: that of Loihi 1 (SANA-FE 2.2.9, arch/loihi.yaml)", confirmed=False),
        formats=(
            f"{OPEN_NEUROMORPHIC}: graded events of 32 bits, weights up to 32; assumed: weights, packing and products "
            "as Loihi 1 and lava-nc 0.10.0 have them"
        ),
    )


CHIP = Chip(
    name="loihi2",
    title="Intel Loihi 2, Intel 4, 31 mm²",
    semantics=graded.SEMANTICS,
    build=_build(),
    numbers={
        "area_mm2": Quantity(31, "mm2", _BLOG),
        "neurons": Quantity(1_000_000, "neurons", OPEN_NEUROMORPHIC),
        "synapses": Quantity(120_000_000, "synapses", OPEN_NEUROMORPHIC),
        "core_memory_bits": unread(192 * KIB, "bits", note="about 192 KB"),
        "delay_steps": Quantity(62, "steps", NETX),
        "step_ns": unread(200, "ns", note="about 200 ns at least"),
        "power_mw": Quantity(1000, "mW", f"{OPEN_NEUROMORPHIC}: about 1 W"),
    },
    neurons=graded.NEURONS,
    resets=graded.RESETS,
    notes=(
        "Programs rest on assumptions: neurons of Loihi 2 are microcode, and its formats, axons and mesh are those of "
        "Loihi 1 and lava-nc 0.10 where nothing is published. Exact here means equal to these integers, never to the "
        "chip. No energy of a synaptic operation was published; about 1 pJ is in blogs only."
    ),
)
