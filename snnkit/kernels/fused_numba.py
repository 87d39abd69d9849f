"""Charge–fire–reset fused over all time steps on the CPU, compiled by numba.

The same equations, in the same order of operations, as ``charge_fire_reset`` and the ``reference`` kernels, so spikes
are bit-equal. A block of neurons stays in cache while time advances; the backward recomputes the charged membranes from
``x``, so nothing else is saved. Large layers are cut into one share of neurons per torch thread; the shares run on
Python threads, which wait without spinning, because a second OpenMP pool beside torch's would fight it for the cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.charge_fire_reset import is_no_reset
from snnkit.kernels.layout import dense_steps, like, share
from snnkit.surrogates import ATan, Sigmoid

LEAKY_DECAYED_INPUT, LEAKY_PLAIN_INPUT, NO_LEAK = 0, 1, 2
_SIGMOID, _ATAN = 0, 1
_SURROGATES: dict[type, int] = {Sigmoid: _SIGMOID, ATan: _ATAN}
_BLOCK = 1024


@dataclass(frozen=True)
class Dynamics:
    """The constants of a charge–fire–reset neuron in the form these loops take; ``tau`` is unused without leak."""

    charge: int
    tau: float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def supports(call: Call) -> tuple[bool, str]:
    """Return (True, "") for float32 and float64 on the CPU with a surrogate that is written here."""
    x, surrogate = call.x, call.surrogate
    if call.tensors:
        return False, f"numba kernels take numbers, and {', '.join(call.tensors)} varies by channel or is trained."
    if call.training and call.save != "exact":
        return False, f"the numba kernels save exactly, not {call.save!r}."
    if isinstance(call.p.v_reset, float) and is_no_reset(call.p.v_reset):
        return False, "the numba kernels always reset."
    if x.device.type != "cpu":
        return False, f"numba kernels run on the CPU, the input is on {x.device}."
    if x.dtype not in (torch.float32, torch.float64):
        return False, f"numba kernels take float32 and float64, got {x.dtype}."
    if type(surrogate) not in _SURROGATES:
        return False, f"the surrogate {type(surrogate).__name__} has no numba form."
    return True, ""


def forward(call: Call, d: Dynamics) -> Result:
    """Run all time steps; outputs lie in memory as ``x`` does."""
    x, (v,) = call.x, call.start()
    dense, layout = dense_steps(x)
    spikes, v_last = torch.empty_like(layout), torch.empty_like(layout[0])
    x_TN, s_TN = _steps(dense), _steps(spikes)
    v_N, last_N = _memory(like(v, layout[0])), _memory(v_last)
    constants = _constants(d, x)
    share(len(v_N), lambda n: _forward(x_TN[:, n], v_N[n], s_TN[:, n], last_N[n], *constants))
    return Result(like(spikes, x), (like(v_last, v),))


def backward(call: Call, grad_spikes: Tensor, grad_state: tuple[Tensor | None, ...], d: Dynamics) -> Gradients:
    """Gradients to the input and to the membrane at the start."""
    x, (v,), surrogate = call.x, call.start(), call.surrogate
    grad_v = torch.zeros_like(v) if grad_state[0] is None else grad_state[0]
    dense, layout = dense_steps(x)
    number = x.detach().numpy().dtype.type
    grad_x, grad_v0 = torch.empty_like(layout), torch.empty_like(layout[0])
    x_TN, gs_TN, gx_TN = _steps(dense), _steps(like(grad_spikes, layout)), _steps(grad_x)
    v_N, gv_N, gv0_N = _memory(like(v, layout[0])), _memory(like(grad_v, layout[0])), _memory(grad_v0)
    constants = (
        *_constants(d, x),
        d.detach_reset,
        _SURROGATES[type(surrogate)],
        number(surrogate.alpha),  # type: ignore[attr-defined]
        number(math.pi / 2),
    )
    share(
        len(v_N),
        lambda n: _backward(x_TN[:, n], v_N[n], gs_TN[:, n], gv_N[n], gx_TN[:, n], gv0_N[n], *constants),
    )
    return Gradients(like(grad_x, x), (like(grad_v0, v),))


def _memory(x: Tensor) -> np.ndarray:
    """The numbers of a dense tensor in the order in which they lie in memory, (all,)."""
    return torch.as_strided(x.detach(), (x.numel(),), (1,)).numpy()


def _steps(x: Tensor) -> np.ndarray:
    """The same for a sequence, (T, N); steps may lie anywhere."""
    return torch.as_strided(x.detach(), (len(x), x[0].numel()), (x.stride(0), 1)).numpy()


def _constants(d: Dynamics, x: Tensor) -> tuple:
    number = x.detach().numpy().dtype.type
    hard = d.v_reset is not None
    return d.charge, number(d.tau), number(d.v_threshold), hard, number(d.v_reset if hard else 0.0)


@njit(cache=True, inline="always")
def _charge(kind, x, v, tau, rest):
    if kind == LEAKY_DECAYED_INPUT:
        return v + (x - (v - rest)) / tau
    if kind == LEAKY_PLAIN_INPUT:
        return v - (v - rest) / tau + x
    return v + x


@njit(cache=True, nogil=True)
def _forward(x, v0, spikes, v_last, kind, tau, threshold, hard, reset):
    steps, neurons = x.shape
    for block in range((neurons + _BLOCK - 1) // _BLOCK):
        start, stop = block * _BLOCK, min(neurons, (block + 1) * _BLOCK)
        v = v0[start:stop].copy()
        for t in range(steps):
            row, out = x[t, start:stop], spikes[t, start:stop]
            for i in range(stop - start):
                h = _charge(kind, row[i], v[i], tau, reset)
                fired = h >= threshold
                out[i] = 1.0 if fired else 0.0
                v[i] = (reset if hard else h - threshold) if fired else h
        v_last[start:stop] = v


@njit(cache=True, nogil=True)
def _slopes(h, out, threshold, surrogate, alpha, half_pi):
    """The surrogate's derivative at h − θ; one plain loop each, so that the compiler vectorises it."""
    one = threshold / threshold
    half, steepness = alpha / (one + one), alpha * half_pi
    if surrogate == _SIGMOID:
        for i in range(len(h)):
            s = one / (one + np.exp(-alpha * (h[i] - threshold)))
            out[i] = alpha * s * (one - s)
    else:
        for i in range(len(h)):
            d = steepness * (h[i] - threshold)
            out[i] = half / (one + d * d)


@njit(cache=True, nogil=True)
def _backward(x, v0, gs, gv_last, gx, gv0, kind, tau, threshold, hard, reset, detach, surrogate, alpha, half_pi):
    steps, neurons = x.shape
    one = threshold / threshold
    zero = one - one
    by_membrane = one if kind == NO_LEAK else one - one / tau
    by_input = one / tau if kind == LEAKY_DECAYED_INPUT else one
    charged = np.empty((steps, _BLOCK), x.dtype)
    slope = np.empty(_BLOCK, x.dtype)
    for start in range(0, neurons, _BLOCK):
        stop = min(neurons, start + _BLOCK)
        count = stop - start
        v = v0[start:stop].copy()
        for t in range(steps):
            row, h_row = x[t, start:stop], charged[t]
            for i in range(count):
                h = _charge(kind, row[i], v[i], tau, reset)
                h_row[i] = h
                v[i] = (reset if hard else h - threshold) if h >= threshold else h
        gv = gv_last[start:stop].copy()
        for t in range(steps - 1, -1, -1):
            h_row, gs_row, gx_row = charged[t, :count], gs[t, start:stop], gx[t, start:stop]
            _slopes(h_row, slope[:count], threshold, surrogate, alpha, half_pi)
            for i in range(count):
                h = h_row[i]
                through = zero if (hard and h >= threshold) else one
                if not detach:
                    through += ((reset - h) if hard else -threshold) * slope[i]
                gh = gs_row[i] * slope[i] + gv[i] * through
                gx_row[i] = gh * by_input
                gv[i] = gh * by_membrane
        gv0[start:stop] = gv
