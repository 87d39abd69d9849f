"""Fire and reset: what point neurons with one threshold have in common.

With the charged membrane h, threshold θ:

    s = H(h − θ),  H(0) = 1                  fire
    v = s·v_reset + (1 − s)·h                hard reset (v_reset is a number)
    v = h − θ·s                              soft reset (v_reset is None)
    v = h                                    no reset   (v_reset is NO_RESET)

The backward pass of the fused kernels, with σ' the surrogate's derivative at h − θ, a = ∂h/∂v, b = ∂h/∂x:

    ∂v/∂h = (1 − s) + (v_reset − h)·σ'   or   1 − θ·σ'   or   1      (the σ' term drops out when the reset is detached)
    gh = gs·σ' + gv·∂v/∂h,   gx = b·gh,   gv[t−1] = a·gh

Equation and order of operations: SpikingJelly 2.0 ``activation_based.neuron.BaseNode``.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from snnkit.kernels.straight_through import straight_through
from snnkit.surrogates import Surrogate, spike
from snnkit.surrogates.base import forward_mode

NO_RESET = math.inf
"""``v_reset=NO_RESET``: a spike leaves the membrane as it is."""


def fire_and_reset(
    h: Tensor, v_threshold: float | Tensor, v_reset: float | Tensor | None, surrogate: Surrogate, detach_reset: bool
) -> tuple[Tensor, Tensor]:
    """One step after the charge: return (spike, membrane after reset), differentiable by plain autograd."""
    s = spike(h - v_threshold, surrogate)
    return s, reset(h, s.detach() if detach_reset else s, v_threshold, v_reset)


def reset(h: Tensor, s: Tensor, v_threshold: float | Tensor, v_reset: float | Tensor | None) -> Tensor:
    """Return the membrane after spikes ``s`` (0, 1, or levels with a soft reset).

    A spike resets whatever drove it: an infinite h becomes v_reset, where the sum that has the gradient would be NaN.
    """
    if v_reset is None:
        if isinstance(v_threshold, float) and math.isinf(v_threshold):  # that nothing reaches: ∞·0 is no number
            return straight_through(h - s, torch.where(s > 0, h - v_threshold, h))
        return h - v_threshold * s
    if is_no_reset(v_reset):
        return h
    after = torch.where(s > 0, v_reset, h)
    if not torch.is_grad_enabled() and not forward_mode():
        return after
    return straight_through(v_reset * s + (1.0 - s) * h, after)


def is_no_reset(v_reset: float | Tensor | None) -> bool:
    """Whether ``v_reset`` is NO_RESET."""
    return isinstance(v_reset, float) and v_reset == NO_RESET


def resting(v_reset: float | Tensor | None) -> float | Tensor:
    """Return the membrane at rest: v_reset where there is a hard reset, else 0."""
    return 0.0 if v_reset is None or is_no_reset(v_reset) else v_reset


def surrogate_width(surrogate: Surrogate) -> float:
    """Return 1 / (2σ'(0)), the distance from the threshold over which a surrogate of unit area acts."""
    return code8_tables(surrogate)[2]


@lru_cache(maxsize=64)
def code8_tables(surrogate: Surrogate) -> tuple[Tensor, Tensor, float]:
    """Return what the 256 codes of the tier ``code8`` stand for: (σ', h − θ), float32 (256,), and the width k.

    The distance d to the threshold is companded, d/(|d| + k), and either side of it cut into 128 cells, each read as
    its middle; code ≥ 128 fired. The Triton kernel's cells are equal. The C kernel counts from the far end in steps of
    1/127.9 instead of 1/128, so that its rough reciprocal cannot reach code 128 from below: its cells are 0.08 % wider,
    that at the threshold is a tenth narrower, and the middles they are read by lie up to a tenth of a cell beside.
    """
    peak = surrogate.derivative(torch.zeros((), dtype=torch.float64)).item()
    width = 0.5 / peak if math.isfinite(peak) and peak > 0 else 0.5
    share = (torch.arange(256, dtype=torch.float64) - 127.5) / 128
    levels = width * share / (1 - share.abs())
    return surrogate.derivative(levels).float(), levels.float(), width
