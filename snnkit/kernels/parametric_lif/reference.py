"""Parametric LIF, the truth: one step in plain torch.

Charge, with r = v_reset (0 without a hard reset) and decay = 1/τ, a tensor that may be trained or differ by channel:

    h = v + (x − (v − r))·decay        decay_input = True
    h = v − (v − r)·decay + x          decay_input = False

Fire and reset as in ``kernels.charge_fire_reset``. Source: SpikingJelly 2.0 ``ParametricLIFNode``; Fang et al., ICCV
2021, arXiv 2007.05785.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snnkit.kernels import charge_fire_reset as cfr
from snnkit.surrogates import Surrogate


@dataclass(frozen=True)
class ParametricLIFParameters:
    """Constants: ``decay`` = 1/τ in (0, 1), ``v_threshold``; both may be tensors; ``v_reset`` (None = soft reset)."""

    decay: float
    decay_input: bool
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def rest(p: ParametricLIFParameters) -> tuple[float | Tensor]:
    """Return the membrane at rest."""
    return (cfr.resting(p.v_reset),)


def charge(x: Tensor, v: Tensor, p: ParametricLIFParameters) -> Tensor:
    """Return the membrane before firing, same shape as ``x``."""
    (r,) = rest(p)
    leak = v if isinstance(r, float) and r == 0.0 else v - r
    return v + (x - leak) * p.decay if p.decay_input else v - leak * p.decay + x


def step(
    x: Tensor, state: tuple[Tensor], p: ParametricLIFParameters, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: current (B, …), (membrane,) → (spike, (membrane,)); autograd through it defines the gradient."""
    s, v = cfr.fire_and_reset(charge(x, state[0], p), p.v_threshold, p.v_reset, surrogate, p.detach_reset)
    return s, (v,)
