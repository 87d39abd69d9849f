"""Tracer neuron, the truth: one step in plain torch.

With the scale s, the bounds lo < hi and the largest exponent K (−1: no bound, graded events); q starts at ½, S at 0:

    q = q + x/s
    c = clip(⌊q⌋ + S, lo, hi) − S              the wanted correction
    o = sign(c)·2^min(⌊log₂|c|⌋, K)            the event; 0 where c = 0; c itself for K = −1
    S = S + o,   q = q − o,   the neuron sends o·s

Backward: ⌊·⌋ and the step from c to o let gradients through unchanged, clip does so where lo ≤ ⌊q⌋ + S ≤ hi. Since
q + S = ½ + Σx/s at all times, the total S·s sent so far then has the gradient of the quantiser s·clip(⌊½ + Σx/s⌋, lo,
hi) under the same rule: 1 to every x so far inside of the bounds, else 0; S − Σx/s to the scale inside, S outside.

Source: K = 0 is SpikeZIP-TF's ST-BIF neuron (``IFNeuron``; SpikingJelly 2.0 ``STBIFNode``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.kernels.straight_through import clip, straight_through
from snnkit.surrogates import Surrogate

GRADED = -1
"""``max_exponent=GRADED``: an event carries the whole correction."""


@dataclass(frozen=True)
class TracerParameters:
    """Constants: ``scale`` > 0, integer bounds ``low`` < ``high``, ``max_exponent`` ≥ 0 or GRADED."""

    scale: float
    low: int
    high: int
    max_exponent: int


def rest(p: TracerParameters) -> tuple[float | Tensor, ...]:
    """Return (q, S) at rest."""
    return (0.5, 0.0)


def correction(q: Tensor, total: Tensor, p: TracerParameters) -> Tensor:
    """Return the wanted correction c, whole numbers of the same shape; 0 where the neuron has nothing to say."""
    return clip(straight_through(q, torch.floor(q)) + total, p.low, p.high) - total


def event(c: Tensor, max_exponent: int) -> Tensor:
    """Return the largest event ±2^k, k ≤ ``max_exponent``, that does not overshoot the correction ``c``."""
    if max_exponent == GRADED:
        return c
    size = c.abs()
    largest = (size >= 1).to(c.dtype)
    for k in range(1, max_exponent + 1):  # comparisons, because a rounded logarithm is wrong just below a power
        largest = torch.where(size >= 2.0**k, 2.0**k, largest)
    return straight_through(c, torch.sign(c) * largest)


def step(
    x: Tensor, state: tuple[Tensor, ...], p: TracerParameters, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: input (B, …), (q, S) → (event × scale, (q, S)); the surrogate plays no part."""
    q, total = state
    q = q + x / p.scale
    o = event(correction(q, total, p), p.max_exponent)
    return o * p.scale, (q - o, total + o)
