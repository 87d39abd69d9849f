"""The tracer neuron over all time steps in Triton: one program per block of neurons, both states in registers.

Constants: (scale, low, high, largest event). Without its mantissa a number is the power of two at or below it.
"""

import triton
import triton.language as tl

from snnkit.kernels.gpu.common import divide


@triton.jit
def _advance(x, q, total, scale, low, high, largest, GRADED: tl.constexpr, DOUBLE: tl.constexpr):
    """Return the event, whether the level is within its bounds, and the two states after it."""
    q = q + divide(x, scale, DOUBLE)
    level = tl.floor(q) + total
    event = tl.where(level > high, high, tl.where(level < low, low, level)) - total
    if not GRADED:
        size = tl.where(tl.abs(event) > largest, largest, tl.abs(event))
        if DOUBLE:
            power = (size.to(tl.int64, bitcast=True) & 0x7FF0000000000000).to(tl.float64, bitcast=True)
        else:
            power = (size.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)
        event = tl.where(tl.abs(event) >= 1.0, tl.where(event > 0.0, power, -power), 0.0 * scale)
    return event, (level >= low) & (level <= high), q - event, total + event


@triton.jit
def forward(
    x_ptr, out_ptr, q0_ptr, total0_ptr, q_last_ptr, total_last_ptr, constants_ptr, neurons, x_step, out_step,
    T: tl.constexpr, GRADED: tl.constexpr, DOUBLE: tl.constexpr, HAS_START: tl.constexpr, HAS_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Events times scale (T, N), the last remainder and total (N)."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    scale, low = tl.load(constants_ptr), tl.load(constants_ptr + 1)
    high, largest = tl.load(constants_ptr + 2), tl.load(constants_ptr + 3)
    q = tl.zeros((BLOCK,), dtype=REAL) + 0.5
    total = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_START:
        q = tl.load(q0_ptr + n, mask=inside, other=0.0)
        total = tl.load(total0_ptr + n, mask=inside, other=0.0)
    for t in range(T):
        x = tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        event, _within, q, total = _advance(x, q, total, scale, low, high, largest, GRADED, DOUBLE)
        tl.store(out_ptr + t * out_step + n, (event * scale).to(out_ptr.dtype.element_ty), mask=inside)
    if HAS_LAST:
        tl.store(q_last_ptr + n, q, mask=inside)
        tl.store(total_last_ptr + n, total, mask=inside)


@triton.jit
def backward(
    x_ptr, grad_out_ptr, grad_x_ptr, q0_ptr, total0_ptr, grad_q_last_ptr, grad_total_last_ptr, grad_q0_ptr,
    grad_total0_ptr, within_ptr, constants_ptr, neurons, x_step, grad_step, grad_x_step,
    T: tl.constexpr, GRADED: tl.constexpr, DOUBLE: tl.constexpr, HAS_START: tl.constexpr, HAS_GRAD_LAST: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients to x (T, N) and both starting states (N); the scratch (T, N) says where levels were within bounds."""
    REAL: tl.constexpr = tl.float64 if DOUBLE else tl.float32
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = n < neurons
    scale, low = tl.load(constants_ptr), tl.load(constants_ptr + 1)
    high, largest = tl.load(constants_ptr + 2), tl.load(constants_ptr + 3)
    q = tl.zeros((BLOCK,), dtype=REAL) + 0.5
    total = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_START:
        q = tl.load(q0_ptr + n, mask=inside, other=0.0)
        total = tl.load(total0_ptr + n, mask=inside, other=0.0)
    for t in range(T):
        x = tl.load(x_ptr + t * x_step + n, mask=inside, other=0.0).to(REAL)
        _event, within, q, total = _advance(x, q, total, scale, low, high, largest, GRADED, DOUBLE)
        tl.store(within_ptr + t * neurons + n, within.to(tl.int8), mask=inside)
    gq = tl.zeros((BLOCK,), dtype=REAL)
    g_total = tl.zeros((BLOCK,), dtype=REAL)
    if HAS_GRAD_LAST:
        gq = tl.load(grad_q_last_ptr + n, mask=inside, other=0.0)
        g_total = tl.load(grad_total_last_ptr + n, mask=inside, other=0.0)
    for i in range(T):
        t = T - 1 - i
        within = tl.load(within_ptr + t * neurons + n, mask=inside, other=0) != 0
        sent = tl.load(grad_out_ptr + t * grad_step + n, mask=inside, other=0.0).to(REAL) * scale
        before = gq
        gq = tl.where(within, g_total + sent, before)
        g_total = tl.where(within, g_total, before - sent)
        gx = divide(gq, scale, DOUBLE)
        tl.store(grad_x_ptr + t * grad_x_step + n, gx.to(grad_x_ptr.dtype.element_ty), mask=inside)
    if HAS_START:
        tl.store(grad_q0_ptr + n, gq, mask=inside)
        tl.store(grad_total0_ptr + n, g_total, mask=inside)
