"""The integer arithmetic of "graded LIF": our own semantics, stated, for chips of which too little is published.

Step t of a neuron (events of level k from step t − 1 add k times their weight; every projection costs one step)::

    a_in = sum over projections of shift(sum_j W_ij k_j, weight_exp)    shift left, or right with floor
    x    = clip(decay(v, dv) + (a_in << 6) + bias, ±(2^(state bits − 1) − 1))
           decay(v, d) = sign(v) · ((|v| · (2^decay bits − d)) >> decay bits)
    k    = [x ≥ θ]                                  mode 0, θ = threshold << 6
           clip(round(x / θ), 0, levels)            mode 1: halves to even; mode 2: halves up
           x >> 6                                   mode 3: the sum of the step itself, of either sign
    v    = 0 where k > 0                            reset 0, hard
           x − k·θ                                  reset 1, soft
           x                                        reset 2, none

Weights are signed whole numbers of the chip's weight bits, all of them kept. A product of two event signals is their
exact product, taken one step after they came. All integers; v starts at 0; symbols without unit.

Against lava's fixed-point LIF (``targets.loihi``): a threshold that is reached counts, there is no current that decays,
and weights of either sign lose no bit. What is assumed of Loihi 2: that its microcode is programmed so.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array

Ints: TypeAlias = Any

SEMANTICS = "graded LIF"
SHIFT = 6
"""Synaptic input and threshold are shifted left by this many bits."""


def decay(state: Ints, rate: Ints, bits: Ints) -> Ints:
    """Return ``state · (2^bits − rate) / 2^bits`` rounded towards zero."""
    magnitude = (abs(state) * ((1 << bits) - rate)) >> bits
    return magnitude - 2 * magnitude * (state < 0)


def levels_of(x: Ints, theta: Ints, levels: Ints, mode: Ints) -> Ints:
    """Return the level of the event that a membrane ``x`` sends, 0 for none."""
    doubled = 2 * x + theta
    nearest = doubled // (2 * theta)
    tie = (doubled - nearest * 2 * theta == 0) * (mode == 1) * (nearest % 2)
    several = nearest - tie
    above = several - (several - levels) * (several > levels)
    within = above * (above > 0)
    one = (x >= theta) * (levels > 0)
    return one * (mode == 0) + within * (mode > 0) * (mode < 3) + (x >> SHIFT) * (mode == 3)


def graded_step(
    v: Ints, a_in: Ints, bias: Ints, dv: Ints, vth: Ints, levels: Ints, mode: Ints, reset: Ints, limit: Ints, bits: Ints
) -> tuple[Ints, Ints]:
    """Advance neurons by one step; return the new membrane and the level of what each sends."""
    x = decay(v, dv, bits) + (a_in << SHIFT) + bias
    x = x - (x - limit) * (x > limit) - (x + limit) * (x < -limit)
    theta = vth << SHIFT
    sent = levels_of(x, theta, levels, mode)
    kept = x * (sent == 0) * (reset == 0) + (x - sent * theta) * (reset == 1) + x * (reset == 2)
    return kept, sent


def shift_sum(total: Ints, weight_exp: int) -> Ints:
    """Scale the weighted sum of one projection by ``2 ** weight_exp``, rounding towards minus infinity."""
    return total << weight_exp if weight_exp > 0 else total >> -weight_exp


def row_step(u: Ints, v: Ints, a_in: Ints, bias: Ints, row: Ints) -> tuple[Ints, Ints, Ints]:
    """``graded_step`` on a row of parameters: (du, dv, vth, levels, mode, reset, limit, decay bits)."""
    v, sent = graded_step(v, a_in, bias, row[1], row[2], row[3], row[4], row[5], row[6], row[7])
    return u, v, sent


PARTS = (decay, levels_of, graded_step, shift_sum, row_step)
"""Everything that a step is made of, for whoever compiles it."""


def stored_weights(weights: csr_array, weight_bits: int) -> csr_array:
    """Return the weights as a core keeps them: as they are, zeros left out; int64.

    Raises:
        ValueError: a weight needs more bits (quantising keeps them inside).
    """
    stored = csr_array(weights, dtype=np.int64, copy=True)
    stored.eliminate_zeros()
    limit = 1 << (weight_bits - 1)
    if stored.nnz and (stored.data.min() < -limit or stored.data.max() >= limit):
        raise ValueError(f"weights from {stored.data.min()} to {stored.data.max()} in {weight_bits} bits")
    return stored
