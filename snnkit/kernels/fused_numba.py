"""Charge–fire–reset fused over all time steps on the CPU, compiled by numba.

The same equations, in the same order of operations, as ``charge_fire_reset`` and the ``reference`` kernels, so spikes
are bit-equal. A block of neurons stays in cache while time advances; the backward recomputes the charged membranes from
``x``, so nothing else is saved. One thread: these loops take a small share of a training step next to convolutions, and
a second thread pool beside torch's would fight it for the cores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numba import njit
from torch import Tensor

from snnkit.surrogates import ATan, Sigmoid, Surrogate

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


def supports(x: Tensor, surrogate: Surrogate) -> tuple[bool, str]:
    """Return (True, "") for float32 and float64 on the CPU with a surrogate that is written here."""
    if x.device.type != "cpu":
        return False, f"numba kernels run on the CPU, the input is on {x.device}."
    if x.dtype not in (torch.float32, torch.float64):
        return False, f"numba kernels take float32 and float64, got {x.dtype}."
    if type(surrogate) not in _SURROGATES:
        return False, f"the surrogate {type(surrogate).__name__} has no numba form."
    return True, ""


def forward(x: Tensor, v: Tensor, d: Dynamics) -> tuple[Tensor, Tensor]:
    """(T, B, …), (B, …) → spikes (T, B, …), last membrane (B, …)."""
    x, v = x.contiguous(), v.contiguous()
    spikes, v_last = torch.empty_like(x), torch.empty_like(v)
    _forward(_rows(x), _flat(v), _rows(spikes), _flat(v_last), *_constants(d, x))
    return spikes, v_last


def backward(
    x: Tensor, v: Tensor, grad_spikes: Tensor, grad_v: Tensor, d: Dynamics, surrogate: Surrogate
) -> tuple[Tensor, Tensor]:
    """Gradients to (x, v)."""
    x, v, grad_spikes, grad_v = (t.contiguous() for t in (x, v, grad_spikes, grad_v))
    grad_x, grad_v0 = torch.empty_like(x), torch.empty_like(v)
    _backward(
        _rows(x),
        _flat(v),
        _rows(grad_spikes),
        _flat(grad_v),
        _rows(grad_x),
        _flat(grad_v0),
        *_constants(d, x),
        d.detach_reset,
        _SURROGATES[type(surrogate)],
        x.detach().numpy().dtype.type(surrogate.alpha),  # type: ignore[attr-defined]
    )
    return grad_x, grad_v0


def _rows(x: Tensor) -> np.ndarray:
    return x.detach().numpy().reshape(x.shape[0], -1)


def _flat(v: Tensor) -> np.ndarray:
    return v.detach().numpy().reshape(-1)


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
def _backward(x, v0, gs, gv_last, gx, gv0, kind, tau, threshold, hard, reset, detach, surrogate, alpha):
    steps, neurons = x.shape
    one = threshold / threshold
    by_membrane = one if kind == NO_LEAK else one - one / tau
    by_input = one / tau if kind == LEAKY_DECAYED_INPUT else one
    steepness = alpha * x.dtype.type(math.pi / 2)
    for block in range((neurons + _BLOCK - 1) // _BLOCK):
        start, stop = block * _BLOCK, min(neurons, (block + 1) * _BLOCK)
        count = stop - start
        charged = np.empty((steps, count), x.dtype)
        v = v0[start:stop].copy()
        for t in range(steps):
            row, h_row = x[t, start:stop], charged[t]
            for i in range(count):
                h = _charge(kind, row[i], v[i], tau, reset)
                h_row[i] = h
                v[i] = (reset if hard else h - threshold) if h >= threshold else h
        gv = gv_last[start:stop].copy()
        for t in range(steps - 1, -1, -1):
            h_row, gs_row, gx_row = charged[t], gs[t, start:stop], gx[t, start:stop]
            for i in range(count):
                h = h_row[i]
                d = h - threshold
                if surrogate == _SIGMOID:
                    s = one / (one + np.exp(-alpha * d))
                    slope = alpha * s * (one - s)
                else:
                    slope = (alpha / (one + one)) / (one + (steepness * d) * (steepness * d))
                through = one - one if hard and h >= threshold else one
                if not detach:
                    through += ((reset - h) if hard else -threshold) * slope
                gh = gs_row[i] * slope + gv[i] * through
                gx_row[i] = gh * by_input
                gv[i] = gh * by_membrane
        gv0[start:stop] = gv
