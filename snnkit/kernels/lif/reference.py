"""LIF, the truth: plain torch, one step at a time.

Charge, with r = v_reset (0 for a soft reset) and time constant τ in steps:

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


def charge(x: Tensor, v: Tensor, p: LIFParameters) -> Tensor:
    """Return the membrane before firing, same shape as ``x``."""
    rest = 0.0 if p.v_reset is None else p.v_reset
    leak = v if rest == 0.0 else v - rest
    return v + (x - leak) / p.tau if p.decay_input else v - leak / p.tau + x


def step(x: Tensor, v: Tensor, p: LIFParameters, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """One time step: (x, v), each (B, …) → (spike, v). Plain autograd through this text defines the gradient."""
    return cfr.fire_and_reset(charge(x, v, p), p.v_threshold, p.v_reset, surrogate, p.detach_reset)


def supports(x: Tensor, p: LIFParameters, surrogate: Surrogate) -> tuple[bool, str]:
    """Return (True, "") where this kernel can run, else (False, reason). The reference always can."""
    return True, ""


def forward(x: Tensor, v: Tensor, p: LIFParameters) -> tuple[Tensor, Tensor]:
    """(T, B, …), (B, …) → spikes (T, B, …), last membrane (B, …)."""
    spikes, v_last, _ = cfr.forward(lambda x_t, v_t: charge(x_t, v_t, p), x, v, p.v_threshold, p.v_reset)
    return spikes, v_last


def backward(
    x: Tensor, v: Tensor, grad_spikes: Tensor, grad_v: Tensor, p: LIFParameters, surrogate: Surrogate
) -> tuple[Tensor, Tensor]:
    """Gradients to (x, v). The charged membranes are recomputed from ``x``: nothing else is kept by the forward."""
    spikes, _, charged = cfr.forward(lambda x_t, v_t: charge(x_t, v_t, p), x, v, p.v_threshold, p.v_reset)
    slopes = cfr.Slopes(membrane=1.0 - 1.0 / p.tau, input=1.0 / p.tau if p.decay_input else 1.0)
    return cfr.backward(
        charged, spikes, grad_spikes, grad_v, slopes, p.v_threshold, p.v_reset, surrogate, p.detach_reset
    )
