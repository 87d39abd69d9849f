"""The tracer neuron on the CPU: one pass over memory for all time steps, forward and backward.

Backward of one step, with the gradients g arriving at the output and at the last q and S:

    inside of the bounds     gq = g·s + gS,    gS = gS
    outside                  gq = gq,          gS = gq − g·s
    gx = gq/s
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from snnkit.kernels import numba_call
from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.compiled import compiled
from snnkit.kernels.numba_call import BLOCK, numbers
from snnkit.kernels.tracer.reference import GRADED, TracerParameters

supports = numba_call.supports


def _constants(p: TracerParameters, x: Tensor) -> tuple:
    graded = p.max_exponent == GRADED
    largest = float(p.high - p.low) if graded else 2.0**p.max_exponent
    integers, exponent = (np.int32, 0x7F800000) if x.element_size() == 4 else (np.int64, 0x7FF0000000000000)
    return (*numbers(x, p.scale, p.low, p.high, largest, 0.0), graded, np.array([exponent], integers))


def forward(call: Call) -> Result:
    """Run all time steps."""
    return numba_call.forward(call, _forward, _constants(call.p, call.x))


def backward(call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]) -> Gradients:
    """Run backwards, recomputing which steps lay inside of the bounds from the input."""
    return numba_call.backward(call, grad_out, grad_state, _backward, _constants(call.p, call.x))


@compiled(nogil=True)
def _advance(x, q, total, event, size, inside, scale, low, high, largest, zero, graded, exponent):
    """One step of a block: q and total move on, ``event`` is what is sent, ``inside`` 1 within the bounds, else 0.

    Without its mantissa a number is the power of two at or below it: hence the view of ``size`` as integers.
    """
    one, bits = scale / scale, size.view(exponent.dtype)
    for n in range(len(q)):
        q[n] += x[n] / scale
    for n in range(len(q)):
        level = np.floor(q[n]) + total[n]
        event[n] = (high if level > high else (low if level < low else level)) - total[n]
        inside[n] = one if level >= low and level <= high else zero
    if not graded:
        for n in range(len(q)):
            c = abs(event[n])
            size[n] = largest if c > largest else c
        for n in range(len(q)):
            bits[n] &= exponent[0]
        for n in range(len(q)):
            c = event[n]
            event[n] = (size[n] if c > zero else -size[n]) if abs(c) >= one else zero
    for n in range(len(q)):
        q[n] -= event[n]
        total[n] += event[n]


@compiled(nogil=True)
def _retreat(gout, gq, gtotal, gx, sent, inside, scale, zero):
    """The backward of one step of a block: gq and gtotal move back, ``gx`` is filled; ``sent`` is scratch."""
    for n in range(len(gq)):
        sent[n] = gout[n] * scale
    for n in range(len(gq)):
        a, b, within = gq[n], gtotal[n], inside[n] > zero
        gq[n] = b + sent[n] if within else a
        gtotal[n] = b if within else a - sent[n]
    for n in range(len(gq)):
        gx[n] = gq[n] / scale


@compiled(nogil=True)
def _forward(x, q0, total0, sent, q_last, total_last, scale, low, high, largest, zero, graded, exponent):
    steps, neurons = x.shape
    event, size, inside = np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)
    constants = (scale, low, high, largest, zero, graded, exponent)
    for start in range(0, neurons, BLOCK):
        stop = min(neurons, start + BLOCK)
        q, total = q0[start:stop].copy(), total0[start:stop].copy()
        for t in range(steps):
            _advance(x[t, start:stop], q, total, event, size, inside, *constants)
            out = sent[t, start:stop]
            for n in range(stop - start):
                out[n] = event[n] * scale
        q_last[start:stop] = q
        total_last[start:stop] = total


@compiled(nogil=True)
def _backward(
    x, q0, total0, gout, gq_last, gtotal_last, gx, gq0, gtotal0, scale, low, high, largest, zero, graded, exponent
):
    steps, neurons = x.shape
    event, size = np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)
    inside = np.empty((steps, BLOCK), x.dtype)
    constants = (scale, low, high, largest, zero, graded, exponent)
    for start in range(0, neurons, BLOCK):
        stop = min(neurons, start + BLOCK)
        q, total = q0[start:stop].copy(), total0[start:stop].copy()
        for t in range(steps):
            _advance(x[t, start:stop], q, total, event, size, inside[t], *constants)
        gq, gtotal = gq_last[start:stop].copy(), gtotal_last[start:stop].copy()
        for t in range(steps - 1, -1, -1):
            _retreat(gout[t, start:stop], gq, gtotal, gx[t, start:stop], event, inside[t], scale, zero)
        gq0[start:stop] = gq
        gtotal0[start:stop] = gtotal
