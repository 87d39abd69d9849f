"""Stateless multi-level spikes of all time steps at once: there is nothing to loop over. Any device."""

from __future__ import annotations

from torch import Tensor

from snnkit.kernels.call import Call, Gradients, Result, state_dtype
from snnkit.kernels.multi_spike.reference import whole_numbers


def supports(call: Call) -> tuple[bool, str]:
    """Everything but constants that are tensors and the approximate save tiers."""
    if call.tensors:
        return False, f"constants per channel ({', '.join(call.tensors)}) need the reference kernel."
    if call.training and call.save != "exact":
        return False, f"the elementwise kernel saves exactly, not {call.save!r}."
    return True, ""


def forward(call: Call) -> Result:
    """Clip, round, divide."""
    p, x = call.p, call.x
    within = x.detach().to(state_dtype(x)).clamp(0, p.levels)
    return Result(whole_numbers(within, p.half_up).div_(p.divisor).to(x.dtype), () if call.keep_state else None)


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Pass the gradient where the current lies within the levels."""
    p, x = call.p, call.x
    passes = (x > 0) & (x < p.levels) if p.half_up else (x >= 0) & (x <= p.levels)
    return Gradients((grad_out / p.divisor).masked_fill_(~passes, 0), ())
