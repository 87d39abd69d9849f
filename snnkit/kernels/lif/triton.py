"""LIF on a GPU, in Triton: one pass over memory for all time steps."""

from __future__ import annotations

from torch import Tensor

from snnkit.kernels import fused_triton
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.lif.c import dynamics


def supports(call: Call) -> tuple[bool, str]:
    """Return whether the Triton kernel can run this, and why not."""
    return fused_triton.supports(call)


def forward(call: Call) -> Result:
    """Run all time steps."""
    return fused_triton.forward(call, dynamics(call.p))


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards."""
    return fused_triton.backward(call, saved, grad_out, grad_state, dynamics(call.p))
