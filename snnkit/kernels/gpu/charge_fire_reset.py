"""Charge–fire–reset over all time steps in Triton: one program per block of neurons, the membrane in registers.

The same equations in the same order as ``csrc/charge_fire_reset_real.h``; divisions are rounded as IEEE wants, and the
launcher forbids contraction, so that spikes are those of the reference. Constants come in as a tensor of the dtype of
the arithmetic: (tau or decay, threshold, v_reset, rest, alpha, width), because Triton makes every number float32.

SAVE says what the forward leaves for the backward: 0 nothing, the backward recomputes the membranes from the input;
1 a byte a step (``code8``); 2 two bits a step, four steps a byte (``rect``).
"""

import triton
import triton.language as tl

from snnkit.kernels.gpu.common import divide, reset, slope_at, through_reset


@triton.jit
def _constant(number_ptr, varying_ptr, n, inside, VARY: tl.constexpr):
    """One number for all, or one per neuron."""
    return tl.load(varying_ptr + n, mask=inside, other=1.0) if VARY else tl.load(number_ptr)


@triton.jit
def _charge(x, v, tau, rest, KIND: tl.constexpr, DOUBLE: tl.constexpr):
    """0: decayed input, dividing; 1: plain input, dividing; 2: no leak; 3, 4: as 0, 1 multiplying by the decay."""
    if KIND == 0:
        h = v + divide(x - (v - rest), tau, DOUBLE)
    elif KIND == 1:
        h = v - divide(v - rest, tau, DOUBLE) + x
    elif KIND == 2:
        h = v + x
    elif KIND == 3:
        h = v + (x - (v - rest)) * tau
    else:
        h = v - (v - rest) * tau + x
    return h


@triton.jit
def _code8(d, width, DOUBLE: tl.constexpr):
    """The distance to the threshold, companded into a byte: 128 and more fired."""
    m = tl.where(tl.abs(d) <= 1e30, tl.abs(d), 1e30)  # NaN counts as far below, as it does not fire
    level = tl.minimum((divide(m, m + width, DOUBLE) * 128.0).to(tl.int32), 127)
    return tl.where(d >= 0.0, 128 + level, 127 - level)


@triton.jit
def _half_width(a, DOUBLE: tl.constexpr):
    """Half the width of the rectangle."""
    return divide(a * 0.0 + 1.0, 2.0 * a, DOUBLE)


@triton.jit
def forward(
    x_ptr, out_ptr, v0_ptr, last_ptr, saved_ptr, tau_ptr, threshold_ptr, constants_ptr, neurons, x_step, out_step,
    T: tl.constexpr, SAVE: tl.constexpr, KIND: tl.constexpr, RESET: tl.constexpr, DOUBLE: tl.constexpr,
    HAS_V0: tl.constexpr, HAS_LAST: tl.constexpr, VARY_TAU: tl.constexpr, VARY_THRESHOLD: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Spikes (T, N), the last membrane (N), and codes (T, N) or bits (⌈T/4⌉, N) where they are saved."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    v_reset, rest = tl.load(constants_ptr + 2), tl.load(constants_ptr + 3)
    tau = _constant(constants_ptr, tau_ptr, n, inside, VARY_TAU)
    threshold = _constant(constants_ptr + 1, threshold_ptr, n, inside, VARY_THRESHOLD)
    v = tl.zeros((BLOCK,), dtype=REAL) + rest
    if HAS_V0:
        v = tl.load(v0_ptr + n, mask=inside, other=0.0)
    alpha, width = tl.load(constants_ptr + 4), tl.load(constants_ptr + 5)
    bits = tl.zeros((BLOCK,), dtype=tl.int32)
    for t in range(T):
        x = tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        h = _charge(x, v, tau, rest, KIND, DOUBLE)
        fired = h >= threshold
        if SAVE == 1:
            code = _code8(h - threshold, width, DOUBLE)
            tl.store(saved_ptr + t * neurons + n, code.to(tl.uint8), mask=inside)
        if SAVE == 2:
            near = tl.abs(h - threshold) < _half_width(alpha, DOUBLE)
            here = tl.where(fired, 1, 0) + tl.where(near, 2, 0)
            bits = tl.where(t % 4 == 0, here, bits | (here << (2 * (t % 4))))
            if (t % 4 == 3) | (t == T - 1):
                tl.store(saved_ptr + (t // 4) * neurons + n, bits.to(tl.uint8), mask=inside)
        tl.store(out_ptr + t * out_step + n, tl.where(fired, 1.0, 0.0).to(out_ptr.dtype.element_ty), mask=inside)
        v = reset(h, fired, threshold, v_reset, RESET)
    if HAS_LAST:
        tl.store(last_ptr + n, v, mask=inside)


@triton.jit
def _recompute(
    x_ptr, charged_ptr, v, tau, threshold, rest, v_reset, n, inside, neurons, x_step,
    T: tl.constexpr, KIND: tl.constexpr, RESET: tl.constexpr, DOUBLE: tl.constexpr,
):  # fmt: skip
    """Put the charged membranes of all steps into the scratch (T, N)."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    for t in range(T):
        x = tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        h = _charge(x, v, tau, rest, KIND, DOUBLE)
        tl.store(charged_ptr + t * neurons + n, h, mask=inside)
        v = reset(h, h >= threshold, threshold, v_reset, RESET)


@triton.jit
def _decay(tau, KIND: tl.constexpr):
    """The share that a step takes from the membrane."""
    if KIND == 2:
        decay = tau * 0.0
    elif KIND < 2:
        decay = 1.0 / tau
    else:
        decay = tau
    return decay


@triton.jit
def _by_decay(x, leak, KIND: tl.constexpr):
    """∂h/∂decay."""
    return x - leak if KIND == 3 else -leak


@triton.jit
def _kept(
    charged_ptr, saved_ptr, slopes_ptr, levels_ptr, t, n, inside, neurons, threshold, alpha,
    SAVE: tl.constexpr, SURROGATE: tl.constexpr,
):  # fmt: skip
    """The charged membrane, whether it fired, and the surrogate's slope, from what is known of step t."""
    if SAVE == 0:
        h = tl.load(charged_ptr + t * neurons + n, mask=inside, other=0.0)
        fired = h >= threshold
        slope = slope_at(h - threshold, alpha, SURROGATE)
    elif SAVE == 1:
        code = tl.load(saved_ptr + t * neurons + n, mask=inside, other=0).to(tl.int32)
        h = threshold + tl.load(levels_ptr + code).to(threshold.dtype)
        fired = code >= 128
        slope = tl.load(slopes_ptr + code).to(threshold.dtype)
    else:  # the membrane itself is not asked for: the reset is detached
        code = tl.load(saved_ptr + (t // 4) * neurons + n, mask=inside, other=0).to(tl.int32) >> (2 * (t % 4))
        fired = (code & 1) != 0
        slope = tl.where((code & 2) != 0, alpha, 0.0 * alpha)
        h = slope * 0.0 + threshold
    return h, fired, slope


@triton.jit
def backward(
    x_ptr, grad_out_ptr, grad_x_ptr, v0_ptr, grad_last_ptr, grad_v0_ptr, grad_tau_ptr, grad_threshold_ptr, charged_ptr,
    saved_ptr, slopes_ptr, levels_ptr, tau_ptr, threshold_ptr, constants_ptr, neurons, x_step, grad_step, grad_x_step,
    T: tl.constexpr, SAVE: tl.constexpr, KIND: tl.constexpr, RESET: tl.constexpr, DETACH: tl.constexpr,
    SURROGATE: tl.constexpr, DOUBLE: tl.constexpr, HAS_V0: tl.constexpr, HAS_GRAD_LAST: tl.constexpr,
    HAS_GRAD_V0: tl.constexpr, VARY_TAU: tl.constexpr, VARY_THRESHOLD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients to x (T, N), the first membrane (N), and per neuron to decay and threshold (N)."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    v_reset, rest, alpha = tl.load(constants_ptr + 2), tl.load(constants_ptr + 3), tl.load(constants_ptr + 4)
    tau = _constant(constants_ptr, tau_ptr, n, inside, VARY_TAU)
    threshold = _constant(constants_ptr + 1, threshold_ptr, n, inside, VARY_THRESHOLD)
    start = tl.zeros((BLOCK,), dtype=REAL) + rest
    if HAS_V0:
        start = tl.load(v0_ptr + n, mask=inside, other=0.0)
    if SAVE == 0:
        _recompute(
            x_ptr, charged_ptr, start, tau, threshold, rest, v_reset, n, inside, neurons, x_step, T, KIND, RESET, DOUBLE
        )
    decay = _decay(tau, KIND)
    gv = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_GRAD_LAST:
        gv = tl.load(grad_last_ptr + n, mask=inside, other=0.0)
    grad_tau = tl.zeros((BLOCK,), dtype=REAL)
    grad_threshold = tl.zeros((BLOCK,), dtype=REAL)
    for i in range(T):
        t = T - 1 - i
        gs = tl.load(grad_out_ptr + t * grad_step + n, mask=inside, other=0.0).to(REAL)
        h, fired, slope = _kept(
            charged_ptr, saved_ptr, slopes_ptr, levels_ptr, t, n, inside, neurons, threshold, alpha, SAVE, SURROGATE
        )
        through, by_spike = through_reset(h, gs, gv, slope, fired, threshold, v_reset, RESET, DETACH)
        gh = gs * slope + gv * through
        if VARY_THRESHOLD:
            grad_threshold -= by_spike * slope
            if RESET == 1:
                grad_threshold -= tl.where(fired, gv, 0.0)
        if VARY_TAU:
            before = start
            if t > 0:
                hb = tl.load(charged_ptr + (t - 1) * neurons + n, mask=inside, other=0.0)
                before = reset(hb, hb >= threshold, threshold, v_reset, RESET)
            x = tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
            grad_tau += gh * _by_decay(x, before - rest, KIND)
        gx = gh
        if (KIND == 0) | (KIND == 3):
            gx = gh * decay
        tl.store(grad_x_ptr + t * grad_x_step + n, gx.to(grad_x_ptr.dtype.element_ty), mask=inside)
        gv = gh * (1.0 - decay)
    if HAS_GRAD_V0:
        tl.store(grad_v0_ptr + n, gv, mask=inside)
    if VARY_TAU:
        tl.store(grad_tau_ptr + n, grad_tau, mask=inside)
    if VARY_THRESHOLD:
        tl.store(grad_threshold_ptr + n, grad_threshold, mask=inside)
