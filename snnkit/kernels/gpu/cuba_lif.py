"""Current-based LIF over all time steps in Triton: one program per block of neurons, both states in registers.

Constants: (share of the current kept, share of the membrane kept, threshold, v_reset, rest, alpha).
"""

import triton
import triton.language as tl

from snnkit.kernels.gpu.common import reset, slope_at, through_reset


@triton.jit
def forward(
    x_ptr, out_ptr, v0_ptr, i0_ptr, v_last_ptr, i_last_ptr, constants_ptr, neurons, x_step, out_step,
    T: tl.constexpr, RESET: tl.constexpr, DOUBLE: tl.constexpr, HAS_START: tl.constexpr, HAS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Spikes (T, N), the last membrane and current (N)."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    keep_i, keep_v, threshold = tl.load(constants_ptr), tl.load(constants_ptr + 1), tl.load(constants_ptr + 2)
    v_reset = tl.load(constants_ptr + 3)
    v = tl.zeros((BLOCK,), dtype=REAL) + tl.load(constants_ptr + 4)
    current = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_START:
        v = tl.load(v0_ptr + n, mask=inside, other=0.0)
        current = tl.load(i0_ptr + n, mask=inside, other=0.0)
    for t in range(T):
        current = keep_i * current + tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        h = keep_v * v + current
        fired = h >= threshold
        tl.store(out_ptr + t * out_step + n, tl.where(fired, 1.0, 0.0).to(out_ptr.dtype.element_ty), mask=inside)
        v = reset(h, fired, threshold, v_reset, RESET)
    if HAS_LAST:
        tl.store(v_last_ptr + n, v, mask=inside)
        tl.store(i_last_ptr + n, current, mask=inside)


@triton.jit
def backward(
    x_ptr, grad_out_ptr, grad_x_ptr, v0_ptr, i0_ptr, grad_v_last_ptr, grad_i_last_ptr, grad_v0_ptr, grad_i0_ptr,
    charged_ptr, constants_ptr, neurons, x_step, grad_step, grad_x_step,
    T: tl.constexpr, RESET: tl.constexpr, DETACH: tl.constexpr, SURROGATE: tl.constexpr, DOUBLE: tl.constexpr,
    HAS_START: tl.constexpr, HAS_GRAD_LAST: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients to x (T, N) and to both starting states (N); the scratch (T, N) holds the charged membranes."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    keep_i, keep_v, threshold = tl.load(constants_ptr), tl.load(constants_ptr + 1), tl.load(constants_ptr + 2)
    v_reset, alpha = tl.load(constants_ptr + 3), tl.load(constants_ptr + 5)
    v = tl.zeros((BLOCK,), dtype=REAL) + tl.load(constants_ptr + 4)
    current = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_START:
        v = tl.load(v0_ptr + n, mask=inside, other=0.0)
        current = tl.load(i0_ptr + n, mask=inside, other=0.0)
    for t in range(T):
        current = keep_i * current + tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        h = keep_v * v + current
        tl.store(charged_ptr + t * neurons + n, h, mask=inside)
        v = reset(h, h >= threshold, threshold, v_reset, RESET)
    gv = tl.zeros((BLOCK,), dtype=REAL)
    gi = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_GRAD_LAST:
        gv = tl.load(grad_v_last_ptr + n, mask=inside, other=0.0)
        gi = tl.load(grad_i_last_ptr + n, mask=inside, other=0.0)
    for i in range(T):
        t = T - 1 - i
        h = tl.load(charged_ptr + t * neurons + n, mask=inside, other=0.0)
        gs = tl.load(grad_out_ptr + t * grad_step + n, mask=inside, other=0.0).to(REAL)
        slope = slope_at(h - threshold, alpha, SURROGATE)
        through, _ = through_reset(h, gs, gv, slope, h >= threshold, threshold, v_reset, RESET, DETACH)
        gh = gs * slope + gv * through
        g = gi + gh
        tl.store(grad_x_ptr + t * grad_x_step + n, g.to(grad_x_ptr.dtype.element_ty), mask=inside)
        gv, gi = keep_v * gh, keep_i * g
    if HAS_START:
        tl.store(grad_v0_ptr + n, gv, mask=inside)
        tl.store(grad_i0_ptr + n, gi, mask=inside)
