"""IF, the truth: plain torch, one step at a time.

Charge: ``h = v + x`` (no leak). Fire and reset as in ``kernels.charge_fire_reset``. Source: SpikingJelly 2.0
``IFNode``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snnkit.kernels import charge_fire_reset as cfr
from snnkit.surrogates import Surrogate


@dataclass(frozen=True)
class IFParameters:
    """Constants of the dynamics: ``v_threshold`` and ``v_reset`` (None = soft reset)."""

    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def charge(x: Tensor, v: Tensor) -> Tensor:
    """Return the membrane before firing, same shape as ``x``."""
    return v + x


def step(x: Tensor, v: Tensor, p: IFParameters, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """One time step: (x, v), each (B, …) → (spike, v). Plain autograd through this text defines the gradient."""
    return cfr.fire_and_reset(charge(x, v), p.v_threshold, p.v_reset, surrogate, p.detach_reset)


def supports(x: Tensor, p: IFParameters, surrogate: Surrogate) -> tuple[bool, str]:
    """Return (True, "") where this kernel can run, else (False, reason). The reference always can."""
    return True, ""


def forward(x: Tensor, v: Tensor, p: IFParameters) -> tuple[Tensor, Tensor]:
    """(T, B, …), (B, …) → spikes (T, B, …), last membrane (B, …)."""
    spikes, v_last, _ = cfr.forward(charge, x, v, p.v_threshold, p.v_reset)
    return spikes, v_last


def backward(
    x: Tensor, v: Tensor, grad_spikes: Tensor, grad_v: Tensor, p: IFParameters, surrogate: Surrogate
) -> tuple[Tensor, Tensor]:
    """Gradients to (x, v). The charged membranes are recomputed from ``x``: nothing else is kept by the forward."""
    spikes, _, charged = cfr.forward(charge, x, v, p.v_threshold, p.v_reset)
    slopes = cfr.Slopes(membrane=1.0, input=1.0)
    return cfr.backward(
        charged, spikes, grad_spikes, grad_v, slopes, p.v_threshold, p.v_reset, surrogate, p.detach_reset
    )
