"""Intel Loihi (first generation): limits of a core, integer formats, mesh."""

from hw.chip import Arithmetic, Build, Chip, CoreLimits, Mesh, SynapseFormat
from hw.chips.sources import CAS, DAVIES, KIB, LAVA, NENGO, NETX, SANAFE, unread
from hw.energy.loihi1 import MAPPED, MODEL
from hw.quantity import Quantity

_ROUTING = MAPPED.constants

CHIP = Chip(
    name="loihi1",
    title="Intel Loihi (2018), 14 nm, 60 mm²",
    semantics="lava-nc 0.10 fixed_pt",
    build=Build(
        cores=Quantity(128, "cores", DAVIES),
        core=CoreLimits(
            neurons=Quantity(1024, "compartments", NENGO),
            in_axons=Quantity(4096, "axons", NENGO),
            out_axons=Quantity(4096, "axons", NENGO),
            synapse_bits=Quantity(16384 * 64, "bits", NENGO),
        ),
        arithmetic=Arithmetic(
            weight_bits=(1, 2, 3, 4, 5, 6, 8),
            weight_exponent=(-8, 7),
            state_bits=Quantity(24, "bits", LAVA),
            threshold_bits=Quantity(17, "bits", LAVA),
            bias_mantissa_bits=Quantity(13, "bits", LAVA),
            bias_exponent_bits=Quantity(3, "bits", LAVA),
            decay_bits=Quantity(12, "bits", LAVA),
            threshold_shift=6,
            source=f"{NENGO}: WEIGHT_BITS_MAP",
        ),
        synapses=SynapseFormat(
            word_bits=64,
            chunk_weights=64,
            chunk_header_bits=4 + 6,
            delay_bits=0,
            tag_bits=0,
            index_bits=(0, 6, 7, 8, 9, 10, 11, 12),
            source=f"{NENGO}: bits_per_axon, with 63 + 1 weights a chunk",
        ),
        mesh=Mesh(width=8, height=4, cores_per_tile=4, source=SANAFE),
    ),
    numbers={
        "node_nm": Quantity(14, "nm", DAVIES),
        "area_mm2": Quantity(60, "mm2", DAVIES),
        "host_cores": Quantity(3, "cores", DAVIES),
        "addressable_cores": Quantity(4096, "cores", DAVIES),
        "memory_bits": Quantity(16 * 1024 * KIB, "bits", f"{CAS}: synapses, 16 MB"),
        "compartment_configurations": Quantity(32, "configurations", NENGO),
        "threshold_configurations": Quantity(8, "configurations", NENGO),
        "synapse_configurations": Quantity(8, "configurations", NENGO),
        "delay_steps": Quantity(62, "steps", f"{NETX}: clamps to 62; others say 63", high=63),
        "step_ns": Quantity(600, "ns", f"{SANAFE}: the barrier alone, by number of tiles", high=1800),
        "power_mw": unread(100, "mW", high=500, note="about 0.1 to 0.5 W"),
        "pj_per_synop": MODEL.constants["E_syn"],
        "pj_per_neuron_update": MODEL.constants["E_active"],
        "pj_per_inactive_update": MODEL.constants["E_inactive"],
        "pj_per_message": _ROUTING["E_packet"],
        "pj_per_hop": Quantity(
            _ROUTING["E_EW"].value,
            "pJ",
            f"{SANAFE}: east-west; upper end: north-south",
            high=_ROUTING["E_NS"].value,
        ),
    },
    neurons=("lif", "integrate_fire"),
    resets=("hard",),
    reset_value=0.0,
    notes=(
        "Bit-exact with lava-nc 0.10 fixed_pt, which is reported to differ from the silicon in current decay and in "
        "the voltage after reset (lava-nc issues 282, 322, 829): never claim bit-exactness with the chip itself. "
        "SANA-FE splits the energy of a neuron otherwise: 51.2 pJ access, 21.6 pJ update, 69.3 pJ a spike."
    ),
)
