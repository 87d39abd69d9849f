"""One text of the integer step, three ways to run it: numpy arrays, torch tensors, compiled numbers.

Would break it: a shift that rounds another way in one of them, a wrap that is left out, an operator with another
meaning on booleans, a compiled loop that is taken from the cache although the text has changed.
"""

import numpy as np
import pytest
import torch
from numba import njit
from numba.extending import register_jitable

from compiler.targets.loihi import arithmetic

EDGES = [
    0,
    1,
    -1,
    63,
    64,
    -64,
    2**23 - 1,
    2**23,
    2**23 + 1,
    -(2**23),
    -(2**23) - 1,
    -(2**23) + 1,
    2**25,
    -(2**25),
    2**31,
]


def extremes(count=4000):
    """u, v, a_in, bias, du, dv, vth: edges of every rule first, then random."""
    rng = np.random.default_rng(0)
    states = np.concatenate([np.array(EDGES), rng.integers(-(2**24), 2**24, count - len(EDGES))])
    a_in = np.concatenate(
        [np.array(EDGES), rng.integers(-(2**26), 2**26, count // 2), rng.integers(-3000, 3000, count)]
    )
    du, dv = (np.where(rng.random(count) < 0.3, edge, rng.integers(0, 4096, count)) for edge in (4095, 0))
    return (
        rng.permutation(states),
        np.clip(rng.permutation(states), -(2**23) + 1, 2**23 - 1),
        rng.permutation(a_in[:count]),
        np.where(rng.random(count) < 0.5, 0, rng.integers(-524160, 524160, count)),
        du,
        dv,
        np.where(rng.random(count) < 0.2, 131071, rng.integers(0, 131072, count)),
    )


@pytest.fixture(scope="module")
def compiled():
    for part in arithmetic.PARTS:
        register_jitable(part)
    step, shift_sum = arithmetic.step, arithmetic.shift_sum

    @njit
    def run(u, v, a_in, bias, du, dv, vth):
        out = np.zeros((3, len(u)), np.int64)
        for n in range(len(u)):
            out[0, n], out[1, n], out[2, n] = step(u[n], v[n], a_in[n], bias[n], du[n], dv[n], vth[n])
        return out

    @njit
    def shifted(total, exponents):
        out = np.zeros_like(total)
        for n in range(len(total)):
            out[n] = shift_sum(total[n], exponents[n])
        return out

    return run, shifted


def test_a_step_is_the_same_on_arrays_tensors_and_compiled_numbers(compiled):
    given = extremes()
    arrays = [np.asarray(x) for x in arithmetic.step(*given)]
    tensors = [x.long().numpy() for x in arithmetic.step(*map(torch.from_numpy, given))]
    numbers = compiled[0](*given)
    for one, two, three in zip(arrays, tensors, numbers, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)
    u, _, spikes = arrays
    assert 0.05 < spikes.mean() < 0.95
    assert (np.abs(u) > 2**23).any(), "one wrap is not a modulo"


def test_a_step_by_the_rules_written_out_in_whole_numbers():
    """The docstring's text in Python's own integers, without any of the functions under test."""

    def plain(u, v, a_in, bias, du, dv, vth):
        def decay(x, d):
            return (1 if x > 0 else -1) * (abs(x) * (4096 - d) // 4096)

        u = (decay(u, du + 1) + a_in * 64 + 2**31) % 2**32 - 2**31
        u = u - 2**24 if u > 2**23 else u + 2**24 if u <= -(2**23) else u
        v = min(max(decay(v, dv) + u + bias, -(2**23) + 1), 2**23 - 1)
        return u, 0 if v > vth * 64 else v, v > vth * 64

    given = extremes(600)
    ours = arithmetic.step(*given)
    for n in range(600):
        expected = plain(*(int(x[n]) for x in given))
        assert tuple(int(x[n]) for x in ours) == expected, n


def test_sums_shift_the_same_way(compiled):
    total = np.array([-1, -4, -5, 5, 3, 2**30, -(2**30)] * 3)
    exponents = np.repeat([-2, 0, 7], 7)
    plain = [t * 2**e if e >= 0 else t // 2**-e for t, e in zip(total.tolist(), exponents.tolist(), strict=True)]
    assert compiled[1](total, exponents).tolist() == plain
    for exponent in (-2, 0, 7):
        chosen = total[exponents == exponent]
        on_tensors = arithmetic.shift_sum(torch.from_numpy(chosen), exponent).numpy()
        np.testing.assert_array_equal(arithmetic.shift_sum(chosen, exponent), on_tensors)
        assert on_tensors.tolist() == [p for p, e in zip(plain, exponents.tolist(), strict=True) if e == exponent]


def test_the_text_is_part_of_the_key_of_a_compiled_loop():
    """Two targets whose steps differ get two loops, each with its own step."""
    from dataclasses import replace

    from compiler.mapping import engine
    from compiler.targets.loihi.image import DYNAMICS

    other = replace(DYNAMICS, step=_never_row, parts=(*DYNAMICS.parts, _never, _never_row))
    assert engine.kernel(DYNAMICS) is engine.kernel(DYNAMICS)
    one = np.zeros(1, np.int64)

    def spikes(advance):
        out, no, none = np.zeros((1, 1), np.int32), np.zeros(0, np.int32), np.zeros(0, np.int64)
        row = np.zeros((1, 3), np.int64)
        advance(0, 1, np.zeros((0, 1), np.int32), np.full((1, 1), 999_999, np.int64), one, 1, row,
                np.zeros(2, np.int64), np.zeros(1, np.int64), no, no, no, no, one.copy(), one.copy(), none, out,
                none)  # fmt: skip
        return int(out[0, 0])

    assert spikes(engine.kernel(DYNAMICS)) == 1
    assert spikes(engine.kernel(other)) == 0


def _never_row(u, v, a_in, bias, row):
    return _never(u, v, a_in, bias, row[0], row[1], row[2])


def _never(u, v, a_in, bias, du, dv, vth):
    return u, v, v > v
