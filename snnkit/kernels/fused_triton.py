"""Charge–fire–reset fused over all time steps on a GPU, in Triton (``gpu/charge_fire_reset.py``).

Serves IF, LIF and parametric LIF through the same ``Dynamics`` as the C kernels. Sequences are read where they lie, in
any dense order of memory. On the CPU these kernels run only under ``TRITON_INTERPRET=1``, for tests.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snnkit.kernels import triton_call
from snnkit.kernels.call import Call, Gradients, Result, state_dtype
from snnkit.kernels.charge_fire_reset import code8_tables, is_no_reset, surrogate_width
from snnkit.kernels.fused_c import (
    NO_LEAK,
    SURROGATES,
    Dynamics,
    check_rect,
    constants_per_neuron,
    empty_saved,
    reduce_to_constants,
)
from snnkit.kernels.layout import dense_steps, like, steps_like
from snnkit.kernels.triton_call import BLOCK, grid, options

_SAVES = {"exact": 0, "code8": 1, "rect": 2}


def supports(call: Call, charge_may_vary: bool = False) -> tuple[bool, str]:
    """Return whether the Triton kernel can run this, and why not."""
    ok, reason = triton_call.runs_here(call)
    if not ok:
        return ok, reason
    surrogate = type(call.surrogate).__name__
    if call.tensors and not charge_may_vary:
        return False, f"this Triton kernel takes numbers, and {', '.join(call.tensors)} is a tensor."
    if "v_reset" in call.tensors:
        return False, "Triton kernels take a number for v_reset."
    if call.training and call.save != "code8" and surrogate not in SURROGATES:
        return False, f"the surrogate {surrogate} has no Triton form."
    if call.training and call.save != "exact" and call.tensors:
        return False, f"with save={call.save!r} constants must be numbers: their gradient needs the input."
    return True, ""


def forward(call: Call, d: Dynamics) -> Result:
    """Run all time steps; results lie in memory as the input does."""
    from snnkit.kernels.gpu import charge_fire_reset as source

    x = call.x
    dense, layout = dense_steps(x)
    spikes = torch.empty_like(layout)
    last = torch.empty_like(layout[0], dtype=state_dtype(x)) if call.keep_state else None
    start = None if call.state[0] is None else like(call.state[0], layout[0])
    save = call.save if call.training else "exact"
    if save == "rect":
        check_rect(call, d)
    saved = empty_saved(layout, save)
    tau, threshold = constants_per_neuron(call, d, layout)
    neurons = layout[0].numel()
    source.forward[grid(neurons)](
        dense, spikes, _or(start, x), _or(last, x), _or(saved, x), _or(tau, x), _or(threshold, x),
        _constants(call, d, x), neurons, dense.stride(0), layout.stride(0), len(x), _SAVES[save], d.charge,
        _kind_of_reset(d), x.dtype == torch.float64, start is not None, last is not None, tau is not None,
        threshold is not None, BLOCK, **options(x),
    )  # fmt: skip
    return Result(like(spikes, x), (like(last, x[0]),) if call.keep_state else None, saved)


def backward(
    call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...], d: Dynamics
) -> Gradients:
    """Run backwards, from what the forward kept, or recomputing membranes from the input into a scratch tensor (T, N)
    that lives as long as this.
    """
    from snnkit.kernels.gpu import charge_fire_reset as source

    if call.x is None:
        dense = layout = steps_like(saved, len(grad_out), grad_out.dtype)
    else:
        dense, layout = dense_steps(call.x)
    x, step, dtype, neurons = layout, layout[0], state_dtype(layout), layout[0].numel()
    grad_x, grads = torch.empty_like(layout), like(grad_out, layout)
    grad_last = None if grad_state[0] is None else like(grad_state[0].to(dtype), step)
    start = None if call.state[0] is None else like(call.state[0], step)
    grad_v0 = None if start is None else torch.empty_like(step, dtype=dtype)
    by_name = {name: torch.empty_like(step, dtype=dtype) for name in call.tensors}
    slopes, levels = _tables(call, x) if call.save == "code8" else (None, None)
    tau, threshold = constants_per_neuron(call, d, layout)
    charged = torch.empty(len(x), neurons, dtype=dtype, device=x.device) if call.save == "exact" else x
    source.backward[grid(neurons)](
        dense, grads, grad_x, _or(start, x), _or(grad_last, x), _or(grad_v0, x), _or(by_name.get("decay"), x),
        _or(by_name.get("v_threshold"), x), charged, _or(saved, x), _or(slopes, x), _or(levels, x), _or(tau, x),
        _or(threshold, x), _constants(call, d, x), neurons, dense.stride(0), grads.stride(0), grad_x.stride(0),
        len(x), _SAVES[call.save], d.charge, _kind_of_reset(d), d.detach_reset or _kind_of_reset(d) == 2,
        SURROGATES.get(type(call.surrogate).__name__, 0), x.dtype == torch.float64, start is not None,
        grad_last is not None, grad_v0 is not None, tau is not None, threshold is not None, BLOCK, **options(x),
    )  # fmt: skip
    target = grad_x if call.x is None else call.x
    to_start = None if grad_v0 is None else like(grad_v0, target[0])
    return Gradients(like(grad_x, target), (to_start,), reduce_to_constants(call, by_name, grad_x[0]))


def _or(given: Tensor | None, x: Tensor) -> Tensor:
    """A pointer that is not used where there is nothing to point to."""
    return x if given is None else given


def _kind_of_reset(d: Dynamics) -> int:
    return 1 if d.v_reset is None else 2 if is_no_reset(d.v_reset) else 0


def _constants(call: Call, d: Dynamics, x: Tensor) -> Tensor:
    """(tau or decay, threshold, v_reset, rest, alpha, width) in the dtype of the arithmetic; made once per neuron."""
    key = ("triton", x.dtype, x.device)
    known = call.memo.get(key)
    if known is not None:
        return known
    hard = _kind_of_reset(d) == 0
    numbers = [
        0.0 if isinstance(d.tau, Tensor) or d.charge == NO_LEAK else d.tau,
        0.0 if isinstance(d.v_threshold, Tensor) else d.v_threshold,
        d.v_reset if hard else 0.0,
        d.v_reset if hard else 0.0,
        float(getattr(call.surrogate, "alpha", 1.0)),
        surrogate_width(call.surrogate) if call.save == "code8" else 0.0,
    ]
    made = torch.tensor(numbers, dtype=state_dtype(x), device=x.device)
    if not call.tensors:
        call.memo[key] = made
    return made


def _tables(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    """What the codes of ``code8`` stand for, on the device; made once per neuron."""
    key = ("code8", x.device)
    if key not in call.memo:
        call.memo[key] = tuple(table.to(x.device) for table in code8_tables(call.surrogate)[:2])
    return call.memo[key]
