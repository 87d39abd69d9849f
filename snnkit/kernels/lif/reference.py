"""LIF, the truth: one step in plain torch.

Charge, with r = v_reset (0 without a hard reset) and time constant τ in steps:

    h = v + (x − (v − r)) / τ          decay_input = True
    h = v − (v − r) / τ + x            decay_input = False

Fire and reset as in ``kernels.charge_fire_reset``. Source: SpikingJelly 2.0 ``LIFNode``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snnkit.kernels import charge_fire_reset as cfr
from snnkit.surrogates import Surrogate


@dataclass(frozen=True)
class LIFParameters:
    """Constants of the dynamics: ``tau`` in time steps (> 1), ``v_threshold``, ``v_reset`` (None = soft reset)."""

    tau: float
    decay_input: bool
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def rest(p: LIFParameters) -> tuple[float | Tensor]:
    """Return the membrane at rest."""
    return (cfr.resting(p.v_reset),)


def charge(x: Tensor, v: Tensor, p: LIFParameters) -> Tensor:
    """Return the membrane before firing, same shape as ``x``."""
    (r,) = rest(p)
    leak = v if isinstance(r, float) and r == 0.0 else v - r
    return v + (x - leak) / p.tau if p.decay_input else v - leak / p.tau + x


def step(x: Tensor, state: tuple[Tensor], p: LIFParameters, surrogate: Surrogate) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: current (B, …), (membrane,) → (spike, (membrane,)); autograd through it defines the gradient."""
    s, v = cfr.fire_and_reset(charge(x, state[0], p), p.v_threshold, p.v_reset, surrogate, p.detach_reset)
    return s, (v,)
