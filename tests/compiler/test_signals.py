"""The arithmetic of signal types against sets of values: every value that can come out is in the type, its ends are.

Would break it: a step compared as a float, ends swapped by a negative factor, padding without its zero, a clamp between
two levels, an interval too wide for floats that still calls itself whole.
"""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.graph import BINARY, REAL, SIGNED, Signal, SignalType
from compiler.graph.signals import LARGEST, common_step, integer, single
from snnkit.errors import InvalidArgumentError, UnknownNameError

SCALES = st.builds(Fraction, st.integers(1, 5), st.integers(1, 9))


@st.composite
def types(draw):
    kind, scale = draw(st.sampled_from(["binary", "signed", "integer", "integer", "pow2"])), draw(SCALES)
    if kind == "integer":
        low, high = sorted((draw(st.integers(-5, 5)), draw(st.integers(-5, 5))))
        return integer(low, high, scale)
    if kind == "pow2":
        return SignalType("pow2", -draw(st.sampled_from([0, 1, 4])), 2 ** draw(st.integers(0, 3)), scale)
    return {"binary": BINARY, "signed": SIGNED}[kind].scaled(scale)


def values(kind):
    levels = range(kind.low, kind.high + 1)
    return {n * kind.scale for n in levels if kind.kind != "pow2" or abs(n).bit_count() <= 1}


def holds(kind, made):
    """Every value is in the type, and the ends of the type are among them."""
    assert set(made) <= values(kind), kind
    assert {min(made), max(made)} == {kind.low * kind.scale, kind.high * kind.scale}, kind


@given(types(), types())
def test_two_signals(a, b):
    pairs = list(itertools.product(values(a), values(b)))
    holds(a.sum(b), [x + y for x, y in pairs])
    holds(a.product(b), [x * y for x, y in pairs])
    holds(a.union(b), [*values(a), *values(b)])
    holds(a.maximum(b), [max(pair) for pair in pairs])
    holds(a.minimum(b), [min(pair) for pair in pairs])
    for made in (a.sum(b), a.product(b), a.union(b), a.maximum(b)):
        assert made.scale > 0


@given(types(), types(), types())
def test_order_does_not_matter(a, b, c):
    for join in ("sum", "product", "union", "maximum", "minimum"):
        assert values(getattr(a, join)(b)) == values(getattr(b, join)(a)), join
    assert values(a.sum(b).sum(c)) == values(a.sum(b.sum(c)))
    assert a.union(a) == a.maximum(a) == a


@given(types(), st.fractions(-4, 4, max_denominator=12), st.integers(1, 6), st.integers(0, 4))
def test_one_signal(a, factor, count, exponent):
    holds(a.scaled(factor), [x * factor for x in values(a)])
    assert a.times(count).low == a.low * count
    assert a.times(count).high == a.high * count
    assert a.times(count).scale == a.scale
    holds(a.with_zero(), [*values(a), 0])
    holds(a.power(exponent), [x**exponent for x in values(a)])


@given(types(), st.fractions(-4, 4, max_denominator=8), st.fractions(-4, 4, max_denominator=8))
def test_clamps(a, low, high):
    holds(a.clamped(float(low), math.inf), [max(x, Fraction(float(low))) for x in values(a)]) if exact(low) else None
    holds(a.clamped(-math.inf, math.inf), values(a))
    if exact(low) and exact(high):
        holds(a.clamped(low, high), [min(max(x, low), high) for x in values(a)])


def exact(number):
    return Fraction(float(number)) == number


@given(types())
@settings(max_examples=50)
def test_rounding(a):
    for function in (math.floor, math.ceil, round, math.trunc):
        kind = a.rounded(function)
        assert {function(x) for x in values(a)} <= values(kind)
        assert kind.scale.denominator == 1
        if a.scale.denominator in (1, 2, 4, 8):
            holds(kind, [function(x) for x in values(a)])


def test_steps_that_floats_do_not_hold_may_round_either_way():
    """1/9 nine times is 1 or a little less."""
    assert integer(9, 18, Fraction(1, 9)).rounded(math.floor) == integer(0, 2)
    assert integer(9, 18, Fraction(1, 9)).rounded(math.ceil) == integer(1, 3)
    assert integer(0, 9, Fraction(1, 9)).rounded(math.floor) == integer(0, 1)
    assert integer(4, 8, Fraction(1, 4)).rounded(math.floor) == integer(1, 2)


def test_the_step_of_several():
    assert common_step([Fraction(1, 4), Fraction(1, 6)]) == Fraction(1, 12)
    assert common_step([Fraction(3, 2), Fraction(9, 4)]) == Fraction(3, 4)
    assert common_step([Fraction(1, 9), Fraction(0)]) == Fraction(1, 9)


def test_real_stays_real():
    for made in (
        REAL.sum(BINARY),
        BINARY.product(REAL),
        REAL.union(BINARY),
        REAL.maximum(BINARY),
        REAL.times(3),
        REAL.scaled(2),
        REAL.power(2),
        REAL.with_zero(),
        REAL.clamped(0, 1),
        REAL.rounded(math.floor),
    ):
        assert made == REAL
    assert not REAL.is_event
    assert (REAL.levels, REAL.magnitude) == (0, 0)


def test_an_interval_wider_than_floats_hold_is_real():
    assert integer(0, LARGEST) == SignalType("integer", 0, 2**24)
    assert integer(0, LARGEST + 1) == REAL
    assert integer(-LARGEST - 1, 0) == REAL
    assert BINARY.times(LARGEST).product(BINARY.times(2)) == REAL
    assert SIGNED.times(2**13).power(2) == REAL
    # 0.35355 in float32 is a multiple of 2^−25, as 1 is; their sum is no number of spikes.
    assert BINARY.sum(BINARY.scaled(0.3535533845424652)) == REAL
    assert BINARY.sum(BINARY.scaled(0.25)) == integer(0, 5, Fraction(1, 4))


def test_what_is_always_the_same_number():
    assert single(0) == integer(0, 0)
    assert single(-2.5) == integer(-1, -1, Fraction(5, 2))
    assert BINARY.product(single(-0.5)) == integer(-1, 0, Fraction(1, 2))
    assert BINARY.product(single(0)) == integer(0, 0)
    assert SIGNED.product(single(3)) == SIGNED.scaled(3)
    assert BINARY.union(single(0)) == BINARY


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("real", REAL),
        ("binary", BINARY),
        ("signed", SIGNED),
        ("integer[0,3]", integer(0, 3)),
        ("integer[-2, 7]", integer(-2, 7)),
        ("pow2[2]", SignalType("pow2", -4, 4)),
    ],
)
def test_parsing(text, kind):
    assert SignalType.parse(text) == kind
    assert SignalType.parse(str(kind)) == kind


@pytest.mark.parametrize("text", ["integer[3,0]", "integer", "integer[0,1.5]", "pow2[]", "pow2[99]"])
def test_no_interval(text):
    with pytest.raises(InvalidArgumentError, match=r"integer\[low,high\]"):
        SignalType.parse(text)


def test_an_unknown_kind_names_the_nearest():
    with pytest.raises(UnknownNameError, match="'binary'"):
        SignalType.parse("binry")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (BINARY.scaled(Fraction(1, 4)), "binary×1/4"),
        (integer(0, 64, Fraction(1, 16)), "integer[0,64]×1/16"),
        (SignalType("pow2", -4, 4, Fraction(1, 8)), "pow2[2]×1/8"),
        (BINARY.scaled(0.011048543456039806), "binary×0.0110485"),
        (REAL, "real"),
    ],
)
def test_words(kind, text):
    assert str(kind) == text


def test_sizes():
    assert Signal("x", (3, 4, 5)).size == 60
    assert Signal("x", ()).size == 1
    assert integer(-3, 2).levels == 6
    assert integer(-3, 2).magnitude == 3
