"""Integer LIF on the CPU: one pass over memory for all time steps, forward and backward."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from snnkit.kernels import numba_call
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.compiled import compiled
from snnkit.kernels.numba_call import BLOCK, numbers

supports = numba_call.supports


def forward(call: Call) -> Result:
    """Run all time steps."""
    p = call.p
    return numba_call.forward(call, _forward, numbers(call.x, p.tau, p.v_threshold, p.levels, 0.0))


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards, recomputing membranes from the input."""
    p = call.p
    constants = numbers(call.x, p.tau, p.v_threshold, p.levels, 0.0, 1.0)
    return numba_call.backward(call, grad_out, grad_state, _backward, (*constants, p.detach_reset))


@compiled(inline="always")
def _count(h, threshold, levels, zero):
    ratio = h / threshold
    return np.rint(levels if ratio > levels else (zero if ratio < zero else ratio))


@compiled(nogil=True)
def _forward(x, v0, spikes, v_last, tau, threshold, levels, zero):
    steps, neurons = x.shape
    for start in range(0, neurons, BLOCK):
        stop = min(neurons, start + BLOCK)
        v = v0[start:stop].copy()
        for t in range(steps):
            row, out = x[t, start:stop], spikes[t, start:stop]
            for i in range(stop - start):
                h = v[i] - v[i] / tau + row[i]
                s = _count(h, threshold, levels, zero)
                out[i] = s
                v[i] = h - s * threshold
        v_last[start:stop] = v


@compiled(nogil=True)
def _backward(x, v0, gs, gv_last, gx, gv0, tau, threshold, levels, zero, one, detach):
    steps, neurons = x.shape
    kept, steep = one - one / tau, one / threshold
    by_spike = zero if detach else threshold
    slope = np.empty((steps, BLOCK), x.dtype)
    for start in range(0, neurons, BLOCK):
        stop = min(neurons, start + BLOCK)
        v = v0[start:stop].copy()
        for t in range(steps):
            row, slope_row = x[t, start:stop], slope[t]
            for i in range(stop - start):
                h = v[i] - v[i] / tau + row[i]
                ratio = h / threshold
                slope_row[i] = steep if (ratio >= zero and ratio <= levels) else zero
                v[i] = h - _count(h, threshold, levels, zero) * threshold
        gv = gv_last[start:stop].copy()
        for t in range(steps - 1, -1, -1):
            slope_row, gs_row, gx_row = slope[t], gs[t, start:stop], gx[t, start:stop]
            for i in range(stop - start):
                gh = gv[i] + slope_row[i] * (gs_row[i] - by_spike * gv[i])
                gx_row[i] = gh
                gv[i] = gh * kept
        gv0[start:stop] = gv
