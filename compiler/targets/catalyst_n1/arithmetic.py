"""The integer arithmetic of Catalyst N1's neurons and synapses, reproduced bit for bit, in one text.

All functions use operators alone, so that the same text runs on numpy arrays and torch tensors (the operation
``lif_n1``) and, compiled, on single numbers (``simulator``); all int64. ``wrapK`` is the two's-complement wrap to K
bits, ``[c]`` a condition as 0 or 1.

Division by 4,096, rounded up for positive numbers and to *one below* the floor for negative ones::

    raz(p) = wrap24(floor(p / 4096) + [p mod 4096 != 0] * (-1 if p < 0 else +1))

Neurons: v membrane, u synaptic current, r refractory counter, ``in`` what arrives in this step, thr threshold (noise
included), R refractory length. A neuron is current-based (CUBA) where decay_v, decay_u or its bias register is not 0.

Plain LIF, whose current stays 0; x = wrap24(v + in - leak)::

    r > 0:              v' = rest, r' = r - 1           the input of the step is lost
    x >= thr:           spike, v' = rest, r' = R
    wrap24(v + in) > leak:  v' = x                      so v cannot fall below 0
    else:               v' = rest

CUBA; a spike and a refractory step do not keep u from moving::

    u' = wrap24(u - raz(u decay_u) + in' + noise_u)     in' = raz(in decay_u) if scale_u else in
    r > 0:      r' = r - 1, v' = wrap24(v - raz(v decay_v) - bias + noise_v) if relative else rest
    x >= thr:   spike, v' = rest, r' = R                x = wrap24(v - raz(v decay_v) + u + bias + noise_v)
    else:       v' = x

The stored v is v' clamped to vmin..vmax, 16-bit numbers, at vmin where they cross. A current of this step thus reaches
v in the next. A spike carries the payload clamp(wrap24(v + in - leak - thr), 1, 255), whatever kind the neuron is.

Source: the Verilog of catalyst-n1 (``rtl/scalable_core_v2.v``).
"""

from __future__ import annotations

from typing import Any, TypeAlias

Ints: TypeAlias = Any
"""An int64 array of numpy, an int64 tensor of torch, or a whole number: what comes in goes out."""

SEMANTICS = "catalyst_n1"
STATE_BITS = 24
"""Bits of u, of v before it is clamped, and of an accumulator."""
WORD_BITS = 16
"""Bits of weights, host currents, thresholds, leaks, rests and bounds; of the accumulators of dendrites."""
DECAY_BITS = 12
GRADE_SHIFT = 7
"""A graded spike delivers (weight * payload) >> GRADE_SHIFT."""
NOISE_SEED = 0xACE1
"""What the 16-bit shift register of every core starts with."""


def wrap24(value: Ints) -> Ints:
    """Return ``value`` modulo 2^24, in [-2^23, 2^23)."""
    return ((value + 0x800000) & 0xFFFFFF) - 0x800000


def wrap16(value: Ints) -> Ints:
    """Return ``value`` modulo 2^16, in [-2^15, 2^15)."""
    return ((value + 0x8000) & 0xFFFF) - 0x8000


def raz(product: Ints) -> Ints:
    """Return ``product / 4096``, rounded as the chip does (see above)."""
    return wrap24((product >> 12) + ((product & 4095) != 0) * (1 - 2 * (product < 0)))


def clamped(value: Ints, low: Ints, high: Ints) -> Ints:
    """Return ``value`` in low..high; ``low`` where it is below both, also if they cross."""
    below = value < low
    above = (value > high) * (value >= low)
    return value + (low - value) * below + (high - value) * above


def plain_step(
    v: Ints, r: Ints, arrived: Ints, threshold: Ints, leak: Ints, rest: Ints, refractory: Ints
) -> tuple[Ints, Ints, Ints]:
    """Advance plain LIF neurons; return v before it is clamped, r, and whether each fires."""
    moved = wrap24(v + arrived - leak)
    ready = r == 0
    spike = ready * (moved >= threshold)
    kept = ready * (moved < threshold) * (wrap24(v + arrived) > leak)
    return rest + (moved - rest) * kept, (r - 1) * (r > 0) + refractory * spike, spike


def cuba_step(
    u: Ints,
    v: Ints,
    r: Ints,
    threshold: Ints,
    rest: Ints,
    refractory: Ints,
    relative: Ints,
    decay_v: Ints,
    bias: Ints,
    noise_v: Ints,
) -> tuple[Ints, Ints, Ints]:
    """Advance the membranes of CUBA neurons with the current ``u`` of the step before; return as ``plain_step``."""
    left = v - raz(v * decay_v) + noise_v
    moved = wrap24(left + u + bias)
    ready = r == 0
    spike = ready * (moved >= threshold)
    drifted = rest + (wrap24(left - bias) - rest) * relative
    settled = rest + (moved - rest) * (moved < threshold)
    return drifted + (settled - drifted) * ready, (r - 1) * (r > 0) + refractory * spike, spike


def current_step(u: Ints, arrived: Ints, decay_u: Ints, scale_u: Ints, noise_u: Ints) -> Ints:
    """Return the currents of CUBA neurons after the step."""
    scaled = arrived + (raz(arrived * decay_u) - arrived) * scale_u
    return wrap24(u - raz(u * decay_u) + scaled + noise_u)


def payload(v: Ints, arrived: Ints, leak: Ints, threshold: Ints) -> Ints:
    """Return what a spike carries, 1..255."""
    return clamped(wrap24(v + arrived - leak - threshold), 1, 255)


def shift_register(x: Ints) -> Ints:
    """Return the next state of a core's noise register."""
    return ((x >> 1) | ((x & 1) << 15)) ^ (0xB400 * (x & 1))


def noise(x: Ints, mantissa: Ints, exponent: Ints) -> Ints:
    """Return the noise that a register state ``x`` gives."""
    wide = (mantissa << exponent) & 0xFFFFFFFF
    mask = wide + (0xFFFF - wide) * (wide > 0xFFFF)
    return (x & mask & 0x7FFF) - (mask >> 1)


def decoded(weight: Ints, kind: Ints) -> Ints:
    """Return a weight as the axon type ``kind`` of its target neuron reads it; a kind of width 0 leaves it.

    ``kind``: width in bits 11:8, signed exponent in 7:4, negative in 2, sign and magnitude in 1.
    """
    width = (kind >> 8) & 15
    exponent = ((kind >> 4) & 15) - 16 * ((kind >> 7) & 1)
    with_sign = ((kind >> 1) & 1) * (width > 1)
    # Ten bits and more are not cut.
    keep = 16 + (width - 16) * (width < 10)
    raw = wrap16(weight & ((1 << keep) - 1))
    sign_bit = 1 << ((width - 1) * (width > 0))
    negative = ((raw & sign_bit) != 0) * with_sign + ((kind >> 2) & 1) * (1 - with_sign)
    magnitude = raw & ~(sign_bit * with_sign * (width < 10))
    shifted = wrap16((magnitude << (exponent * (exponent > 0))) >> (-exponent * (exponent < 0)))
    read = wrap16(shifted - 2 * shifted * negative)
    return weight + (read - weight) * (width > 0)


def rectified(value: Ints, threshold: Ints) -> Ints:
    """Return what a dendrite passes on: its excess over its threshold, wrapped to 16 bits."""
    return wrap16(value - threshold) * (value > threshold)


def dendrites(d1: Ints, d2: Ints, d3: Ints, t1: Ints, t2: Ints, t3: Ints, tree: Ints) -> Ints:
    """Return what three dendrites add to the soma; ``tree`` says in two bits each where 1, 2 and 3 lead (0: soma)."""
    p1, p2, p3 = tree & 3, (tree >> 2) & 3, (tree >> 4) & 3
    o3 = rectified(d3, t3)
    o2 = rectified(wrap16(d2 + o3 * (p3 == 2)), t2)
    o1 = rectified(wrap16(d1 + o2 * (p2 == 1) + o3 * (p3 == 1)), t1)
    return wrap16(o1 * (p1 == 0) + o2 * (p2 == 0) + o3 * (p3 == 0))


PARTS = (
    *(wrap24, wrap16, raz, clamped, plain_step, cuba_step, current_step, payload),
    *(shift_register, noise, decoded, rectified, dendrites),
)
"""Everything that a step is made of, what is called before what calls it, for whoever compiles it."""
