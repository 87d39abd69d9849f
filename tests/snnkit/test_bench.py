"""The benchmarks' own arithmetic, and that every listed one is there.

Would break it: a ratio the wrong way round, a bar that is reached by being missed, a listed benchmark without a file.
"""

import importlib

import pytest

from snnkit.bench import BENCHMARKS
from snnkit.bench.harness import Timing, compare, machine
from snnkit.bench.row import figure, rows


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_listed_benchmark_can_run(name):
    module = importlib.import_module(f"snnkit.bench.{name}")
    assert callable(module.run)
    assert module.__doc__


def test_ratios_and_bars():
    timings = {"peer": Timing(10.0, 12.0), "ours": Timing(2.5, 3.0)}
    found = rows("case", timings, "peer", {"ours": 5.0})
    assert [row["ratio"] for row in found] == [1.0, 4.0]
    assert found[1]["reached"] is False
    assert rows("case", timings, "peer", {"ours": 4.0})[1]["reached"] is True
    assert figure("case", "bytes", 3, "B", 2)["reached"] is False
    assert figure("case", "rate", 3, "1/s", 2, at_most=False)["reached"] is True


def test_variants_take_turns():
    order = []
    timings = compare({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3, inner=2)
    assert order == ["a"] * 2 + ["b"] * 2 + ["a", "a", "b", "b"] * 3
    assert timings["a"].min_ms <= timings["a"].median_ms


def test_another_clock():
    ticks = iter(range(100))
    timings = compare({"a": lambda: None}, repeats=2, inner=4, clock=lambda: float(next(ticks)))
    assert timings["a"] == Timing(250.0, 250.0)


def test_the_machine_is_described():
    facts = machine()
    assert facts["versions"]["torch"]
    assert facts["torch_threads"] >= 1
