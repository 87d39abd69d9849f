"""Integer LIF over all time steps in Triton: one program per block of neurons, the membrane in registers.

Constants: (tau, threshold, levels, magic). Adding and taking away 1.5·2^m, with m bits of mantissa, rounds to whole
numbers, halves to even.
"""

import triton
import triton.language as tl

from snnkit.kernels.gpu.common import divide


@triton.jit
def _advance(x, v, tau, threshold, levels, magic, DOUBLE: tl.constexpr):
    """Return h/θ, the number of spikes, and the membrane after the reset."""
    h = v - divide(v, tau, DOUBLE) + x
    ratio = divide(h, threshold, DOUBLE)
    within = tl.where(ratio > levels, levels, tl.where(ratio < 0.0, 0.0, ratio))
    spikes = (within + magic) - magic
    return ratio, spikes, h - spikes * threshold


@triton.jit
def forward(
    x_ptr, out_ptr, v0_ptr, last_ptr, constants_ptr, neurons, x_step, out_step,
    T: tl.constexpr, DOUBLE: tl.constexpr, HAS_START: tl.constexpr, HAS_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Spikes (T, N) and the last membrane (N)."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    tau, threshold = tl.load(constants_ptr), tl.load(constants_ptr + 1)
    levels, magic = tl.load(constants_ptr + 2), tl.load(constants_ptr + 3)
    v = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_START:
        v = tl.load(v0_ptr + n, mask=inside, other=0.0)
    for t in range(T):
        x = tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        _ratio, spikes, v = _advance(x, v, tau, threshold, levels, magic, DOUBLE)
        tl.store(out_ptr + t * out_step + n, spikes.to(out_ptr.dtype.element_ty), mask=inside)
    if HAS_LAST:
        tl.store(last_ptr + n, v, mask=inside)


@triton.jit
def backward(
    x_ptr, grad_out_ptr, grad_x_ptr, v0_ptr, grad_last_ptr, grad_v0_ptr, open_ptr, constants_ptr,
    neurons, x_step, grad_step, grad_x_step,
    T: tl.constexpr, DETACH: tl.constexpr, DOUBLE: tl.constexpr, HAS_START: tl.constexpr, HAS_GRAD_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients to x (T, N) and the first membrane (N); the scratch (T, N) says where the gradient's window is open."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    tau, threshold = tl.load(constants_ptr), tl.load(constants_ptr + 1)
    levels, magic = tl.load(constants_ptr + 2), tl.load(constants_ptr + 3)
    v = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_START:
        v = tl.load(v0_ptr + n, mask=inside, other=0.0)
    for t in range(T):
        x = tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        ratio, _spikes, v = _advance(x, v, tau, threshold, levels, magic, DOUBLE)
        tl.store(open_ptr + t * neurons + n, ((ratio >= 0.0) & (ratio <= levels)).to(tl.int8), mask=inside)
    kept, steep = 1.0 - divide(tau * 0.0 + 1.0, tau, DOUBLE), divide(tau * 0.0 + 1.0, threshold, DOUBLE)
    gv = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_GRAD_LAST:
        gv = tl.load(grad_last_ptr + n, mask=inside, other=0.0)
    for i in range(T):
        t = T - 1 - i
        slope = tl.where(tl.load(open_ptr + t * neurons + n, mask=inside, other=0) != 0, steep, 0.0)
        by_spike = tl.load(grad_out_ptr + t * grad_step + n, mask=inside, other=0.0).to(REAL)
        if not DETACH:
            by_spike -= threshold * gv
        gh = gv + slope * by_spike
        tl.store(grad_x_ptr + t * grad_x_step + n, gh.to(grad_x_ptr.dtype.element_ty), mask=inside)
        gv = gh * kept
    if HAS_START:
        tl.store(grad_v0_ptr + n, gv, mask=inside)
