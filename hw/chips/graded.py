"""The build that Loihi 2 and design studies share: cores of integer LIF neurons that send graded events on a mesh."""

from __future__ import annotations

from hw.chip import Arithmetic, Build, CoreLimits, Mesh, SynapseFormat
from hw.quantity import Quantity

SEMANTICS = "graded LIF"
NEURONS = ("lif", "integrate_fire", "multilevel_lif", "multi_spike")
RESETS = ("hard", "soft", "none")
BITS = ("state_bits", "threshold_bits", "bias_mantissa_bits", "bias_exponent_bits", "decay_bits")


def build(
    *,
    cores: Quantity,
    core: CoreLimits,
    weight_bits: tuple[int, ...],
    bits: dict[str, Quantity],
    payload_bits: int,
    products: bool,
    index_bits: tuple[int, ...],
    mesh: Mesh,
    formats: str,
    confirmed: bool = False,
) -> Build:
    """Return cores with the step of lava's fixed-point LIF (thresholds << 6), whose events carry ``payload_bits``.

    Args:
        bits: those of ``BITS``, by name.
        formats: the source of the integer formats and of how synapses are packed.
        confirmed: whether that was checked on the silicon.
    """
    return Build(
        cores=cores,
        core=core,
        arithmetic=Arithmetic(
            weight_bits=weight_bits,
            weight_exponent=(-8, 7),
            **bits,
            threshold_shift=6,
            source=formats,
            payload_bits=payload_bits,
            products=products,
            confirmed=confirmed,
        ),
        synapses=SynapseFormat(
            word_bits=64,
            chunk_weights=64,
            chunk_header_bits=4 + 6,
            delay_bits=0,
            tag_bits=0,
            index_bits=index_bits,
            source=formats,
            confirmed=confirmed,
        ),
        mesh=mesh,
    )
