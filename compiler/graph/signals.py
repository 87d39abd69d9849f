"""Signals and their types: what travels on an edge.

A type is a set of values: whole numbers in [low, high], times an exact fraction. Types are computed with, never
compared as floats: an average over nine spikes is integer[0,9]×1/9, and its sum with a spike is integer[0,18]×1/9.

| kind | values / scale |
|---|---|
| binary | 0, 1 |
| signed | −1, 0, 1 |
| integer | whole numbers in [low, high] |
| pow2 | 0 and ±2^k in [low, high] |
| real | anything |
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from snnkit.errors import InvalidArgumentError, unknown_name

LARGEST = 2**52
"""Whole numbers up to here are exact in float64, sums included; wider intervals count as real."""

KINDS = ("real", "binary", "signed", "integer", "pow2")


@dataclass(frozen=True)
class SignalType:
    """The values a signal takes: ``scale`` times whole numbers from ``low`` to ``high`` (see the module's table)."""

    kind: str = "real"
    low: int = 0
    high: int = 0
    scale: Fraction = Fraction(1)

    @property
    def is_event(self) -> bool:
        """Whether values are whole numbers (times the scale), so that a weight is added and never multiplied."""
        return self.kind != "real"

    @property
    def levels(self) -> int:
        """Number of values in the interval; 0 for a real signal."""
        return self.high - self.low + 1 if self.is_event else 0

    @property
    def magnitude(self) -> int:
        """Largest |level|; 0 for a real signal."""
        return max(abs(self.low), abs(self.high)) if self.is_event else 0

    def __str__(self) -> str:
        kind = self.kind
        if kind == "integer":
            kind = f"integer[{self.low},{self.high}]"
        elif kind == "pow2":
            kind = f"pow2[{self.magnitude.bit_length() - 1}]"
        return kind if self.scale == 1 else f"{kind}×{_short(self.scale)}"

    def scaled(self, factor: Fraction | float | int) -> SignalType:
        """Return the type of the signal times a number."""
        exact = Fraction(factor)
        if not self.is_event or exact == 0:
            return self if not self.is_event else integer(0, 0)
        if exact < 0:
            return replace(integer(-self.high, -self.low, self.scale * -exact), kind=self._mirrored())
        return replace(self, scale=self.scale * exact)

    def _mirrored(self) -> str:
        return self.kind if self.kind in ("signed", "pow2") else "integer"

    def times(self, count: int) -> SignalType:
        """Return the type of a sum of ``count`` such signals."""
        return integer(count * self.low, count * self.high, self.scale) if self.is_event else REAL

    def sum(self, other: SignalType) -> SignalType:
        """Return the type of the sum of two signals."""
        return self._joined(other, lambda a, b, c, d: (a + c, b + d))

    def union(self, other: SignalType) -> SignalType:
        """Return the type of a signal that takes the values of either."""
        if self == other:
            return self
        if {self.kind, other.kind} == {"binary", "signed"} and self.scale == other.scale:
            return replace(SIGNED, scale=self.scale)
        return self._joined(other, lambda a, b, c, d: (min(a, c), max(b, d)))

    def product(self, other: SignalType) -> SignalType:
        """Return the type of the product of two signals."""
        if not (self.is_event and other.is_event):
            return REAL
        scale = self.scale * other.scale
        kinds = {self.kind, other.kind}
        if kinds == {"binary"}:
            return replace(BINARY, scale=scale)
        if kinds <= {"binary", "signed"}:
            return replace(SIGNED, scale=scale)
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        if kinds <= {"binary", "signed", "pow2"}:
            return SignalType("pow2", min(ends), max(ends), scale)
        return integer(min(ends), max(ends), scale)

    def with_zero(self) -> SignalType:
        """Return the type of a signal that may also be 0, as padding is."""
        if not self.is_event or self.low <= 0 <= self.high:
            return self
        return integer(min(0, self.low), max(0, self.high), self.scale)

    def clamped(self, low: float, high: float) -> SignalType:
        """Return the type after a clamp to [low, high]; real where an end is no level."""
        if not self.is_event:
            return REAL
        bottom = _level(low, self.low, self.scale, below=True)
        top = _level(high, self.high, self.scale, below=False)
        if bottom is None or top is None:
            return REAL
        if (bottom, top) == (self.low, self.high):
            return self
        # Outside of the interval every value becomes the nearer end.
        bottom, top = min(bottom, top), max(bottom, top)
        return integer(bottom, top, self.scale)

    def _joined(self, other: SignalType, ends: object) -> SignalType:
        """Bring two event types to their common step and combine their intervals; real where that is too wide."""
        if not (self.is_event and other.is_event):
            return REAL
        # A signal that is always 0 has no step of its own.
        mine = other.scale if self.low == self.high == 0 else self.scale
        theirs = mine if other.low == other.high == 0 else other.scale
        step = common_step((mine, theirs))
        a, b = int(mine / step), int(theirs / step)
        low, high = ends(self.low * a, self.high * a, other.low * b, other.high * b)  # type: ignore[operator]
        return integer(low, high, step)

    @staticmethod
    def parse(text: str) -> SignalType:
        """Return the type written as ``real``, ``binary``, ``signed``, ``integer[low,high]`` or ``pow2[K]``.

        Raises:
            UnknownNameError: no such kind. InvalidArgumentError: no interval of whole numbers.
        """
        plain = {"real": REAL, "binary": BINARY, "signed": SIGNED}
        if text in plain:
            return plain[text]
        found = re.fullmatch(r"integer\[\s*(-?\d+)\s*,\s*(-?\d+)\s*\]", text)
        if found and int(found[1]) <= int(found[2]):
            return integer(int(found[1]), int(found[2]))
        found = re.fullmatch(r"pow2\[\s*(\d+)\s*\]", text)
        if found and int(found[1]) < 50:
            return SignalType("pow2", -(2 ** int(found[1])), 2 ** int(found[1]))
        if text.startswith(("integer", "pow2")):
            raise InvalidArgumentError(f"signal type {text!r}: write integer[low,high] with low ≤ high, or pow2[K].")
        raise unknown_name("signal type", text, [*plain, "integer[low,high]", "pow2[K]"])


REAL = SignalType()
BINARY = SignalType("binary", 0, 1)
SIGNED = SignalType("signed", -1, 1)


def integer(low: int, high: int, scale: Fraction | int = 1) -> SignalType:
    """Return integer[low,high]×scale; real where the interval is too wide to be exact in float64."""
    if max(abs(low), abs(high)) > LARGEST:
        return REAL
    return SignalType("integer", low, high, Fraction(scale))


def _level(end: float, own: int, scale: Fraction, below: bool) -> int | None:
    """Return the level of a clamp's end, the interval's own end where that lies inside, None between two levels."""
    if math.isinf(end) or (Fraction(end) <= own * scale if below else Fraction(end) >= own * scale):
        return own
    level = Fraction(end) / scale
    return int(level) if level.denominator == 1 else None


def common_step(steps: Iterable[Fraction]) -> Fraction:
    """Return the largest fraction of which all ``steps`` are whole multiples."""
    result = Fraction(0)
    for step in steps:
        numerator = math.gcd(result.numerator * step.denominator, step.numerator * result.denominator)
        result = Fraction(numerator, result.denominator * step.denominator)
    return result


def _short(scale: Fraction) -> str:
    return str(scale) if scale.denominator <= 10**6 else f"{float(scale):.6g}"


@dataclass(frozen=True)
class Signal:
    """An edge: its name, its shape (that of one sample: without batch and time) and its type."""

    name: str
    shape: tuple[int, ...]
    type: SignalType = REAL

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)
