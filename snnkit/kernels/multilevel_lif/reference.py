"""Integer LIF, the truth: one step in plain torch.

With the time constant τ in steps, threshold θ and D = levels:

    h = v − v/τ + x                            charge
    s = round(clip(h/θ, 0, D))                 fire: how many spikes; halves round to even
    v = h − s·θ                                soft reset

Backward: ∂s/∂h = 1/θ where 0 ≤ h/θ ≤ D, else 0; ``detach_reset`` keeps s in the last line out of it.
Source: SpikingJelly 2.0 ``ILIFNode`` with ``MultiLevelSpikeCount``; arXiv 2407.20708.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.kernels.straight_through import clip, straight_through
from snnkit.surrogates import Surrogate


@dataclass(frozen=True)
class MultilevelLIFParameters:
    """Constants: ``tau`` in time steps (> 1), ``v_threshold``, and ``levels``, the most spikes a step."""

    tau: float
    v_threshold: float
    levels: int
    detach_reset: bool


def step(
    x: Tensor, state: tuple[Tensor, ...], p: MultilevelLIFParameters, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: current (B, …), (membrane,) → (spikes 0 … levels, (membrane,)); the surrogate plays no part."""
    (v,) = state
    h = v - v / p.tau + x
    within = clip(h / p.v_threshold, 0, p.levels)
    s = straight_through(within, torch.round(within))
    return s, (h - (s.detach() if p.detach_reset else s) * p.v_threshold,)
