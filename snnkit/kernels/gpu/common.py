"""What the Triton kernels share: IEEE division, reset, surrogates and the gradient through both."""

import triton
import triton.language as tl


@triton.jit
def divide(a, b, DOUBLE: tl.constexpr):
    """Return a / b, rounded as IEEE wants."""
    return a / b if DOUBLE else tl.math.div_rn(a, b)


@triton.jit
def reset(h, fired, threshold, v_reset, RESET: tl.constexpr):
    """0: hard, 1: soft, 2: none."""
    if RESET == 0:
        v = tl.where(fired, v_reset, h)
    elif RESET == 1:
        v = tl.where(fired, h - threshold, h)
    else:
        v = h
    return v


@triton.jit
def slope_at(d, a, SURROGATE: tl.constexpr):
    """The surrogate's derivative; numbers as in ``fused_c.SURROGATES``."""
    m = tl.abs(d)
    if SURROGATE == 0:
        z = 1.0 / (1.0 + tl.exp(-a * d))
        slope = a * z * (1.0 - z)
    elif SURROGATE == 1:
        z = d * (a * 1.5707963267948966)
        slope = (a / 2.0) / (1.0 + z * z)
    elif SURROGATE == 2:
        z = a - a * a * m
        slope = tl.where(z <= 0.0, a - a, z)  # NaN stays
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
        slope = tl.where(m < 0.5 / a, a, a - a)
    return slope


@triton.jit
def through_reset(h, gs, gv, slope, fired, threshold, v_reset, RESET: tl.constexpr, DETACH: tl.constexpr):
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
