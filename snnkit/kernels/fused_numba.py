"""Charge–fire–reset fused over all time steps on the CPU, compiled by numba: where there is no C compiler.

Serves IF, LIF and parametric LIF with the equations and the order of operations of ``charge_fire_reset`` and the
``reference`` kernels, so spikes are bit-equal. A block of neurons stays in the cache while time advances; the backward
recomputes the charged membranes from ``x``, so nothing else is saved. What keeps the compiler from vectorising is
avoided: checks for division by zero, arrays of unknown stride, choices inside a loop.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from snnkit.kernels.call import Call, Gradients, Result
from snnkit.kernels.charge_fire_reset import is_no_reset
from snnkit.kernels.compiled import compiled
from snnkit.kernels.fused_c import (
    DECAYED_DIVIDE,
    DECAYED_MULTIPLY,
    NO_LEAK,
    PLAIN_DIVIDE,
    PLAIN_MULTIPLY,
    Dynamics,
    constants_per_neuron,
    reduce_to_constants,
)
from snnkit.kernels.layout import dense_steps, like, share
from snnkit.surrogates import ATan, Erf, PiecewiseExp, PiecewiseQuadratic, Rect, Sigmoid, SoftSign, SuperSpike

_HARD, _SOFT = 0, 1
_SIGMOID, _ATAN, _PIECEWISE_QUADRATIC, _PIECEWISE_EXP, _SOFT_SIGN, _SUPER_SPIKE, _ERF, _RECT = range(8)
_SURROGATES: dict[type, int] = {
    Sigmoid: _SIGMOID,
    ATan: _ATAN,
    PiecewiseQuadratic: _PIECEWISE_QUADRATIC,
    PiecewiseExp: _PIECEWISE_EXP,
    SoftSign: _SOFT_SIGN,
    SuperSpike: _SUPER_SPIKE,
    Erf: _ERF,
    Rect: _RECT,
}
_BLOCK = 1024
_ROW = _BLOCK + 80  # rows a multiple of 4096 bytes apart would be taken for one another by the store buffer
_MULTIPLIED = {DECAYED_DIVIDE: DECAYED_MULTIPLY, PLAIN_DIVIDE: PLAIN_MULTIPLY}


def supports(call: Call, charge_may_vary: bool = False) -> tuple[bool, str]:
    """Return (True, "") for float32 and float64 on the CPU with a surrogate that is written here."""
    x, surrogate = call.x, call.surrogate
    if call.tensors and not charge_may_vary:
        return False, f"this numba kernel takes numbers, and {', '.join(call.tensors)} is a tensor."
    if "v_reset" in call.tensors:
        return False, "numba kernels take a number for v_reset."
    if call.training and call.save != "exact":
        return False, f"the numba kernels save exactly, not {call.save!r}."
    if x.device.type != "cpu":
        return False, f"numba kernels run on the CPU, the input is on {x.device}."
    if x.dtype not in (torch.float32, torch.float64):
        return False, f"numba kernels take float32 and float64, got {x.dtype}."
    if call.training and type(surrogate) not in _SURROGATES:
        return False, f"the surrogate {type(surrogate).__name__} has no numba form."
    return True, ""


def forward(call: Call, d: Dynamics) -> Result:
    """Run all time steps; outputs lie in memory as ``x`` does."""
    x, (v,) = call.x, call.start()
    dense, layout = dense_steps(x)
    spikes, v_last = torch.empty_like(layout), torch.empty_like(layout[0])
    arrays = (*_steps(dense), _flat(like(v, layout[0])), *_steps(spikes), _flat(v_last))
    constants = _constants(call, d, layout)
    share(v_last.numel(), lambda n: _forward(n.start, n.stop, len(x), *arrays, *constants))
    return Result(like(spikes, x), (like(v_last, v),))


def backward(call: Call, grad_spikes: Tensor, grad_state: tuple[Tensor | None, ...], d: Dynamics) -> Gradients:
    """Gradients to the input, to the membrane at the start, and to constants that are tensors."""
    x, (v,), surrogate = call.x, call.start(), call.surrogate
    grad_v = torch.zeros_like(v) if grad_state[0] is None else grad_state[0]
    dense, layout = dense_steps(x)
    grad_x, grad_v0 = torch.empty_like(layout), torch.empty_like(layout[0])
    to_constants = [torch.empty_like(layout[0]) if call.tensors else layout.new_empty(0) for _ in range(2)]
    states = [_flat(like(v, layout[0])), _flat(like(grad_v, layout[0])), _flat(grad_v0), *map(_flat, to_constants)]
    arrays = (*_steps(dense), *_steps(like(grad_spikes, layout)), *_steps(grad_x), *states)
    constants = _constants(call, d, layout)
    number = type(constants[1])
    choices = (d.detach_reset, _SURROGATES[type(surrogate)], number(surrogate.alpha), number(math.pi / 2))  # type: ignore[attr-defined]
    share(grad_v0.numel(), lambda n: _backward(n.start, n.stop, len(x), *arrays, *constants, *choices))
    by_name = dict(zip(("decay", "v_threshold"), to_constants, strict=True))
    return Gradients(like(grad_x, x), (like(grad_v0, v),), reduce_to_constants(call, by_name, layout[0]))


def _flat(x: Tensor) -> np.ndarray:
    """The numbers of a dense tensor in the order in which they lie in memory, (all,)."""
    return torch.as_strided(x.detach(), (x.numel(),), (1,)).numpy()


def _steps(x: Tensor) -> tuple[np.ndarray, int]:
    """All memory from the first step of a sequence to its last, (all,), and how far steps lie apart in it."""
    size = (len(x) - 1) * x.stride(0) + x[0].numel()
    return torch.as_strided(x.detach(), (size,), (1,)).numpy(), x.stride(0)


def _constants(call: Call, d: Dynamics, layout: Tensor) -> tuple:
    """Charge, τ and θ as numbers, τ and θ per neuron (empty where the numbers hold), reset, v_reset."""
    nothing = _flat(layout[:0])
    number = nothing.dtype.type
    decay_N, threshold_N = (nothing if c is None else _flat(c) for c in constants_per_neuron(call, d, layout))
    charge, tau = d.charge, 1.0 if isinstance(d.tau, Tensor) else d.tau
    if math.frexp(tau)[0] == 0.5 and charge in _MULTIPLIED:  # 1/τ is exact, and multiplying faster
        charge, tau = _MULTIPLIED[charge], 1.0 / tau
    threshold = 1.0 if isinstance(d.v_threshold, Tensor) else d.v_threshold
    hard = d.v_reset is not None and not is_no_reset(d.v_reset)
    reset = _HARD if hard else _SOFT if d.v_reset is None else 2
    return charge, number(tau), number(threshold), decay_N, threshold_N, reset, number(d.v_reset if hard else 0.0)


_compiled = compiled(nogil=True, error_model="numpy")


@_compiled
def _charged(kind, x, v, tau, rest):
    if kind == DECAYED_DIVIDE:
        return v + (x - (v - rest)) / tau
    if kind == PLAIN_DIVIDE:
        return v - (v - rest) / tau + x
    if kind == DECAYED_MULTIPLY:
        return v + (x - (v - rest)) * tau
    if kind == PLAIN_MULTIPLY:
        return v - (v - rest) * tau + x
    return v + x


@_compiled
def _step(kind, reset, x, v, tau, threshold, rest, v_reset, one, out, want_spikes):
    """One step of a block: spikes or charged membranes into ``out``, membranes updated."""
    for i in range(len(out)):
        h = _charged(kind, x[i], v[i], tau[i], rest)
        fired = h >= threshold[i]
        out[i] = (one if fired else one - one) if want_spikes else h
        after = v_reset if reset == _HARD else h - threshold[i] if reset == _SOFT else h
        v[i] = after if fired else h


@_compiled
def _steps_of(kind, reset, x, v, tau, threshold, rest, v_reset, one, out, want_spikes):
    """The same with the kind of charge known to the compiler."""
    if kind == DECAYED_DIVIDE:
        _step(DECAYED_DIVIDE, reset, x, v, tau, threshold, rest, v_reset, one, out, want_spikes)
    elif kind == PLAIN_DIVIDE:
        _step(PLAIN_DIVIDE, reset, x, v, tau, threshold, rest, v_reset, one, out, want_spikes)
    elif kind == DECAYED_MULTIPLY:
        _step(DECAYED_MULTIPLY, reset, x, v, tau, threshold, rest, v_reset, one, out, want_spikes)
    elif kind == PLAIN_MULTIPLY:
        _step(PLAIN_MULTIPLY, reset, x, v, tau, threshold, rest, v_reset, one, out, want_spikes)
    else:
        _step(NO_LEAK, reset, x, v, tau, threshold, rest, v_reset, one, out, want_spikes)


@_compiled
def _fill(row, number, per_neuron, start, stop):
    if len(per_neuron):
        row[: stop - start] = per_neuron[start:stop]
    else:
        row[: stop - start] = number


@_compiled
def _forward(
    first, last, steps, x, x_step, v0, spikes, s_step, v_last, kind, tau, threshold, tau_N, threshold_N, reset, v_reset
):
    one = tau / tau
    rest = v_reset if reset == _HARD else one - one
    rows = np.empty((3, _ROW), x.dtype)
    for start in range(first, last, _BLOCK):
        stop = min(last, start + _BLOCK)
        tau_row, threshold_row, v = rows[0], rows[1], rows[2, : stop - start]
        _fill(tau_row, tau, tau_N, start, stop)
        _fill(threshold_row, threshold, threshold_N, start, stop)
        v[:] = v0[start:stop]
        for t in range(steps):
            x_row, s_row = x[t * x_step + start : t * x_step + stop], spikes[t * s_step + start : t * s_step + stop]
            _steps_of(kind, reset, x_row, v, tau_row, threshold_row, rest, v_reset, one, s_row, True)
        v_last[start:stop] = v


@_compiled
def _slopes(h, out, threshold, surrogate, alpha, half_pi):
    """The surrogate's derivative at h − θ, one θ for all."""
    _slopes_at(h, np.full(len(h), threshold, h.dtype), out, surrogate, alpha, half_pi)


@_compiled
def _slopes_at(h, threshold, out, surrogate, alpha, half_pi):
    """The surrogate's derivative at h − θ; one plain loop each, so that the compiler vectorises it."""
    one = alpha / alpha
    zero, two = one - one, one + one
    half, steepness = alpha / two, alpha * half_pi
    if surrogate == _SIGMOID:
        for i in range(len(h)):
            s = one / (one + np.exp(-alpha * (h[i] - threshold[i])))
            out[i] = alpha * s * (one - s)
    elif surrogate == _ATAN:
        for i in range(len(h)):
            d = steepness * (h[i] - threshold[i])
            out[i] = half / (one + d * d)
    elif surrogate == _PIECEWISE_QUADRATIC:
        for i in range(len(h)):
            out[i] = max(alpha - alpha * alpha * abs(h[i] - threshold[i]), zero)
    elif surrogate == _PIECEWISE_EXP:
        for i in range(len(h)):
            out[i] = half * np.exp(-alpha * abs(h[i] - threshold[i]))
    elif surrogate == _SOFT_SIGN:
        for i in range(len(h)):
            z = one / alpha + abs(h[i] - threshold[i])
            out[i] = one / (two * alpha * z * z)
    elif surrogate == _SUPER_SPIKE:
        for i in range(len(h)):
            z = one + abs(h[i] - threshold[i])
            out[i] = alpha / (z * z)
    elif surrogate == _ERF:
        peak = alpha / np.sqrt(two * half_pi)
        for i in range(len(h)):
            d = alpha * (h[i] - threshold[i])
            out[i] = peak * np.exp(-d * d)
    else:
        for i in range(len(h)):
            out[i] = alpha if abs(h[i] - threshold[i]) < one / (two * alpha) else zero


@_compiled
def _through(reset, detach, h, threshold, slope, v_reset, one, out):
    """∂v/∂h, the membrane after the reset by the one before it."""
    zero = one - one
    if reset == _HARD and detach:
        for i in range(len(h)):
            out[i] = zero if h[i] >= threshold[i] else one
    elif reset == _HARD:
        for i in range(len(h)):
            out[i] = (zero if h[i] >= threshold[i] else one) + (v_reset - h[i]) * slope[i]
    elif reset == _SOFT and not detach:
        for i in range(len(h)):
            out[i] = one - threshold[i] * slope[i]
    else:
        out[:] = one


@_compiled
def _to_constants(kind, reset, detach, x, v, h, threshold, rest, v_reset, slope, gs, gv, gh, gdecay, gthreshold):
    """Add what a step contributes to ∂L/∂decay, which needs the membrane before the charge, and to ∂L/∂θ."""
    for i in range(len(h)):
        gdecay[i] += gh[i] * (x[i] - (v[i] - rest) if kind == DECAYED_MULTIPLY else rest - v[i])
    for i in range(len(h)):
        by_spike = gs[i]
        if reset == _HARD and not detach:
            by_spike += gv[i] * (v_reset - h[i])
        if reset == _SOFT and not detach:
            by_spike -= gv[i] * threshold[i]
        by_reset = gv[i] if reset == _SOFT and h[i] >= threshold[i] else gv[i] - gv[i]
        gthreshold[i] -= by_spike * slope[i] + by_reset


@_compiled
def _factors(kind, tau, one, by_input, by_membrane):
    """∂h/∂x and ∂h/∂v."""
    for i in range(len(by_input)):
        decay = one - one if kind == NO_LEAK else tau[i] if kind >= DECAYED_MULTIPLY else one / tau[i]
        by_input[i] = decay if kind in (DECAYED_DIVIDE, DECAYED_MULTIPLY) else one
        by_membrane[i] = one - decay


@_compiled
def _times(a, b, out):
    for i in range(len(out)):
        out[i] = a[i] * b[i]


@_compiled
def _backward(
    first, last, steps, x, x_step, gs, gs_step, gx, gx_step, v0, gv_last, gv0, gdecay, gthreshold,
    kind, tau, threshold, tau_N, threshold_N, reset, v_reset, detach, surrogate, alpha, half_pi,
):  # fmt: skip
    one = alpha / alpha
    rest = v_reset if reset == _HARD else one - one
    rows = np.empty((9, _ROW), x.dtype)
    charged, before = np.empty((steps, _ROW), x.dtype), np.empty((steps if len(gdecay) else 0, _ROW), x.dtype)
    for start in range(first, last, _BLOCK):
        stop = min(last, start + _BLOCK)
        n = stop - start
        tau_row, threshold_row, v, slope, gv, gh = rows[0], rows[1], rows[2, :n], rows[3, :n], rows[4, :n], rows[5, :n]
        through, by_input, by_membrane = rows[6, :n], rows[7, :n], rows[8, :n]
        _fill(tau_row, tau, tau_N, start, stop)
        _fill(threshold_row, threshold, threshold_N, start, stop)
        _factors(kind, tau_row, one, by_input, by_membrane)
        v[:] = v0[start:stop]
        for t in range(steps):
            x_row = x[t * x_step + start : t * x_step + stop]
            if len(gdecay):
                before[t, :n] = v
            _steps_of(kind, reset, x_row, v, tau_row, threshold_row, rest, v_reset, one, charged[t, :n], False)
        gv[:] = gv_last[start:stop]
        if len(gdecay):
            gdecay[start:stop] = one - one
            gthreshold[start:stop] = one - one
        for t in range(steps - 1, -1, -1):
            h, gs_row = charged[t, :n], gs[t * gs_step + start : t * gs_step + stop]
            _slopes_at(h, threshold_row, slope, surrogate, alpha, half_pi)
            _through(reset, detach, h, threshold_row, slope, v_reset, one, through)
            for i in range(n):
                gh[i] = gs_row[i] * slope[i] + gv[i] * through[i]
            if len(gdecay):
                _to_constants(
                    kind, reset, detach, x[t * x_step + start : t * x_step + stop], before[t], h, threshold_row,
                    rest, v_reset, slope, gs_row, gv, gh, gdecay[start:stop], gthreshold[start:stop],
                )  # fmt: skip
            _times(gh, by_input, gx[t * gx_step + start : t * gx_step + stop])
            _times(gh, by_membrane, gv)
        gv0[start:stop] = gv
