"""Charge–fire–reset over all time steps in Triton: one program per block of neurons, the membrane in registers.

The same equations in the same order as ``csrc/charge_fire_reset_real.h``; divisions are rounded as IEEE wants, and the
launcher forbids contraction, so that spikes are those of the reference. Constants come in as a tensor of the dtype of
the arithmetic: (tau or decay, threshold, v_reset, rest, alpha), because Triton makes every number float32.
"""

import triton
import triton.language as tl


@triton.jit
def _divide(a, b, DOUBLE: tl.constexpr):
    return a / b if DOUBLE else tl.math.div_rn(a, b)


@triton.jit
def _constant(number_ptr, varying_ptr, n, inside, VARY: tl.constexpr):
    """One number for all, or one per neuron."""
    return tl.load(varying_ptr + n, mask=inside, other=1.0) if VARY else tl.load(number_ptr)


@triton.jit
def _charge(x, v, tau, rest, KIND: tl.constexpr, DOUBLE: tl.constexpr):
    """0: decayed input, dividing; 1: plain input, dividing; 2: no leak; 3, 4: as 0, 1 multiplying by the decay."""
    if KIND == 0:
        h = v + _divide(x - (v - rest), tau, DOUBLE)
    elif KIND == 1:
        h = v - _divide(v - rest, tau, DOUBLE) + x
    elif KIND == 2:
        h = v + x
    elif KIND == 3:
        h = v + (x - (v - rest)) * tau
    else:
        h = v - (v - rest) * tau + x
    return h


@triton.jit
def _reset(h, fired, threshold, v_reset, RESET: tl.constexpr):
    """0: hard, 1: soft, 2: none."""
    if RESET == 0:
        v = tl.where(fired, v_reset, h)
    elif RESET == 1:
        v = tl.where(fired, h - threshold, h)
    else:
        v = h
    return v


@triton.jit
def _slope(d, a, SURROGATE: tl.constexpr):
    """The surrogate's derivative; numbers as in ``fused_c.SURROGATES``."""
    m = tl.abs(d)
    if SURROGATE == 0:
        z = 1.0 / (1.0 + tl.exp(-a * d))
        slope = a * z * (1.0 - z)
    elif SURROGATE == 1:
        z = d * (a * 1.5707963267948966)
        slope = (a / 2.0) / (1.0 + z * z)
    elif SURROGATE == 2:
        slope = tl.maximum(a - a * a * m, 0.0)
    elif SURROGATE == 3:
        slope = a / 2.0 * tl.exp(-a * m)
    elif SURROGATE == 4:
        z = 1.0 / a + m
        slope = 1.0 / (2.0 * a * z * z)
    elif SURROGATE == 5:
        z = 1.0 + m
        slope = a / (z * z)
    elif SURROGATE == 6:
        slope = a * 0.5641895835477563 * tl.exp(-a * a * d * d)
    else:
        slope = tl.where(m < 0.5 / a, a, 0.0 * m)
    return slope


@triton.jit
def forward(
    x_ptr, out_ptr, v0_ptr, last_ptr, tau_ptr, threshold_ptr, constants_ptr, neurons, x_step, out_step,
    T: tl.constexpr, KIND: tl.constexpr, RESET: tl.constexpr, DOUBLE: tl.constexpr, HAS_V0: tl.constexpr,
    HAS_LAST: tl.constexpr, VARY_TAU: tl.constexpr, VARY_THRESHOLD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Spikes (T, N) and the last membrane (N)."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    v_reset, rest = tl.load(constants_ptr + 2), tl.load(constants_ptr + 3)
    tau = _constant(constants_ptr, tau_ptr, n, inside, VARY_TAU)
    threshold = _constant(constants_ptr + 1, threshold_ptr, n, inside, VARY_THRESHOLD)
    v = tl.zeros((BLOCK,), dtype=REAL) + rest
    if HAS_V0:
        v = tl.load(v0_ptr + n, mask=inside, other=0.0)
    for t in range(T):
        x = tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        h = _charge(x, v, tau, rest, KIND, DOUBLE)
        fired = h >= threshold
        tl.store(out_ptr + t * out_step + n, tl.where(fired, 1.0, 0.0).to(out_ptr.dtype.element_ty), mask=inside)
        v = _reset(h, fired, threshold, v_reset, RESET)
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
        v = _reset(h, h >= threshold, threshold, v_reset, RESET)


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
def _through(h, gs, gv, slope, fired, threshold, v_reset, RESET: tl.constexpr, DETACH: tl.constexpr):
    """∂v/∂h of the reset, and the gradient that arrives at the spike, through the reset too unless it is detached."""
    through, by_spike = slope * 0.0 + 1.0, gs
    if RESET == 0:
        through = tl.where(fired, 0.0 * slope, through)
    if not DETACH:
        if RESET == 0:
            through += (v_reset - h) * slope
            by_spike += gv * (v_reset - h)
        if RESET == 1:
            through -= threshold * slope
            by_spike -= gv * threshold
    return through, by_spike


@triton.jit
def backward(
    x_ptr, grad_out_ptr, grad_x_ptr, v0_ptr, grad_last_ptr, grad_v0_ptr, grad_tau_ptr, grad_threshold_ptr, charged_ptr,
    tau_ptr, threshold_ptr, constants_ptr, neurons, x_step, grad_step, grad_x_step,
    T: tl.constexpr, KIND: tl.constexpr, RESET: tl.constexpr, DETACH: tl.constexpr, SURROGATE: tl.constexpr,
    DOUBLE: tl.constexpr, HAS_V0: tl.constexpr, HAS_GRAD_LAST: tl.constexpr, HAS_GRAD_V0: tl.constexpr,
    VARY_TAU: tl.constexpr, VARY_THRESHOLD: tl.constexpr, BLOCK: tl.constexpr,
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
    _recompute(
        x_ptr, charged_ptr, start, tau, threshold, rest, v_reset, n, inside, neurons, x_step, T, KIND, RESET, DOUBLE
    )  # fmt: skip
    decay = _decay(tau, KIND)
    gv = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_GRAD_LAST:
        gv = tl.load(grad_last_ptr + n, mask=inside, other=0.0)
    grad_tau = tl.zeros((BLOCK,), dtype=REAL)
    grad_threshold = tl.zeros((BLOCK,), dtype=REAL)
    for i in range(T):
        t = T - 1 - i
        h = tl.load(charged_ptr + t * neurons + n, mask=inside, other=0.0)
        gs = tl.load(grad_out_ptr + t * grad_step + n, mask=inside, other=0.0).to(REAL)
        fired = h >= threshold
        slope = _slope(h - threshold, alpha, SURROGATE)
        through, by_spike = _through(h, gs, gv, slope, fired, threshold, v_reset, RESET, DETACH)
        gh = gs * slope + gv * through
        if VARY_THRESHOLD:
            grad_threshold -= by_spike * slope
            if RESET == 1:
                grad_threshold -= tl.where(fired, gv, 0.0)
        if VARY_TAU:
            before = start
            if t > 0:
                hb = tl.load(charged_ptr + (t - 1) * neurons + n, mask=inside, other=0.0)
                before = _reset(hb, hb >= threshold, threshold, v_reset, RESET)
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
