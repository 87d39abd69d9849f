"""Current-based LIF on the CPU: one pass over memory for all time steps, forward and backward."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from snnkit.kernels import fused_numba, numba_call
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.charge_fire_reset import is_no_reset
from snnkit.kernels.compiled import compiled
from snnkit.kernels.cuba_lif.reference import CuBaLIFParameters
from snnkit.kernels.fused_numba import _slopes
from snnkit.kernels.numba_call import BLOCK, numbers

_HARD, _SOFT, _NONE = 0, 1, 2


def supports(call: Call) -> tuple[bool, str]:
    """Return (True, "") for float32 and float64 on the CPU, numbers for constants and a surrogate written in numba."""
    ok, reason = numba_call.supports(call)
    if ok and call.training and type(call.surrogate) not in fused_numba._SURROGATES:
        return False, f"the surrogate {type(call.surrogate).__name__} has no numba form."
    return ok, reason


def _constants(p: CuBaLIFParameters, x: Tensor) -> tuple:
    kind = _SOFT if p.v_reset is None else _NONE if is_no_reset(p.v_reset) else _HARD
    reset = p.v_reset if kind == _HARD else 0.0
    kept = (1.0 - p.current_decay, 1.0 - p.voltage_decay)
    return (kind, *numbers(x, *kept, p.v_threshold, reset, 0.0, 1.0))


def forward(call: Call) -> Result:
    """Run all time steps."""
    return numba_call.forward(call, _forward, _constants(call.p, call.x))


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards, recomputing membranes from the input."""
    surrogate = call.surrogate
    constants = (
        *_constants(call.p, call.x),
        call.p.detach_reset,
        fused_numba._SURROGATES[type(surrogate)],
        *numbers(call.x, surrogate.alpha, math.pi / 2),  # type: ignore[attr-defined]
    )
    return numba_call.backward(call, grad_out, grad_state, _backward, constants)


@compiled(nogil=True)
def _forward(x, v0, i0, spikes, v_last, i_last, kind, keep_i, keep_v, threshold, reset, zero, one):
    steps, neurons = x.shape
    for start in range(0, neurons, BLOCK):
        stop = min(neurons, start + BLOCK)
        v, current = v0[start:stop].copy(), i0[start:stop].copy()
        for t in range(steps):
            row, out = x[t, start:stop], spikes[t, start:stop]
            for n in range(stop - start):
                c = keep_i * current[n] + row[n]
                h = keep_v * v[n] + c
                s = one if h >= threshold else zero
                out[n], current[n] = s, c
                v[n] = (
                    (reset if s > zero else h)
                    if kind == _HARD
                    else (h - threshold if kind == _SOFT and s > zero else h)
                )
        v_last[start:stop] = v
        i_last[start:stop] = current


@compiled(nogil=True)
def _backward(
    x, v0, i0, gs, gv_last, gi_last, gx, gv0, gi0,
    kind, keep_i, keep_v, threshold, reset, zero, one, detach, surrogate, alpha, half_pi,
):  # fmt: skip
    steps, neurons = x.shape
    charged = np.empty((steps, BLOCK), x.dtype)
    slope = np.empty(BLOCK, x.dtype)
    for start in range(0, neurons, BLOCK):
        stop = min(neurons, start + BLOCK)
        count = stop - start
        v, current = v0[start:stop].copy(), i0[start:stop].copy()
        for t in range(steps):
            row, h_row = x[t, start:stop], charged[t]
            for n in range(count):
                c = keep_i * current[n] + row[n]
                h = keep_v * v[n] + c
                h_row[n], current[n] = h, c
                s = one if h >= threshold else zero
                v[n] = (
                    (reset if s > zero else h)
                    if kind == _HARD
                    else (h - threshold if kind == _SOFT and s > zero else h)
                )
        gv, gi = gv_last[start:stop].copy(), gi_last[start:stop].copy()
        for t in range(steps - 1, -1, -1):
            h_row, gs_row, gx_row = charged[t, :count], gs[t, start:stop], gx[t, start:stop]
            _slopes(h_row, slope[:count], threshold, surrogate, alpha, half_pi)
            for n in range(count):
                h = h_row[n]
                through = zero if (kind == _HARD and h >= threshold) else one
                if not detach and kind != _NONE:
                    through += ((reset - h) if kind == _HARD else -threshold) * slope[n]
                gh = gs_row[n] * slope[n] + gv[n] * through
                g = gi[n] + gh
                gx_row[n] = g
                gv[n], gi[n] = keep_v * gh, keep_i * g
        gv0[start:stop] = gv
        gi0[start:stop] = gi
