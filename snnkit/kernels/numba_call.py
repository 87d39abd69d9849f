"""What the numba kernels with loops of their own have in common: what they can run, and tensors as flat arrays.

A kernel gets sequences as arrays (T, N) and states as arrays (N), N neurons in the order in which they lie in memory,
and never sees shapes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.layout import dense_steps, like, share

BLOCK = 1024
"""Neurons whose states stay in cache while time advances."""


def supports(call: Call) -> tuple[bool, str]:
    """Return (True, "") for float32 and float64 on the CPU with numbers for constants."""
    x = call.x
    if call.tensors:
        return False, f"numba kernels take numbers, and {', '.join(call.tensors)} varies by channel or is trained."
    if call.training and call.save != "exact":
        return False, f"the numba kernels save exactly, not {call.save!r}."
    if x.device.type != "cpu":
        return False, f"numba kernels run on the CPU, the input is on {x.device}."
    if x.dtype not in (torch.float32, torch.float64):
        return False, f"numba kernels take float32 and float64, got {x.dtype}."
    return True, ""


def forward(call: Call, run: Callable[..., None], constants: tuple) -> Result:
    """Run all time steps: ``run(x_TN, *states_N, out_TN, *last_N, *constants)`` on every share of neurons."""
    x, start = call.x, call.start()
    dense, layout = dense_steps(x)
    out, last = torch.empty_like(layout), [torch.empty_like(layout[0]) for _ in start]
    sequences = [_steps(dense), _steps(out)]
    states = [[_memory(like(v, layout[0])) for v in start], [_memory(v) for v in last]]

    def part(n: slice) -> None:
        x_TN, out_TN = (sequence[:, n] for sequence in sequences)
        start_N, last_N = ([v[n] for v in group] for group in states)
        run(x_TN, *start_N, out_TN, *last_N, *constants)

    share(layout[0].numel(), part)
    return Result(like(out, x), tuple(like(v, x[0]) for v in last) if call.keep_state else None)


def backward(
    call: Call, grad_out: Tensor, grad_state: tuple[Tensor | None, ...], run: Callable[..., None], constants: tuple
) -> Gradients:
    """Run backwards: ``run(x_TN, *states_N, gout_TN, *glast_N, gx_TN, *gstart_N, *constants)``."""
    x, start = call.x, call.start()
    dense, layout = dense_steps(x)
    step = layout[0]
    given = [torch.zeros_like(step) if g is None else like(g, step) for g in grad_state]
    grad_x, grad_start = torch.empty_like(layout), [torch.empty_like(step) for _ in start]
    sequences = [_steps(dense), _steps(like(grad_out, layout)), _steps(grad_x)]
    states = [[_memory(v) for v in group] for group in ([like(v, step) for v in start], given, grad_start)]

    def part(n: slice) -> None:
        x_TN, gout_TN, gx_TN = (sequence[:, n] for sequence in sequences)
        start_N, glast_N, gstart_N = ([v[n] for v in group] for group in states)
        run(x_TN, *start_N, gout_TN, *glast_N, gx_TN, *gstart_N, *constants)

    share(step.numel(), part)
    return Gradients(like(grad_x, x), tuple(like(v, x[0]) for v in grad_start))


def numbers(x: Tensor, *values: float) -> tuple:
    """Return ``values`` in the dtype of ``x``, so that compiled arithmetic stays in it."""
    number = x.detach().numpy().dtype.type
    return tuple(number(value) for value in values)


def _memory(x: Tensor) -> np.ndarray:
    """The numbers of a dense tensor in the order in which they lie in memory, (N,)."""
    return torch.as_strided(x.detach(), (x.numel(),), (1,)).numpy()


def _steps(x: Tensor) -> np.ndarray:
    """The same for a sequence, (T, N); steps may lie anywhere."""
    return torch.as_strided(x.detach(), (len(x), x[0].numel()), (x.stride(0), 1)).numpy()
