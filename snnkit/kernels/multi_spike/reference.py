"""Stateless multi-level spikes, the truth: one step in plain torch.

With D = levels:

    y = round(clip(x, 0, D)) / divisor        halves round to even; half_up: ⌊clip(x, 0, D) + ½⌋ / divisor

Backward: 1/divisor where 0 ≤ x ≤ D, else 0; with half_up where 0 < x < D.
Source: E-SpikeFormer, arXiv 2411.16061: base models (halves to even), large model (halves up).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.kernels.straight_through import clip, straight_through
from snnkit.surrogates import Surrogate


@dataclass(frozen=True)
class MultiSpikeParameters:
    """Constants: ``levels``, the most spikes at once; ``divisor`` of their number; which way halves round."""

    levels: int
    divisor: float
    half_up: bool


def whole_numbers(within: Tensor, half_up: bool) -> Tensor:
    """Round to whole numbers, halves up or to even."""
    return torch.floor(within + 0.5) if half_up else torch.round(within)


def step(
    x: Tensor, state: tuple[Tensor, ...], p: MultiSpikeParameters, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: current (B, …) → (spikes over ``divisor``, no state); the surrogate plays no part."""
    within = clip(x, 0, p.levels, ends_pass=not p.half_up)
    return straight_through(within, whole_numbers(within, p.half_up)) / p.divisor, ()
