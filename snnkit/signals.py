"""Types of signals: which values travel between layers.

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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError, unknown_name

LARGEST = 2**24
"""Whole numbers up to here are exact in float32, in which networks run; wider intervals count as real.

It also keeps apart what only looks whole: 1 and 0.35355 have a common step of 2^−25 or less, and a sum of the two is no
number of spikes.
"""

Ends = Callable[[int, int], int]

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
        if count == 1:
            return self
        return integer(count * self.low, count * self.high, self.scale) if self.is_event else REAL

    def sum(self, other: SignalType) -> SignalType:
        """Return the type of the sum of two signals."""
        return self._joined(other, lambda a, b, c, d: (a + c, b + d))

    def union(self, other: SignalType) -> SignalType:
        """Return the type of a signal that takes the values of either."""
        return self._extreme(other, min, max)

    def maximum(self, other: SignalType) -> SignalType:
        """Return the type of the larger of two signals."""
        return self._extreme(other, max, max)

    def minimum(self, other: SignalType) -> SignalType:
        """Return the type of the smaller of two signals."""
        return self._extreme(other, min, min)

    def _extreme(self, other: SignalType, low: Ends, high: Ends) -> SignalType:
        if self == other:
            return self
        if not (self.is_event and other.is_event):
            return REAL
        # A signal that is always 0 has no kind and no step of its own.
        moving = [one for one in (self, other) if not one.low == one.high == 0]
        if len({one.scale for one in moving}) == 1:
            ends = low(self.low, other.low), high(self.high, other.high)
            return _narrowest({one.kind for one in moving}, *ends, moving[0].scale)
        return self._joined(other, lambda a, b, c, d: (low(a, c), high(b, d)))

    def product(self, other: SignalType) -> SignalType:
        """Return the type of the product of two signals."""
        if not (self.is_event and other.is_event):
            return REAL
        for one, number in ((self, other), (other, self)):
            if number.low == number.high:
                return one.scaled(number.low * number.scale)
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        return _narrowest({self.kind, other.kind}, min(ends), max(ends), self.scale * other.scale)

    def power(self, exponent: int) -> SignalType:
        """Return the type of the signal to a whole power ≥ 0."""
        if exponent == 0:
            return integer(1, 1)
        if not self.is_event:
            return REAL
        ends = [self.low**exponent, self.high**exponent]
        if exponent % 2 == 0 and self.low < 0 < self.high:
            ends.append(0)
        return _narrowest({self.kind}, min(ends), max(ends), self.scale**exponent)

    def rounded(self, function: Callable[[Fraction], int]) -> SignalType:
        """Return the type after rounding to whole numbers by ``function``: floor, ceil, round or trunc.

        Steps that floats do not hold exactly, such as 1/9, may fall on either side of a whole number or a half.
        """
        if not self.is_event or self.scale.denominator == 1:
            return self
        exact = self.scale.denominator & (self.scale.denominator - 1) == 0
        bottom, top = self.low * self.scale, self.high * self.scale
        blur = Fraction(0) if exact else max(abs(bottom), abs(top)) / 2**20
        return integer(function(bottom - blur if bottom else bottom), function(top + blur if top else top))

    def with_zero(self) -> SignalType:
        """Return the type of a signal that may also be 0, as padding is."""
        if not self.is_event or self.low <= 0 <= self.high:
            return self
        return integer(min(0, self.low), max(0, self.high), self.scale)

    def clamped(self, low: float, high: float) -> SignalType:
        """Return the type after a clamp to [low, high]."""
        if not self.is_event:
            return REAL
        ends = []
        for value in (self.low * self.scale, self.high * self.scale):
            # As torch does it: the upper end has the last word.
            value = value if low == -math.inf else max(value, Fraction(low))
            ends.append(value if high == math.inf else min(value, Fraction(high)))
        if ends[0] == ends[1]:
            return single(ends[0])
        step = common_step((self.scale, *ends))
        kind = self.kind if step == self.scale else "integer"
        return _narrowest({kind}, int(ends[0] / step), int(ends[1] / step), step)

    def _joined(self, other: SignalType, ends: Callable[[int, int, int, int], tuple[int, int]]) -> SignalType:
        """Bring two event types to their common step and combine their intervals; real where that is too wide."""
        if not (self.is_event and other.is_event):
            return REAL
        # A signal that is always 0 has no step of its own.
        mine = other.scale if self.low == self.high == 0 else self.scale
        theirs = mine if other.low == other.high == 0 else other.scale
        step = common_step((mine, theirs))
        a, b = int(mine / step), int(theirs / step)
        low, high = ends(self.low * a, self.high * a, other.low * b, other.high * b)
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


def single(value: Fraction | float | int) -> SignalType:
    """Return the type of a signal that is always the same number."""
    exact = Fraction(value)
    sign = (exact > 0) - (exact < 0)
    return integer(sign, sign, abs(exact) or 1)


def stored(value: Tensor) -> SignalType:
    """Return the type of a signal that holds stored numbers."""
    value = value.detach()
    if value.dtype == torch.bool:
        return BINARY
    if not value.numel() or not bool(torch.isfinite(value).all()):
        return REAL
    low, high = (float(end) for end in torch.aminmax(value))
    if low == high:
        return single(low)
    step = max(abs(low), abs(high))
    if bool(((value == 0) | (value.abs() == step)).all()):
        ends = int(low / step), int(high / step)
        plain = {(0, 1): BINARY, (-1, 1): SIGNED}.get(ends) or integer(*ends)
        return plain.scaled(step)
    return integer(int(low), int(high)) if bool((value == value.round()).all()) else REAL


def sent(kind: str, low: float, high: float, step: float | Tensor) -> SignalType:
    """Return the type of what a neuron says that it sends (``Neuron.sends``); ``step`` is what one level is worth."""
    exact = _step(step)
    if kind == "real" or exact is None:
        return REAL
    plain = {"binary": BINARY, "signed": SIGNED}.get(kind)
    return SignalType(kind, int(low), int(high), exact) if plain is None else plain.scaled(exact)


def _step(step: float | Tensor) -> Fraction | None:
    """Return the short fraction that a neuron means by a step such as 1/3, else what the float is exactly.

    None where every channel has its own: no one step divides them all.
    """
    if isinstance(step, Tensor):
        if bool((step != step.flatten()[0]).any()):
            return None
        step = float(step.flatten()[0])
    short = Fraction(step).limit_denominator(1024)
    return short if float(short) == step else Fraction(step)


def _narrowest(kinds: set[str], low: int, high: int, scale: Fraction) -> SignalType:
    """Return the narrowest type for values in [low, high] that come of signals of these ``kinds``."""
    if kinds <= {"binary", "signed"} and high == 1 and low in (0, -1):
        return SignalType("binary" if low == 0 else "signed", low, high, scale)
    powers = all(abs(end).bit_count() <= 1 and abs(end) < 2**50 for end in (low, high))
    if powers and "pow2" in kinds and kinds <= {"binary", "signed", "pow2"}:
        return SignalType("pow2", low, high, scale)
    return integer(low, high, scale)


def common_step(steps: Iterable[Fraction]) -> Fraction:
    """Return the largest fraction of which all ``steps`` are whole multiples."""
    result = Fraction(0)
    for step in steps:
        numerator = math.gcd(result.numerator * step.denominator, step.numerator * result.denominator)
        result = Fraction(numerator, result.denominator * step.denominator)
    return result


def _short(scale: Fraction) -> str:
    return str(scale) if scale.denominator <= 10**6 else f"{float(scale):.6g}"
