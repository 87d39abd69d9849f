"""A chip's integer formats as the whole numbers that quantising and lowering need: all read off the chip's data."""

from __future__ import annotations

from dataclasses import dataclass

from compiler.targets.loihi import arithmetic
from hw.chip import Arithmetic, Chip


@dataclass(frozen=True)
class Formats:
    """What a core can hold.

    ``weight_bits`` of the finest format; weights of either sign are multiples of ``weight_step`` up to ``weight_limit``
    and lose nothing in it, whatever the signs of a projection; ``exponents`` is the highest shift of a sum.
    ``threshold`` is the largest vth, ``state`` the magnitude below which no current wraps and no voltage clips,
    ``mantissa`` and ``bias_exponent`` the largest of a bias register. One threshold unit is ``unit`` membrane units.
    ``unity`` is what decays are fractions of; a decay of ``forget`` keeps nothing of a current. ``graded``: whether a
    threshold that is reached counts, and events carry numbers.
    """

    weight_bits: int
    weight_step: int
    weight_limit: int
    exponents: int
    threshold: int
    state: int
    mantissa: int
    bias_exponent: int
    unit: int
    unity: int
    forget: int
    graded: bool = False

    @staticmethod
    def _graded(a: Arithmetic) -> Formats:
        """Weights are signed numbers of all their bits, and a decay may forget everything (``targets.graded``)."""
        bits, unity = max(a.weight_bits), 2 ** int(a.decay_bits.value)
        state = 2 ** (int(a.state_bits.value) - 1) - 1
        units = min(2 ** int(a.threshold_bits.value) - 1, state >> a.threshold_shift)  # a state must reach it
        return Formats(
            weight_bits=bits,
            weight_step=1,
            weight_limit=2 ** (bits - 1) - 1,
            exponents=a.weight_exponent[1],
            threshold=units - 1,  # one more, which counts when it is reached, fits
            state=state,
            mantissa=2 ** (int(a.bias_mantissa_bits.value) - 1) - 1,
            bias_exponent=2 ** int(a.bias_exponent_bits.value) - 1,
            unit=2**a.threshold_shift,
            unity=unity,
            forget=unity,
            graded=True,
        )

    @staticmethod
    def of(chip: Chip) -> Formats:
        """Read the formats off a chip."""
        a = chip.arithmetic
        if chip.semantics == GRADED:
            return Formats._graded(a)
        bits = max(a.weight_bits)
        step = 2 ** (arithmetic.WEIGHT_BITS - bits + 1)  # the sign takes the lowest bit
        unity = 2 ** int(a.decay_bits.value)
        return Formats(
            weight_bits=bits,
            weight_step=step,
            weight_limit=2**arithmetic.WEIGHT_BITS - step,
            exponents=a.weight_exponent[1],
            threshold=2 ** int(a.threshold_bits.value) - 1,
            state=2 ** (int(a.state_bits.value) - 1) - 1,
            mantissa=2 ** (int(a.bias_mantissa_bits.value) - 1) - 1,
            bias_exponent=2 ** int(a.bias_exponent_bits.value) - 1,
            unit=2**a.threshold_shift,
            unity=unity,
            forget=unity - 1,
        )


GRADED = "graded LIF"


def disagreement(chip: Chip) -> str | None:
    """Return where a chip's numbers contradict the semantics it names, None where they agree.

    Narrower weights, thresholds, biases and states are fine: programs then use less of the arithmetic. What the step
    itself is made of must be equal.
    """
    a, formats, ranges = chip.arithmetic, Formats.of(chip), arithmetic.RANGES
    checks = {
        f"decays of {a.decay_bits.value:g} bits": formats.unity == arithmetic.UNITY,
        f"a threshold shift of {a.threshold_shift}": a.threshold_shift == arithmetic.SHIFT,
        f"states of {a.state_bits.value:g} bits": formats.state < arithmetic.LIMIT,
        f"thresholds of {a.threshold_bits.value:g} bits": formats.threshold <= ranges["vth"][1],
        f"bias mantissas of {a.bias_mantissa_bits.value:g} bits": formats.mantissa <= ranges["bm"][1],
        f"bias exponents of {a.bias_exponent_bits.value:g} bits": formats.bias_exponent <= ranges["be"][1],
        f"weights of {formats.weight_bits} bits": 2 <= formats.weight_bits <= ranges["wbits"][1],
        f"weight exponents up to {formats.exponents}": 0 <= formats.exponents <= ranges["wexp"][1],
    }
    wrong = [text for text, right in checks.items() if not right]
    return f"{chip.name} has {', '.join(wrong)}, which {chip.semantics!r} does not" if wrong else None
