"""The integer LIF arithmetic against values computed by hand and against recorded outputs of lava-nc 0.10.

Each rule of the module's docstring has a test that fails when the rule is bent: rounding direction of a shift or a
decay, the +1 of the current's decay, the lost bit of mixed weights, the mirrored rounding of inhibitory ones, each
wrap, the clip, the strictness of the threshold, the order u before v, and the one step that every projection costs.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import csr_array

from compiler.network import INPUT, Network, Population, Projection
from compiler.simulate.reference import lif_step, replay, run
from compiler.targets.loihi.arithmetic import decay, effective_weights, shift_sum, wrap_int32, wrap_state

GOLDEN = Path(__file__).parents[2] / "golden" / "lava"
FULL = 4095  # du = 4095 forgets the current at every step; dv = 4095 keeps 1/4096 of the voltage
NEVER = 131071  # a threshold that small states do not reach


def population(n=1, du=FULL, dv=0, vth=NEVER, bias=0, exponent=0):
    return Population("p", du, dv, vth, np.full(n, bias, np.int32), np.full(n, exponent, np.int32))


def projection(source, target, weights, exponent=0, bits=8):
    return Projection(source, target, csr_array(np.array(weights, dtype=np.int32)), exponent, bits)


def rounded(weights, bits=8):
    return effective_weights(csr_array(np.array(weights, dtype=np.int32)), bits).toarray().tolist()


def step(u, v, a_in, **parameters):
    """One neuron, one step; returns u, v, s as integers."""
    arrays = (np.array([x], dtype=np.int64) for x in (u, v, a_in))
    return tuple(int(x[0]) for x in lif_step(*arrays, population(**parameters)))


@pytest.mark.parametrize("name", ["a", "b", "c", "w"])
def test_equals_recorded_lava(name):
    """Mixed and excitatory weights, 6 and 8 bits, exponents -2, 0, 3, bias exponent, 24-bit wrap: no entry differs."""
    ours = replay(GOLDEN / f"{name}.npz")
    with np.load(GOLDEN / f"{name}_out.npz", allow_pickle=False) as golden:
        assert set(ours) == set(golden.files) - {"wall"}
        assert {key: int((ours[key] != golden[key]).sum()) for key in ours} == dict.fromkeys(ours, 0)


def test_worked_example():
    """Two neurons worked out by hand: breaks with any error in order, delay, decay, lost bit, threshold or reset."""
    pop = Population("p", 409, 204, 60, np.array([5, -3], np.int32), np.array([4, 4], np.int32))
    inputs = np.array([[int(c) for c in "11011001"], [int(c) for c in "01101010"]], np.uint8)
    out = run(Network((pop,), (projection(INPUT, 0, [[37, -20], [90, 63]]),), inputs))
    assert out["u0"].tolist() == [
        [0, 2304, 3097, 1506, 3659, 4316, 3883, 2214],
        [0, 5760, 14911, 17386, 21405, 28990, 26088, 27444],
    ]
    assert out["v0"][0].tolist() == [80, 2460, 0, 1586, 0, 0, 0, 2294]
    assert out["s0"].tolist() == [[0, 0, 1, 0, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1, 1, 1]]


def test_mixed_weights_lose_the_lowest_bit():
    """Rounded down, so -21 becomes -22; breaks if the bit is kept, or cut off towards zero."""
    assert rounded([[37, -20], [90, 63]]) == [[36, -20], [90, 62]]
    assert rounded([[37, -21]]) == [[36, -22]]


def test_weights_of_one_sign_keep_it():
    """Breaks if the mixed rule is applied to weights of one sign, or if a zero makes them mixed."""
    assert rounded([[37, 63, 0]]) == [[37, 63, 0]]
    assert rounded([[-37, -63, 0]]) == [[-37, -63, 0]]


def test_fewer_weight_bits():
    """Six bits: excitatory down, inhibitory towards zero (it is rounded as a magnitude), mixed one bit more."""
    assert rounded([[37, 63]], 6) == [[36, 60]]
    assert rounded([[-37, -63]], 6) == [[-36, -60]]
    assert rounded([[37, -21]], 6) == [[32, -24]]


def test_weight_clip():
    """-256 exists in mixed weights only; breaks if the inhibitory clip is forgotten or applied to both."""
    assert rounded([[-256, 255]]) == [[-256, 254]]
    assert rounded([[-256, 0]]) == [[-255, 0]]


def test_sign_mode_is_one_per_projection():
    """A negative weight in one row costs the other rows their lowest bit too; breaks if decided per row."""
    assert rounded([[3, 5], [-2, 7]]) == [[2, 4], [-2, 6]]


def test_shift_floors():
    """Breaks if a negative sum is rounded towards zero (-1 >> 2 would be 0)."""
    assert shift_sum(np.array([-1, -4, -5, 5, 3]), -2).tolist() == [-1, -1, -2, 1, 0]
    assert shift_sum(np.array([-3, 3]), 3).tolist() == [-24, 24]
    assert shift_sum(np.array([-3, 3]), 0).tolist() == [-3, 3]


def test_shift_applies_to_the_sum_of_each_projection():
    """6 + 6 = 12 >> 3 = 1, but 6 >> 3 = 0: breaks if single weights, or the total of two projections, are shifted."""
    inputs = np.array([[1, 0], [1, 0]], np.uint8)
    together = Network((population(),), (projection(INPUT, 0, [[6, 6]], -3),), inputs)
    apart = (projection(INPUT, 0, [[6, 0]], -3), projection(INPUT, 0, [[0, 6]], -3))
    assert run(together)["u0"].tolist() == [[0, 1 << 6]]
    assert run(Network((population(),), apart, inputs))["u0"].tolist() == [[0, 0]]


def test_decay_rounds_towards_zero():
    """Breaks if the shift is applied to a signed number: -5 / 2 would be -3."""
    assert decay(np.array([5, -5, 1, -1, -4096]), 2048).tolist() == [2, -2, 0, 0, -2048]
    assert decay(np.array([7, -7]), 4096).tolist() == [0, 0]
    assert decay(np.array([7, -7]), 0).tolist() == [7, -7]


def test_current_decays_one_more_than_du_and_voltage_does_not():
    """du = dv = 0: the current loses 1/4096, the voltage nothing, and the voltage takes the new current."""
    assert step(4096, 1000, 0, du=0, dv=0) == (4095, 1000 + 4095, 0)
    assert step(0, 1000, 2, du=0, dv=2048) == (128, 500 + 128, 0)


def test_bias_is_shifted_and_added_every_step():
    """Breaks if the exponent is ignored or the mantissa wraps at 16 bits (4095 << 7 = 524160)."""
    assert step(0, 10, 0, bias=-3, exponent=4)[1] == 10 - 48
    assert step(0, 0, 0, bias=4095, exponent=7)[1] == 524160


def test_threshold_is_strict_and_resets_to_zero():
    """vth = 3 is 192 at the voltage: 192 stays silent, 193 fires and is set to 0."""
    assert step(0, 192, 0, vth=3) == (0, 192, 0)
    assert step(0, 193, 0, vth=3) == (0, 0, 1)
    assert step(0, 100, 2, vth=3) == (128, 0, 1)


def test_current_wraps_once_at_24_bits():
    """2^23 itself stays and -2^23 becomes 2^23; breaks if the wrap were a modulo (5 * 2^23 stays out of range)."""
    a_in = np.array([131072, 131073, -131071, -131072, 5 << 17, -(5 << 17)])
    u = lif_step(np.zeros(6, np.int64), np.zeros(6, np.int64), a_in, population(6))[0]
    assert u.tolist() == [2**23, 2**23 + 64 - 2**24, -(2**23) + 64, 2**23, 3 * 2**23, -3 * 2**23]
    assert wrap_state(np.array([2**23 + 1, -(2**23) - 1])).tolist() == [1 - 2**23, 2**23 - 1]


def test_the_decayed_rest_counts_in_the_wrap():
    """Breaks if only the new input is wrapped: half of 8000000 plus 70000 * 64 is 8480000, above 2^23."""
    assert step(8_000_000, 0, 70_000, du=2047)[0] == 8_480_000 - 2**24


def test_input_wraps_as_int32_before():
    """2^25 << 6 = 2^31 turns negative in 32 bits, then one 24-bit wrap; breaks if either wrap is left out."""
    assert step(0, 0, 2**25)[0] == -(2**31) + 2**24
    assert step(0, 0, 2**26)[0] == 0
    assert step(0, 0, -(2**25) - 1)[0] == 2**31 - 64 - 2**24
    assert wrap_int32(np.array([2**31 - 1, 2**31, -(2**31), -(2**31) - 1])).tolist() == [
        2**31 - 1,
        -(2**31),
        -(2**31),
        2**31 - 1,
    ]


def test_voltage_clips():
    """Below, at -2^23 + 1 and not at -2^23; above, every threshold lies lower, so the neuron fires instead."""
    assert step(0, -(2**23) + 2, -1) == (-64, -(2**23) + 1, 0)
    assert step(0, 2**23 - 2, 1)[1:] == (0, 1)


def test_batch_equals_single_samples():
    """Breaks if the bias is laid along the batch, or samples influence each other."""
    rng = np.random.default_rng(0)
    pop = Population("p", 300, 200, 40, rng.integers(-50, 50, 5, np.int32), rng.integers(0, 4, 5, np.int32))
    u, v, a_in = (rng.integers(-5000, 5000, (3, 5)) for _ in range(3))
    together = lif_step(u, v, a_in, pop)
    for b in range(3):
        for whole, single in zip(together, lif_step(u[b], v[b], a_in[b], pop), strict=True):
            assert_array_equal(whole[b], single)


def test_every_projection_costs_one_step():
    """The input's spike of step 0 fires population 0 at 1 and 1 at 2; the way back and the loop at 3 as well.

    Breaks if the input were free, if populations saw spikes of the same step, or if only forward ones waited.
    """
    quick = population(du=FULL, dv=FULL, vth=0)
    one = [[1]]
    inputs = np.array([[1, 0, 0, 0, 0]], np.uint8)
    chain = (projection(INPUT, 0, one), projection(0, 1, one))
    out = run(Network((quick, quick), chain, inputs))
    assert out["s0"].tolist() == [[0, 1, 0, 0, 0]]
    assert out["s1"].tolist() == [[0, 0, 1, 0, 0]]
    back = run(Network((quick, quick), (*chain, projection(1, 0, one)), inputs))
    assert back["s0"].tolist() == [[0, 1, 0, 1, 0]]
    loop = run(Network((quick, quick), (*chain, projection(1, 1, one)), inputs))
    assert loop["s1"].tolist() == [[0, 0, 1, 1, 1]]


def test_without_record_only_spikes_remain():
    """Breaks if the spikes depend on whether states are kept."""
    from compiler.simulate.artifact import load

    network = load(GOLDEN / "a.npz")
    full, spikes = run(network), run(network, record=False)
    assert set(spikes) == {"s0", "s1"}
    for key, value in spikes.items():
        assert_array_equal(value, full[key])
