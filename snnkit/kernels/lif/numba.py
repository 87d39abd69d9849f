"""LIF on the CPU: one pass over memory for all time steps."""

from __future__ import annotations

from torch import Tensor

from snnkit.kernels import fused_numba
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.lif.reference import LIFParameters

supports = fused_numba.supports


def _dynamics(p: LIFParameters) -> fused_numba.Dynamics:
    kind = fused_numba.LEAKY_DECAYED_INPUT if p.decay_input else fused_numba.LEAKY_PLAIN_INPUT
    return fused_numba.Dynamics(kind, p.tau, p.v_threshold, p.v_reset, p.detach_reset)


def forward(call: Call) -> Result:
    """Run all time steps."""
    return fused_numba.forward(call, _dynamics(call.p))


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards, recomputing membranes from the input."""
    return fused_numba.backward(call, grad_out, grad_state, _dynamics(call.p))
