"""The integer arithmetic of lava-nc 0.10 (``fixed_pt`` models of Dense and LIF), reproduced bit for bit, in one text.

The functions of a step use operators alone, so that the same text runs on numpy arrays (``simulate.reference``), on
torch tensors (the operation ``lif_fixed``) and, compiled, on single numbers (``mapping.engine``); all int64.

Weights, once per projection (W = weights as written, bits = stored bits a weight)::

    mode    = excitatory if min(W) >= 0, inhibitory if max(W) <= 0, else mixed
    inhibitory: W = -W
    W       = clip(W, -256 if mixed else 0, 255)
    k       = 8 - bits + (1 if mixed else 0)                the sign of mixed weights costs the lowest bit
    W       = (W >> k) << k                                 floor to a multiple of 2^k
    inhibitory: W = -W

Step t of a population (s_j: spikes of step t - 1, the input's included: every projection costs one step)::

    a_in = sum over projections of shift(sum_j W_ij s_j, weight_exp)    shift left, or right with floor
    u    = wrap32(decay(u, du + 1) + (a_in << 6))           decay(x, d) = sign(x) * ((|x| * (4096 - d)) >> 12)
    u    = u - 2^24 if u > 2^23;  u + 2^24 if u <= -2^23    one wrap only, not a modulo
    v    = clip(decay(v, dv) + u + bias, -2^23 + 1, 2^23 - 1)           bias = bias_mant << bias_exp
    s    = v > (vth << 6)                                   strictly above
    v    = 0 where s

Symbols: u current, v voltage (both start at 0), s spike, du and dv decays out of 4096 (0..4095), vth threshold
(0..131071); all integers, no physical units. wrap32 is the modulo-2^32 overflow of int32, which lava's arrays have
and which |a_in| >= 2^25 reaches; the other lines cannot overflow int32, so they need no wrap.

The widths are the semantics' own, as lava fixes them; a chip that names these semantics must agree (``formats``).

Source: lava-nc 0.10.0, lava/proc/lif/models.py, lava/proc/dense/models.py, lava/utils/weightutils.py. The claim is
"equal to lava 0.10 fixed_pt"; lava's model itself is reported to differ from Loihi silicon in details.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_array

Ints: TypeAlias = Any
"""An int64 array of numpy, an int64 tensor of torch, or a whole number: what comes in goes out."""

SEMANTICS = "lava-nc 0.10 fixed_pt"
DECAY_BITS = 12
"""Decay constants are fractions of 2 ** DECAY_BITS."""
SHIFT = 6
"""Synaptic input and threshold are shifted left by this many bits."""
STATE_BITS = 24
"""States live in (-2^23, 2^23], voltages strictly inside."""
WEIGHT_BITS = 8
"""Bits of a weight's magnitude; fewer stored bits make it coarser, not smaller."""

UNITY = 1 << DECAY_BITS
LIMIT = 1 << (STATE_BITS - 1)

RANGES: dict[str, tuple[int, int]] = {
    "du": (0, UNITY - 1),
    "dv": (0, UNITY - 1),
    "vth": (0, 131071),
    "bm": (-4096, 4095),
    "be": (0, 7),
    "weight": (-(1 << WEIGHT_BITS), (1 << WEIGHT_BITS) - 1),
    "wexp": (-8, 7),
    "wbits": (1, WEIGHT_BITS),
    "inp": (0, 1),
}
"""What the arithmetic can represent: name -> (lowest, highest); names as in ``simulate.artifact``."""


def decay(state: Ints, rate: Ints) -> Ints:
    """Return ``state * (4096 - rate) / 4096`` rounded towards zero; ``rate`` 0..4096."""
    magnitude = (abs(state) * (UNITY - rate)) >> DECAY_BITS
    return magnitude - 2 * magnitude * (state < 0)


def wrap_int32(value: Ints) -> Ints:
    """Return what is left of ``value`` after it passed through an int32: modulo 2^32 into [-2^31, 2^31)."""
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def wrap_state(value: Ints) -> Ints:
    """Move ``value`` by 2^24 once if it left (-2^23, 2^23]; what is further out stays out."""
    return value - 2 * LIMIT * (value > LIMIT) + 2 * LIMIT * (value <= -LIMIT)


def clip_state(value: Ints) -> Ints:
    """Clip ``value`` to -2^23 + 1 … 2^23 - 1."""
    highest = LIMIT - 1
    return value - (value - highest) * (value > highest) - (value + highest) * (value < -highest)


def shift_sum(total: Ints, weight_exp: int) -> Ints:
    """Scale the weighted sum of one projection by ``2 ** weight_exp``, rounding towards minus infinity."""
    return total << weight_exp if weight_exp > 0 else total >> -weight_exp


def step(u: Ints, v: Ints, a_in: Ints, bias: Ints, du: Ints, dv: Ints, vth: Ints) -> tuple[Ints, Ints, Ints]:
    """Advance neurons by one step.

    ``u``, ``v``: current and voltage after the previous step; ``a_in``: what the projections deliver now; ``bias``: in
    units of v. Returns the new u, v and whether each neuron fires.
    """
    u = wrap_state(wrap_int32(decay(u, du + 1) + (a_in << SHIFT)))
    v = clip_state(decay(v, dv) + u + bias)
    spikes = v > (vth << SHIFT)
    return u, v - v * spikes, spikes


def row_step(u: Ints, v: Ints, a_in: Ints, bias: Ints, row: Ints) -> tuple[Ints, Ints, Ints]:
    """``step`` with its constants in a row: (du, dv, vth)."""
    return step(u, v, a_in, bias, row[0], row[1], row[2])


PARTS = (decay, wrap_int32, wrap_state, clip_state, shift_sum, step, row_step)
"""Everything that a step is made of, for whoever compiles it."""


def effective_weights(weights: csr_array, weight_bits: int) -> csr_array:
    """Return the weights as the chip stores them: clipped to range and rounded down to ``weight_bits`` bits.

    ``weights``: integer csr_array (out, in); absent entries count as zero weights, so they do not change the mode.
    The result is int64 of the same shape, without stored zeros.
    """
    stored = csr_array(weights, dtype=np.int64, copy=True)
    smallest, largest = stored.data.min(initial=0), stored.data.max(initial=0)
    mixed = smallest < 0 < largest
    inhibitory = smallest < 0 and not mixed
    magnitude = -stored.data if inhibitory else stored.data
    lowest, highest = RANGES["weight"]
    magnitude = np.clip(magnitude, lowest if mixed else 0, highest)
    dropped_bits = WEIGHT_BITS - weight_bits + int(mixed)
    magnitude = (magnitude >> dropped_bits) << dropped_bits
    stored.data = -magnitude if inhibitory else magnitude
    stored.eliminate_zeros()
    return stored
