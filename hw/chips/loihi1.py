"""Intel Loihi (first generation): limits of a core, integer formats, mesh."""

from hw.chip import Arithmetic, Build, Chip, CoreLimits, Mesh, SynapseFormat
from hw.quantity import Quantity

_NENGO = "nengo-loihi, nengo_loihi/block.py and builder/discretize.py @e564f66"
_LAVA = "lava-nc 0.10.0, lava/proc/lif and lava/proc/dense, fixed_pt models"
_DAVIES = "Davies et al., IEEE Micro 38(1), 2018"
_SANAFE = "SANA-FE 2.2.9, arch/loihi.yaml"

CHIP = Chip(
    name="loihi1",
    title="Intel Loihi (2018), 14 nm, 60 mm²",
    semantics="lava-nc 0.10 fixed_pt",
    build=Build(
        cores=Quantity(128, "cores", _DAVIES),
        core=CoreLimits(
            neurons=Quantity(1024, "compartments", _NENGO),
            in_axons=Quantity(4096, "axons", _NENGO),
            out_axons=Quantity(4096, "axons", _NENGO),
            synapse_bits=Quantity(16384 * 64, "bits", _NENGO),
        ),
        arithmetic=Arithmetic(
            weight_bits=(1, 2, 3, 4, 5, 6, 8),
            weight_exponent=(-8, 7),
            state_bits=Quantity(24, "bits", _LAVA),
            threshold_bits=Quantity(17, "bits", _LAVA),
            bias_mantissa_bits=Quantity(13, "bits", _LAVA),
            bias_exponent_bits=Quantity(3, "bits", _LAVA),
            decay_bits=Quantity(12, "bits", _LAVA),
            threshold_shift=6,
            source=f"{_NENGO}: WEIGHT_BITS_MAP",
        ),
        synapses=SynapseFormat(
            word_bits=64,
            chunk_weights=64,
            chunk_header_bits=4 + 6,
            delay_bits=0,
            tag_bits=0,
            index_bits=(0, 6, 7, 8, 9, 10, 11, 12),
            source=f"{_NENGO}: bits_per_axon, with 63 + 1 weights a chunk",
        ),
        mesh=Mesh(width=8, height=4, cores_per_tile=4, source=_SANAFE),
    ),
    neurons=("lif", "integrate_fire"),
    resets=("hard",),
    reset_value=0.0,
    notes=(
        "Bit-exact with lava-nc 0.10 fixed_pt, which is reported to differ from the silicon in current decay and in "
        "the voltage after reset (lava-nc issues 282, 322, 829): never claim bit-exactness with the chip itself."
    ),
)
