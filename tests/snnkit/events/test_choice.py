"""The choice breaks if a slower way is taken, a bound is drawn too wide, or one disturbed comparison is for ever."""

import torch

from snnkit.events.choice import EVENTS, Choice, race


def _times(events, dense, integers=9.0):
    return {EVENTS: events, "dense": dense, "dense int8": integers}


def test_a_comparison_bounds_the_crossing_from_below():
    choice = Choice("dense")
    assert choice.at(0.1) is None
    assert choice.learn(0.1, _times(1.0, 3.0)) == EVENTS
    assert choice.at(0.29) == EVENTS
    assert choice.at(0.31) is None


def test_a_comparison_bounds_the_crossing_from_above():
    choice = Choice("dense")
    assert choice.learn(0.6, _times(4.0, 2.0)) == "dense"
    assert choice.at(0.31) == "dense"
    assert choice.at(0.29) is None


def test_the_fastest_dense_way_is_taken():
    choice = Choice("dense")
    assert choice.learn(0.5, _times(4.0, 3.0, 2.0)) == "dense int8"
    assert choice.at(0.9) == "dense int8"


def test_never_more_than_5_percent_slower_than_the_better_way_at_any_rate():
    """Costs a + b r against a constant: what is taken without a comparison must be right, at rates in any order."""
    generator = torch.Generator().manual_seed(0)
    for start, slope in ((0.1, 4.0), (0.5, 1.0), (0.0, 2.5), (0.9, 20.0)):
        choice, compared = Choice("dense"), 0
        for rate in torch.rand(300, generator=generator).tolist():
            events = start + slope * rate
            way = choice.at(rate)
            compared += way is None
            way = way or choice.learn(rate, _times(events, 1.0))
            assert (events if way == EVENTS else 1.0) <= 1.05 * min(events, 1.0)
        assert compared <= 25


def test_a_disturbed_comparison_is_corrected():
    choice = Choice("dense")
    choice.learn(0.01, _times(50.0, 1.0))
    taken = [choice.at(0.01) or choice.learn(0.01, _times(0.1, 1.0)) for _ in range(20)]
    assert taken[0] == "dense"
    assert taken[-1] == EVENTS


def test_a_race_times_each_way_and_gives_up_on_the_slow():
    calls = []

    def way(name, size):
        def run():
            calls.append(name)
            return torch.ones(size).sum()

        return run

    seconds = race({"slow": way("slow", 4_000_000), "fast": way("fast", 10)}, rounds=6)
    assert seconds["fast"] < seconds["slow"]
    assert calls.count("fast") == 7
    assert calls.count("slow") == 3
