"""IF on the CPU in C: one pass over memory for all time steps."""

from __future__ import annotations

from torch import Tensor

from snnkit.kernels import fused_c
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.integrate_fire.reference import IFParameters


def supports(call: Call) -> tuple[bool, str]:
    """Return whether the C kernel can run this, and why not."""
    return fused_c.supports(call)


def dynamics(p: IFParameters) -> fused_c.Dynamics:
    """Return the constants in the form that the fused kernels take."""
    return fused_c.Dynamics(fused_c.NO_LEAK, 1.0, p.v_threshold, p.v_reset, p.detach_reset)


def forward(call: Call) -> Result:
    """Run all time steps."""
    return fused_c.forward(call, dynamics(call.p))


def forward_normed(call: Call, scale: Tensor, shift: Tensor) -> Result:
    """Run all time steps on ``x * scale + shift``, without a backward."""
    return fused_c.forward(call, dynamics(call.p), (scale, shift))


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards."""
    return fused_c.backward(call, saved, grad_out, grad_state, dynamics(call.p))
