"""Current-based LIF on a GPU, in Triton: one pass over memory for all time steps."""

from __future__ import annotations

from torch import Tensor

from snnkit.kernels import triton_call
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.charge_fire_reset import is_no_reset
from snnkit.kernels.fused_c import SURROGATES

_HARD, _SOFT, _NONE = 0, 1, 2


def supports(call: Call) -> tuple[bool, str]:
    """Return whether the Triton kernel can run this, and why not."""
    ok, reason = triton_call.supports(call)
    if ok and call.training and type(call.surrogate).__name__ not in SURROGATES:
        return False, f"the surrogate {type(call.surrogate).__name__} has no Triton form."
    return ok, reason


def _numbers(call: Call) -> tuple[tuple[float, ...], int]:
    p = call.p
    kind = _SOFT if p.v_reset is None else _NONE if is_no_reset(p.v_reset) else _HARD
    reset = p.v_reset if kind == _HARD else 0.0
    kept = (1.0 - p.current_decay, 1.0 - p.voltage_decay)
    return (*kept, p.v_threshold, reset, reset, float(getattr(call.surrogate, "alpha", 1.0))), kind


def forward(call: Call) -> Result:
    """Run all time steps."""
    from snnkit.kernels.gpu import cuba_lif as source

    numbers, kind = _numbers(call)
    return triton_call.forward(call, source.forward, numbers, RESET=kind)


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards, recomputing membranes from the input."""
    from snnkit.kernels.gpu import cuba_lif as source

    numbers, kind = _numbers(call)
    settings = {"RESET": kind, "DETACH": call.p.detach_reset or kind == _NONE}
    surrogate = SURROGATES[type(call.surrogate).__name__]
    return triton_call.backward(
        call, grad_out, grad_state, source.backward, numbers, None, SURROGATE=surrogate, **settings
    )
