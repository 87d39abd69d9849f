"""LIF on the CPU: one pass over memory for all time steps."""

from __future__ import annotations

from torch import Tensor

from snnkit.kernels import fused_numba
from snnkit.kernels.lif.reference import LIFParameters
from snnkit.surrogates import Surrogate


def _dynamics(p: LIFParameters) -> fused_numba.Dynamics:
    kind = fused_numba.LEAKY_DECAYED_INPUT if p.decay_input else fused_numba.LEAKY_PLAIN_INPUT
    return fused_numba.Dynamics(kind, p.tau, p.v_threshold, p.v_reset, p.detach_reset)


def supports(x: Tensor, p: LIFParameters, surrogate: Surrogate) -> tuple[bool, str]:
    """Return whether numba can run this, and why not."""
    return fused_numba.supports(x, surrogate)


def forward(x: Tensor, v: Tensor, p: LIFParameters) -> tuple[Tensor, Tensor]:
    """(T, B, …), (B, …) → spikes (T, B, …), last membrane (B, …)."""
    return fused_numba.forward(x, v, _dynamics(p))


def backward(
    x: Tensor, v: Tensor, grad_spikes: Tensor, grad_v: Tensor, p: LIFParameters, surrogate: Surrogate
) -> tuple[Tensor, Tensor]:
    """Gradients to (x, v)."""
    return fused_numba.backward(x, v, grad_spikes, grad_v, _dynamics(p), surrogate)
