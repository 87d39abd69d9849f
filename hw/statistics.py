"""Mean and 95 % interval of what varies from sample to sample: Student's t, mean ± t₀.₉₇₅(n − 1)·s/√n."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from statistics import NormalDist


@dataclass(frozen=True)
class Statistic:
    """Mean over ``n`` samples, their standard deviation ``std`` (n − 1) and the interval's ``half_width``.

    Of a single sample nothing is known of the spread: its half-width is infinite.
    """

    mean: float
    std: float
    n: int
    half_width: float

    @staticmethod
    def of(mean: float, squares: float, n: int) -> Statistic:
        """Return the statistic of a mean and a sum of squared distances from it."""
        std = math.sqrt(max(squares, 0.0) / (n - 1)) if n > 1 else 0.0
        return Statistic(mean, std, n, half_width(squares, n))


def half_width(squares: float, n: int) -> float:
    """Return t·s/√n for a sum of squared distances from the mean of ``n`` samples; infinite for one sample."""
    if n < 2:
        return math.inf
    return student_t(n - 1) * math.sqrt(max(squares, 0.0) / (n - 1) / n)


@functools.lru_cache(maxsize=1024)  # the same for every layer
def student_t(degrees: int, probability: float = 0.95) -> float:
    """Return the t beyond which, on both sides together, 1 − ``probability`` of Student's distribution lies.

    Raises:
        ValueError: degrees < 1.
    """
    if degrees < 1:
        raise ValueError(f"{degrees} degrees of freedom: must be ≥ 1.")
    if degrees > 1000:  # the first terms of the expansion about the normal distribution, 26.7.5: within 1e-9
        z = NormalDist().inv_cdf((1 + probability) / 2)
        second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
        return z + (z**3 + z) / 4 / degrees + second / degrees**2
    low, high = 0.0, 2.0
    while _within(high, degrees) < probability:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _within(t: float, degrees: int) -> float:
    """Return P(|T| < t): Abramowitz and Stegun 26.7.3 and 26.7.4, finite sums for whole degrees of freedom."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    term = total = cosine if odd else 1.0
    for k in range(2 + odd, degrees, 2):
        term *= cosine**2 * (k - 1) / k
        total += term
    if odd:
        return 2 / math.pi * (angle + sine * (total if degrees > 1 else 0.0))
    return sine * total
