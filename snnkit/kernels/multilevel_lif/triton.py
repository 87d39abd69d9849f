"""Integer LIF on a GPU, in Triton: one pass over memory for all time steps."""

from __future__ import annotations

import torch
from torch import Tensor

from snnkit.kernels import triton_call
from snnkit.kernels.call import Call, Gradients, Result, state_dtype

_MANTISSA = {torch.float32: 23, torch.float64: 52}
_MOST_LEVELS = 1 << 20


def supports(call: Call) -> tuple[bool, str]:
    """Return whether the Triton kernel can run this, and why not."""
    if call.p.levels > _MOST_LEVELS:
        return False, f"the Triton kernel counts up to {_MOST_LEVELS} spikes, levels={call.p.levels}."
    return triton_call.supports(call)


def _numbers(call: Call) -> tuple[float, ...]:
    p = call.p
    return (p.tau, p.v_threshold, float(p.levels), 1.5 * 2.0 ** _MANTISSA[state_dtype(call.x)])


def forward(call: Call) -> Result:
    """Run all time steps."""
    from snnkit.kernels.gpu import multilevel_lif as source

    return triton_call.forward(call, source.forward, _numbers(call))


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards, recomputing membranes from the input."""
    from snnkit.kernels.gpu import multilevel_lif as source

    return triton_call.backward(
        call, grad_out, grad_state, source.backward, _numbers(call), torch.int8, DETACH=call.p.detach_reset
    )
