"""The integer LIF neuron of lava-nc 0.10 (``fixed_pt`` models of Dense and LIF), reproduced bit for bit.

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

Source: lava-nc 0.10.0, lava/proc/lif/models.py, lava/proc/dense/models.py, lava/utils/weightutils.py. The claim is
"equal to lava 0.10 fixed_pt"; lava's model itself is reported to differ from Loihi silicon in details.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compiler.simulate.artifact import Population

Ints = NDArray[np.int64]

UNITY = 1 << 12
"""Decay constants are fractions of this."""
ALIGN = 6
"""Synaptic input and threshold are shifted left by this many bits."""
LIMIT = 1 << 23
"""States live in (-LIMIT, LIMIT], voltages strictly inside."""


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
    magnitude = np.clip(magnitude, -256 if mixed else 0, 255)
    dropped_bits = 8 - weight_bits + int(mixed)
    magnitude = (magnitude >> dropped_bits) << dropped_bits
    stored.data = -magnitude if inhibitory else magnitude
    stored.eliminate_zeros()
    return stored


def shift_sum(total: Ints, weight_exp: int) -> Ints:
    """Scale the weighted sum of one projection, any shape, by ``2 ** weight_exp``, rounding towards minus infinity."""
    return total << weight_exp if weight_exp > 0 else total >> -weight_exp


def decay(state: Ints, rate: int) -> Ints:
    """Return ``state * (4096 - rate) / 4096`` rounded towards zero; ``rate`` 0..4096, any shape."""
    magnitude: Ints = (np.abs(state) * (UNITY - rate)) >> 12
    return np.sign(state) * magnitude


def wrap_int32(value: Ints) -> Ints:
    """Return what is left of ``value``, any shape, after it passed through an int32: modulo 2^32 into [-2^31, 2^31)."""
    return ((value + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def wrap_state(value: Ints) -> Ints:
    """Move ``value``, any shape, by 2^24 once if it left (-2^23, 2^23]; what is further out stays out."""
    return np.where(value > LIMIT, value - 2 * LIMIT, np.where(value <= -LIMIT, value + 2 * LIMIT, value))


def lif_step(u: Ints, v: Ints, a_in: Ints, population: Population) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Advance the N neurons of ``population`` by one step.

    ``u``, ``v``: int64 current and voltage after the previous step; ``a_in``: int64 sum of what the projections
    deliver now. All of shape (N,), or (B, N) for B independent samples. Returns the new u, v and the spikes s (bool).
    """
    u = wrap_state(wrap_int32(decay(u, population.du + 1) + (a_in << ALIGN)))
    v = np.clip(decay(v, population.dv) + u + population.bias, -LIMIT + 1, LIMIT - 1)
    spikes = v > (population.vth << ALIGN)
    return u, np.where(spikes, 0, v), spikes
