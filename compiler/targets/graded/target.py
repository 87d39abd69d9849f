"""The target of this folder: its rules under its name."""

from __future__ import annotations

from compiler.graph import Graph
from compiler.mapping import place
from compiler.mapping.engine import Dynamics
from compiler.targets.graded import arithmetic
from compiler.targets.loihi.image import MappedImage
from compiler.targets.loihi.legal import legal
from compiler.targets.loihi.lower import lower
from compiler.targets.loihi.quantise import quantise
from compiler.targets.target import Options, Target
from hw.chip import Chip

DYNAMICS = Dynamics(arithmetic.row_step, arithmetic.shift_sum, arithmetic.PARTS)


def build(graph: Graph, chip: Chip, options: Options | None = None) -> MappedImage:
    """Lower a quantised graph and map it.

    Raises:
        CompileError: it does not fit the chip.
    """
    return MappedImage(graph, place(lower(graph, chip), chip, arithmetic.stored_weights), DYNAMICS)


def disagreement(chip: Chip) -> str | None:
    """Return where a chip's numbers go beyond what 64-bit integers, and events of 32, hold for these semantics."""
    a = chip.arithmetic
    mantissa, exponent = int(a.bias_mantissa_bits.value), int(a.bias_exponent_bits.value)
    highest = a.weight_exponent[1]
    checks = {
        f"a threshold shift of {a.threshold_shift}": a.threshold_shift == arithmetic.SHIFT,
        f"states of {a.state_bits.value:g} bits": a.state_bits.value <= 48,
        f"weights of {max(a.weight_bits)} bits": 2 <= max(a.weight_bits) <= 16,
        f"weight exponents up to {highest}": 0 <= highest <= 8,
        f"decays of {a.decay_bits.value:g} bits": a.decay_bits.value <= 14,
        f"biases of {mantissa} bits shifted by up to {2**exponent - 1}": mantissa + 2**exponent <= 62,
        f"events of {a.payload_bits} bits": a.payload_bits <= 32,
    }
    wrong = [text for text, right in checks.items() if not right]
    return f"{chip.name} has {', '.join(wrong)}, which {chip.semantics!r} does not" if wrong else None


TARGETS = (
    Target(
        semantics=arithmetic.SEMANTICS,
        legal=legal,
        quantise=quantise,
        build=build,
        unit=1 << arithmetic.SHIFT,
        disagreement=disagreement,
        trains=True,
    ),
)
