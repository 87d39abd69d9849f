"""What the Triton kernels have in common: where they run, and launching those with loops of their own.

A kernel gets sequences as (T, N) and states as (N), N neurons in the order in which they lie in memory. On the CPU they
run only under ``TRITON_INTERPRET=1``, for tests.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from snnkit.kernels.call import Call, Gradients, Result, state_dtype
from snnkit.kernels.layout import dense_steps, like

BLOCK = 512
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@lru_cache(maxsize=1)
def why_not() -> str:
    """Return "" where triton is installed, else how to get it."""
    return "" if find_spec("triton") else "the package triton is not installed (pip install triton)."


def runs_here(call: Call) -> tuple[bool, str]:
    """Return whether device and dtype are those of Triton kernels, and why not."""
    x = call.x
    if x.device.type != "cuda" and not (x.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"):
        return False, f"Triton kernels run on a GPU, the input is on {x.device}."
    if x.dtype not in _DTYPES:
        return False, f"Triton kernels take float32, float64, bfloat16 and float16, got {x.dtype}."
    return not why_not(), why_not()


def supports(call: Call) -> tuple[bool, str]:
    """Return whether a kernel that ``forward`` and ``backward`` launch can run this, and why not."""
    ok, reason = runs_here(call)
    if ok and call.tensors:
        return (
            False,
            f"this Triton kernel takes numbers, and {', '.join(call.tensors)} is a tensor.",
        )
    if ok and call.training and call.save != "exact":
        return False, f"this Triton kernel saves exactly, not {call.save!r}."
    return ok, reason


def forward(call: Call, kernel: Any, numbers: tuple[float, ...], **settings: int | bool) -> Result:
    """Run all time steps.

    The kernel is launched with x, out, the starting and last states, ``numbers`` as a tensor in the dtype of the
    arithmetic, the number of neurons, the distances of two steps in x and out; T, DOUBLE, HAS_START, HAS_LAST, BLOCK,
    and ``settings``. States at rest are not passed: the kernel knows them.
    """
    x = call.x
    dense, layout = dense_steps(x)
    step = layout[0]
    out = torch.empty_like(layout)
    start = _given(call, step)
    last = [torch.empty_like(step, dtype=state_dtype(x)) for _ in call.state] if call.keep_state else None
    kernel[grid(step.numel())](
        dense, out, *(start or [x] * len(call.state)), *(last or [x] * len(call.state)), constants(call, numbers, x),
        step.numel(), dense.stride(0), layout.stride(0), T=len(x), DOUBLE=x.dtype == torch.float64,
        HAS_START=bool(start), HAS_LAST=bool(last), BLOCK=BLOCK, **settings, **options(x),
    )  # fmt: skip
    return Result(like(out, x), tuple(like(v, x[0]) for v in last) if last else None)


def backward(
    call: Call,
    grad_out: Tensor,
    grad_state: tuple[Tensor | None, ...],
    kernel: Any,
    numbers: tuple[float, ...],
    scratch: torch.dtype | None = None,
    **settings: int | bool,
) -> Gradients:
    """Run backwards.

    The kernel is launched with x, grad_out, grad_x, the starting states, the gradients to the last and to the starting
    states, a scratch tensor (T, N) of dtype ``scratch`` (that of the arithmetic if None), ``numbers``, the number of
    neurons, the distances of two steps in x, grad_out and grad_x; T, DOUBLE, HAS_START, HAS_GRAD_LAST, BLOCK, and
    ``settings``.
    """
    x = call.x
    dense, layout = dense_steps(x)
    step, dtype, count = layout[0], state_dtype(x), len(call.state)
    grad_x, grads, start = torch.empty_like(layout), like(grad_out, layout), _given(call, step)
    wanted = any(g is not None for g in grad_state)
    grad_last = [torch.zeros_like(step, dtype=dtype) if g is None else like(g.to(dtype), step) for g in grad_state]
    grad_start = [torch.empty_like(step, dtype=dtype) for _ in start]
    kept = torch.empty(len(x), step.numel(), dtype=scratch or dtype, device=x.device)
    kernel[grid(step.numel())](
        dense, grads, grad_x, *(start or [x] * count), *(grad_last if wanted else [x] * count),
        *(grad_start or [x] * count), kept, constants(call, numbers, x), step.numel(), dense.stride(0),
        grads.stride(0), grad_x.stride(0), T=len(x), DOUBLE=x.dtype == torch.float64, HAS_START=bool(start),
        HAS_GRAD_LAST=wanted, BLOCK=BLOCK, **settings, **options(x),
    )  # fmt: skip
    to_start = tuple(like(g, x[0]) for g in grad_start) if start else (None,) * count
    return Gradients(like(grad_x, x), to_start)


def grid(neurons: int) -> tuple[int]:
    """Return how many programs are launched."""
    return (-(-neurons // BLOCK),)


def options(x: Tensor) -> dict[str, Any]:
    """No contraction to fused multiply-adds: spikes must equal the reference's bit for bit."""
    return {"enable_fp_fusion": False} if x.device.type == "cuda" else {}


def constants(call: Call, numbers: tuple[float, ...], x: Tensor) -> Tensor:
    """Return numbers in the dtype of the arithmetic, on the device; made once per neuron."""
    key = ("triton", x.dtype, x.device, numbers)
    if key not in call.memo:
        call.memo[key] = torch.tensor(numbers, dtype=state_dtype(x), device=x.device)
    return call.memo[key]


def _given(call: Call, step: Tensor) -> list[Tensor]:
    """The starting states as they lie in memory, or none where all are at rest."""
    if all(v is None for v in call.state):
        return []
    return [like(v, step) for v in call.start()]
