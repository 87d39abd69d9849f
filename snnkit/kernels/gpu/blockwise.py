"""Optimizers with 8-bit states in Triton: one program per block of a quantised tensor.

The same operations in the same order as ``snnkit/optim/csrc/blockwise.c``: decode, update in float32, encode by one
look-up. Numbers come in as a tensor, because Triton would make new kernels for other values:
(scale, beta1, rest1, beta2, rest2, root, eps, decay, rate, weight_decay, correction).
"""

import triton
import triton.language as tl


@triton.jit
def _decode(code_ptr, absmax_ptr, map_ptr, n, inside, block, ZERO: tl.constexpr):
    code = tl.load(code_ptr + n, mask=inside, other=ZERO).to(tl.int32)
    return tl.load(map_ptr + code) * tl.load(absmax_ptr + block)


@triton.jit
def _encode(
    x, code_ptr, absmax_ptr, bucket_ptr, n, inside, block,
    SHIFT: tl.constexpr, LOWEST: tl.constexpr, SPAN: tl.constexpr, ZERO: tl.constexpr, GUARD: tl.constexpr,
):  # fmt: skip
    """What is not finite counts as zero; so do elements beyond the end."""
    size = x.to(tl.int32, bitcast=True) & 0x7FFFFFFF
    x = tl.where(inside & (size < 0x7F800000), x, 0.0)
    absmax = tl.max(tl.abs(x), 0)
    y = tl.math.div_rn(x, tl.where(absmax > 0.0, absmax, 1.0) + x * 0.0)
    bits = y.to(tl.int32, bitcast=True)
    size = tl.minimum(tl.maximum(bits & 0x7FFFFFFF, LOWEST), 0x3F800000)
    at = (size >> SHIFT) - (LOWEST >> SHIFT) + tl.where(bits < 0, SPAN, 0)
    place = (tl.load(bucket_ptr + at) + (size & ((1 << SHIFT) - 1))) >> SHIFT
    code = ZERO + tl.where(bits < 0, -place, place)
    if GUARD:
        code = tl.where((code == ZERO) & (x > 0.0), ZERO + 1, code)
    tl.store(code_ptr + n, code.to(tl.uint8), mask=inside)
    tl.store(absmax_ptr + block, absmax)


@triton.jit
def update(
    p_ptr, g_ptr, out_ptr, a_ptr, a_absmax_ptr, a_map_ptr, a_bucket_ptr, b_ptr, b_absmax_ptr, b_map_ptr, b_bucket_ptr,
    numbers_ptr, count, RULE: tl.constexpr, HAS_OUT: tl.constexpr,
    A_SHIFT: tl.constexpr, A_LOWEST: tl.constexpr, A_SPAN: tl.constexpr, A_ZERO: tl.constexpr, A_GUARD: tl.constexpr,
    B_SHIFT: tl.constexpr, B_LOWEST: tl.constexpr, B_SPAN: tl.constexpr, B_ZERO: tl.constexpr, B_GUARD: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Parameters, or the direction, and states of one block; rules as numbered in ``rules.py``."""
    block = tl.program_id(0).to(tl.int64)
    n = block * BLOCK + tl.arange(0, BLOCK)
    inside = n < count
    p = tl.load(p_ptr + n, mask=inside, other=0.0)
    g = tl.load(g_ptr + n, mask=inside, other=0.0) * tl.load(numbers_ptr)
    a = _decode(a_ptr, a_absmax_ptr, a_map_ptr, n, inside, block, A_ZERO)
    beta1, rest1 = tl.load(numbers_ptr + 1), tl.load(numbers_ptr + 2)
    beta2, rest2 = tl.load(numbers_ptr + 3), tl.load(numbers_ptr + 4)
    root, eps, decay = tl.load(numbers_ptr + 5), tl.load(numbers_ptr + 6), tl.load(numbers_ptr + 7)
    rate, weight_decay = tl.load(numbers_ptr + 8), tl.load(numbers_ptr + 9)
    if RULE <= 1:
        b = _decode(b_ptr, b_absmax_ptr, b_map_ptr, n, inside, block, B_ZERO)
        a = a * beta1 + g * rest1
        b = b * beta2 + g * g * rest2
        below = tl.sqrt_rn(b) * root + eps
        if RULE == 0:
            p = p * decay - tl.math.div_rn(a, below) * rate
        else:
            p = tl.math.div_rn(a * tl.load(numbers_ptr + 10), below) + p * weight_decay
        _encode(
            b, b_ptr, b_absmax_ptr, b_bucket_ptr, n, inside, block, B_SHIFT, B_LOWEST, B_SPAN, B_ZERO, B_GUARD
        )  # fmt: skip
    elif RULE == 2:
        a = a * beta1 + (g + p * weight_decay)
        p = a if HAS_OUT else p - a * rate
    elif RULE == 3:
        u = a * beta1 + g * rest1
        p = p * decay - (tl.where(u > 0.0, 1.0, 0.0) - tl.where(u < 0.0, 1.0, 0.0)) * rate
        a = a * beta2 + g * rest2
    else:
        g = g + p * weight_decay
        a = a * beta2 + g * g * rest2
        p = p - tl.math.div_rn(g, tl.sqrt_rn(a) + eps) * rate
    if HAS_OUT:
        tl.store(out_ptr + n, p, mask=inside)
    else:
        tl.store(p_ptr + n, p, mask=inside)
    _encode(a, a_ptr, a_absmax_ptr, a_bucket_ptr, n, inside, block, A_SHIFT, A_LOWEST, A_SPAN, A_ZERO, A_GUARD)
