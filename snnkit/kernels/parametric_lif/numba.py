"""Parametric LIF on the CPU: one pass over memory for all time steps."""

from __future__ import annotations

from torch import Tensor

from snnkit.kernels import fused_numba
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.parametric_lif.c import dynamics


def supports(call: Call) -> tuple[bool, str]:
    """Return whether the numba kernel can run this, and why not."""
    return fused_numba.supports(call, charge_may_vary=True)


def forward(call: Call) -> Result:
    """Run all time steps."""
    return fused_numba.forward(call, dynamics(call.p))


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards, recomputing membranes from the input."""
    return fused_numba.backward(call, grad_out, grad_state, dynamics(call.p))
