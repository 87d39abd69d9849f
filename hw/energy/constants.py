"""Energies that several models share, each with its source: arithmetic and memory at 45 nm, widths of signals.

Arithmetic is Horowitz's table (ISSCC 2014, 45 nm, 0.9 V). Of memory it gives three sizes of SRAM, pJ for an access of
64 bits: 10 for 8 KiB, 20 for 32 KiB, 100 for 1 MiB; ``Memory`` puts straight lines between them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hw.quantity import Quantity

HOROWITZ = "Horowitz, ISSCC 2014 (45 nm, 0.9 V), as tabulated in PMC8934428, Table 3"
KIB = 1024


@dataclass(frozen=True)
class Arithmetic:
    """One precision: energies of a multiplication, an addition, a multiply-accumulate and an accumulate."""

    multiply: Quantity
    add: Quantity
    mac: Quantity
    ac: Quantity

    def constants(self) -> dict[str, Quantity]:
        """Return them under the names that ``arithmetic_45nm.price`` reads."""
        return {"E_mul": self.multiply, "E_add": self.add, "E_MAC": self.mac, "E_AC": self.ac}


def _exact(multiply: float, add: float) -> Arithmetic:
    mul, plus = Quantity(multiply, "pJ", HOROWITZ), Quantity(add, "pJ", HOROWITZ)
    return Arithmetic(mul, plus, Quantity(round(multiply + add, 6), "pJ", HOROWITZ), plus)


FP32 = _exact(3.7, 0.9)
FP16 = _exact(1.1, 0.4)
INT32 = _exact(3.1, 0.1)

_WIDE = f"{HOROWITZ}; the upper end adds in 32 bits, since sums of 8-bit products need more than 8"
INT8 = Arithmetic(
    multiply=Quantity(0.2, "pJ", HOROWITZ),
    add=Quantity(0.03, "pJ", _WIDE, high=0.1),
    mac=Quantity(0.23, "pJ", _WIDE, high=0.3),
    ac=Quantity(0.03, "pJ", _WIDE, high=0.1),
)

_SRAM = "Horowitz, ISSCC 2014 (45 nm): 64-bit access to a cache of {}"
SRAM = {
    "E_8KiB": Quantity(10.0, "pJ", _SRAM.format("8 KB")),
    "E_32KiB": Quantity(20.0, "pJ", _SRAM.format("32 KB")),
    "E_1MiB": Quantity(100.0, "pJ", _SRAM.format("1 MB")),
}
DRAM = Quantity(
    1.95, "nJ", "Horowitz, ISSCC 2014 (45 nm): 64-bit DRAM access, 1.3 to 2.6 nJ", low=1.3, high=2.6, confirmed=False
)

LARGEST_SRAM = 1024 * KIB
"""Bytes: more is stored in several memories of this size, or off the chip."""


def sram_price(stored: float, values: Mapping[str, float], at_nothing: float | None = None) -> float:
    """Return pJ of one access to a memory of ``stored`` bytes: straight lines between the three sizes.

    Args:
        stored: bytes.
        values: E_8KiB, E_32KiB, E_1MiB.
        at_nothing: what the line falls to at no bytes; None: below 8 KiB the price of 8 KiB holds.
    """
    small = values["E_8KiB"]
    points = (
        (0.0, small if at_nothing is None else at_nothing),
        (8.0 * KIB, small),
        (32.0 * KIB, values["E_32KiB"]),
        (float(LARGEST_SRAM), values["E_1MiB"]),
    )
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if stored <= x1:
            return y0 + (y1 - y0) * (stored - x0) / (x1 - x0)
    return points[-1][1]


_INTEGER = re.compile(r"integer\[(-?\d+),(-?\d+)\]")
_POW2 = re.compile(r"pow2\[(\d+)\]")


def bits_of(signal: str, real_bits: int) -> int:
    """Return how many bits hold one value of a signal type as ``LayerCounts`` names it; its scale needs none.

    "binary" 1, "signed" 2, "integer[0,4]" 3, "pow2[2]" 3 (0, ±1, ±2, ±4); anything else is real: ``real_bits``.
    """
    if signal.startswith("binary"):
        return 1
    if signal.startswith("signed"):
        return 2
    if match := _INTEGER.match(signal):
        low, high = int(match[1]), int(match[2])
        return max(1, (high - low).bit_length())
    if match := _POW2.match(signal):
        return (2 * (int(match[1]) + 1)).bit_length()
    return real_bits
