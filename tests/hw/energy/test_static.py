"""Idle power × latency is an energy; no other product or sum of units is.

Would break it: a unit taken for another, factors of a thousand, nanoseconds added to picojoules.
"""

import pytest

from hw import energy
from hw.counts import Counts, LayerCounts
from hw.energy.idle import static
from hw.quantity import Interval, Quantity, UnitError


def q(value, unit, **ends):
    return Quantity(value, unit, "made up", **ends)


@pytest.mark.parametrize(
    ("power", "latency", "uj"),
    [
        (q(1, "mW"), q(1, "ms"), 1.0),
        (q(63, "mW"), q(1, "ms"), 63.0),
        (q(0.42, "mW"), q(2, "s"), 840.0),
        (q(1, "W"), q(3.5, "ns"), 0.0035),
        (q(500, "nW"), q(200, "us"), 1e-4),
    ],
)
def test_milliwatts_times_milliseconds_are_microjoules(power, latency, uj):
    found = static(power, latency)
    assert found.unit == "uJ"
    assert (found.low, found.nominal, found.high) == pytest.approx((uj, uj, uj), rel=1e-12)


def test_the_ends_multiply():
    found = static(q(65, "mW", low=63, high=70), Interval(1, 2, 4, "ms"))
    assert (found.low, found.nominal, found.high) == pytest.approx((63, 130, 280), rel=1e-12)


@pytest.mark.parametrize(
    ("power", "latency", "said"),
    [
        (q(1, "pJ"), q(1, "ms"), "power is given in pJ"),
        (q(1, "mW"), q(1, "mW"), "latency is given in mW"),
        (q(1, "ms"), q(1, "mW"), "power is given in ms"),
        (q(1, "mV"), q(1, "ms"), "power is given in mV"),
        (q(1, "mW"), q(1, "cycles"), "latency is given in cycles"),
        (q(-1, "mW"), q(1, "ms"), "must not be negative"),
    ],
)
def test_other_units_are_refused_in_one_line(power, latency, said):
    with pytest.raises(UnitError, match=said) as caught:
        static(power, latency)
    assert "\n" not in str(caught.value)


def test_a_time_is_never_added_to_an_energy():
    """Seven public code bases price a synaptic operation of Loihi at 27.1 pJ: 23.6 pJ + 3.5 ns."""
    with pytest.raises(UnitError, match="cannot add ns to pJ"):
        q(23.6, "pJ").interval + q(3.5, "ns").interval


@pytest.mark.parametrize(
    ("value", "unit", "to", "expected"),
    [(1, "s", "ns", 1e9), (2.5, "mW", "W", 2.5e-3), (70, "mW", "nW", 7e7), (4.6, "pJ", "mJ", 4.6e-9)],
)
def test_units_of_one_dimension_convert(value, unit, to, expected):
    assert q(value, unit).interval.to(to).nominal == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("unit", "to"), [("W", "J"), ("mW", "ms"), ("s", "pJ"), ("uJ", "uW"), ("bits", "pJ")])
def test_units_of_two_dimensions_do_not(unit, to):
    with pytest.raises(UnitError, match=f"cannot convert {unit} to {to}"):
        q(1, unit).interval.to(to)


COUNTS = Counts(
    (
        LayerCounts("fc", "linear", "synapse", "binary", "real", ac=1000.0, synaptic_events=1000.0),
        LayerCounts("if", "integrate_fire", "neuron", "real", "binary", neuron_updates=0.0, spikes=0.0),
    ),
    4,
    1,
)


@pytest.mark.parametrize("model", ["45nm", "odin", "truenorth"])
def test_idle_power_becomes_a_part_of_an_estimate(model):
    alone = energy.estimate(COUNTS, model)
    both = energy.with_static_power(alone, static(q(2, "mW", low=1, high=3), q(5, "ms")))
    added = [getattr(both.total, end) - getattr(alone.total, end) for end in ("low", "nominal", "high")]
    assert added == pytest.approx([5, 10, 15], rel=1e-9)
    assert both.parts[:-1] == alone.parts
    assert (both.parts[-1].name, both.parts[-1].energy.nominal) == ("static power", 10)
    assert both.parts[-1].formula


@pytest.mark.parametrize("unit", ["ns", "mW"])
def test_only_an_energy_can_be_added_to_an_estimate(unit):
    with pytest.raises(UnitError, match=f"cannot convert {unit} to uJ"):
        energy.with_static_power(energy.estimate(COUNTS), q(3.5, unit).interval)
