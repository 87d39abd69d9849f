"""The simulators of ODIN and tinyODIN against traces of their Verilog, and against a slow plain model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import compiler
from compiler.targets.odin import simulator
from compiler.targets.odin.arithmetic import FORMATS
from compiler.targets.odin.trace import TraceError, write
from compiler.targets.odin.trace import replay as replayed
from snnkit.archives import read_npz
from snnkit.errors import InvalidArgumentError

from . import plain

RTL = Path(__file__).parents[3] / "golden" / "rtl"
TRACES = sorted(path for path in RTL.glob("*.npz") if path.name.startswith(("to_", "od_")))


def replay(arrays):
    return replayed(FORMATS["tinyodin" if "max_neur" in arrays or "open_loop" in arrays else "odin"], arrays)


def same(found, wanted):
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        assert found[key].shape == value.shape
        assert found[key].dtype == value.dtype
        assert np.array_equal(found[key], value), key


def test_there_are_traces_of_both():
    assert {path.name[:3] for path in TRACES} == {"to_", "od_"}


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_equal_to_the_chip(path):
    arrays = read_npz(path)
    same(replay(arrays), {key[4:]: value for key, value in arrays.items() if key.startswith("out_")})


@pytest.mark.parametrize("path", TRACES[:1] + TRACES[-1:], ids=lambda path: path.stem)
def test_replayed_from_a_file(path):
    same(compiler.simulate.replay(path), replay(read_npz(path)))


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_what_a_trace_recorded_is_not_looked_at(path, tmp_path):
    """The chip's outputs left out of the file, or all of them wrong in it: what is found is the chip's still."""
    arrays = read_npz(path)
    given = {key: value for key, value in arrays.items() if not key.startswith("out_")}
    recorded = {key: value for key, value in arrays.items() if key not in given}
    assert recorded
    wrong = {key: value + np.ones_like(value) for key, value in recorded.items()}
    for name, beside in ("bare", {}), ("wrong", wrong):
        np.savez(tmp_path / f"{name}.npz", **given, **beside)
        same(compiler.simulate.replay(tmp_path / f"{name}.npz"), {key[4:]: value for key, value in recorded.items()})


def random_trace(seed, tiny, size=256, closed=False):
    """A chip of ``size`` neurons at random, thresholds of 0 and extremes among them, with events of all kinds."""
    rng = np.random.default_rng(seed)
    low, high = (-2048, 2047) if tiny else (0, 255)
    top = 4095 if tiny else 255
    threshold = rng.choice([0, 1, 5, 20, high // 2, high, top], size) if not closed else rng.integers(4, 30, size)
    steps, count = 12, 80
    trace = {
        "steps": steps,
        "cfg_v_init": rng.integers(low, high + 1, size) if not closed else rng.integers(0, 4, size),
        "cfg_thr": threshold,
        "cfg_leak": rng.integers(0, 2 if closed else 128, size),
        "cfg_disable": (rng.random(size) < 0.2).astype(np.int64),
        "cfg_weights": rng.integers(-8 if tiny else 0, 5 if closed else 8, (size, size)),
    }
    step = np.sort(rng.integers(0, steps, count))
    neuron, other = rng.integers(0, size, (2, count))
    if tiny:
        trace |= {"max_neur": int(rng.integers(size // 2, size)), "open_loop": int(not closed)}
        kinds = [neuron, 256 | neuron, np.full(count, 511), 512 | other & 15 | rng.integers(0, 16, count) << 4]
    else:
        trace |= {"propagate_unmapped": int(rng.integers(2)), "cfg_leak_en": rng.integers(0, 2, size)}
        trace |= {"cfg_pre_sign": rng.integers(0, 2, size), "cfg_mapped": rng.integers(0, 2, (size, size))}
        field, odd = rng.integers(0, 32, count) << 3, rng.choice([1, 2, 3, 5, 6, 7], count)
        virtual = np.where(field & 120 | odd == 127, 1, field | odd)
        kinds = [neuron << 8 | 7, neuron << 8 | virtual, neuron << 8 | 255, neuron << 8 | 127]
        kinds.append(1 << 16 | neuron << 8 | other)
    address = np.choose(rng.integers(0, len(kinds), count), kinds)
    return trace | {"cfg_events": np.stack([step, address], 1)}


@pytest.mark.parametrize("size", [16, 100, 256])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["tinyodin", "closed", "odin"])
def test_equal_to_a_plain_model(kind, seed, size):
    trace = random_trace(100 * seed + size, kind != "odin", size, kind == "closed")
    trace = {key: np.asarray(value) for key, value in trace.items()}
    found, wanted = replay(trace), plain.replay(trace)
    same(found, wanted)
    assert found["s"].any()


def test_a_closed_loop_loses_what_the_queue_does_not_hold():
    trace = {key: np.asarray(value) for key, value in random_trace(7, True, 256, True).items()}
    trace["cfg_weights"] = np.zeros((256, 256), np.int64)
    trace["cfg_weights"][3] = 7
    trace |= {"cfg_thr": np.full(256, 7), "cfg_disable": np.zeros(256, np.int64), "max_neur": np.array(255)}
    trace["cfg_thr"][3] = 4095  # it would call itself again
    trace["cfg_events"] = np.array([[0, 3]])
    found = replay(trace)
    # Of 255 spikes, 127 found a place beside the event that made them.
    assert int(found["drops"]) == 255 - 127
    assert found["event_cycles"].tolist() == [2 * 256 + 12 + 6 * 255 + 127 * (2 * 256 + 2)]
    same(found, plain.replay(trace))


def test_a_leak_of_all_ends_sooner_where_the_last_neuron_fires():
    trace = {key: np.asarray(value) for key, value in random_trace(7, True, 8).items()}
    trace |= {"cfg_v_init": np.zeros(8, np.int64), "max_neur": np.array(7), "cfg_disable": np.zeros(8, np.int64)}
    trace["cfg_events"] = np.array([[0, 511]])
    for firing, cycles in ([], 25), ([2], 31), ([7], 28), ([2, 7], 34):
        trace["cfg_thr"] = np.where(np.isin(np.arange(8), firing), 0, 1)
        assert replay(trace)["event_cycles"].tolist() == [cycles]


def test_feedback_without_end(monkeypatch):
    monkeypatch.setattr(simulator, "MOST_FEEDBACK", 500)
    trace = {key: np.asarray(value) for key, value in random_trace(7, True, 8, True).items()}
    trace |= {"cfg_weights": np.full((8, 8), 7), "cfg_thr": np.full(8, 7), "cfg_disable": np.zeros(8, np.int64)}
    trace["cfg_events"] = np.array([[0, 1]])
    with pytest.raises(InvalidArgumentError, match="input event 0 makes tinyODIN feed spikes back to itself") as caught:
        replay(trace)
    assert "\n" not in str(caught.value)


def changed(trace, key, value):
    trace = {name: np.array(kept) for name, kept in trace.items()}
    if value is None:
        del trace[key]
    else:
        trace[key] = np.asarray(value)
    return trace


def at(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


TINY, LARGE = random_trace(1, True), random_trace(1, False)
BAD = [
    (TINY, "cfg_weights", None, "key 'cfg_weights' is missing"),
    (TINY, "max_neur", None, "key 'max_neur' is missing"),
    (TINY, "open_loop", None, "key 'open_loop' is missing"),
    (LARGE, "cfg_mapped", None, "key 'cfg_mapped' is missing"),
    (LARGE, "propagate_unmapped", 2, "key 'propagate_unmapped' holds 2, outside 0 to 1"),
    (TINY, "max_neur", 256, "key 'max_neur' holds 256, outside 0 to 255"),
    (TINY, "cfg_thr", at(TINY["cfg_thr"], 3, 4096), "key 'cfg_thr' holds 4096, outside 0 to 4095"),
    (TINY, "cfg_weights", at(TINY["cfg_weights"], (0, 0), 8), "key 'cfg_weights' holds 8, outside -8 to 7"),
    (LARGE, "cfg_weights", at(LARGE["cfg_weights"], (0, 0), -1), "key 'cfg_weights' holds -1, outside 0 to 7"),
    (LARGE, "cfg_v_init", at(LARGE["cfg_v_init"], 0, 256), "key 'cfg_v_init' holds 256"),
    (TINY, "cfg_weights", TINY["cfg_weights"][:, :9], r"has the shape \(256, 9\), wanted \(256, 256\)"),
    (TINY, "cfg_leak", TINY["cfg_leak"] / 2, "holds float64, wanted whole numbers"),
    (
        TINY,
        "cfg_events",
        at(TINY["cfg_events"], (5, 1), 1024),
        "event 5 has the address 1024; tinyODIN takes",
    ),
    (LARGE, "cfg_events", at(LARGE["cfg_events"], (5, 1), 128), r"event 5 \(address 128\) is one of plasticity"),
    (TINY, "cfg_events", at(TINY["cfg_events"], (-1, 0), 12), "comes in step 12; key 'steps' says 12"),
    (TINY, "cfg_events", TINY["cfg_events"][::-1], "they must ascend"),
    (TINY, "cfg_v_init", np.zeros(300, int), "has 300 neurons; tinyODIN has 1 to 256"),
    (random_trace(1, True, 16), "cfg_events", [[0, 16]], r"event 0 \(address 16\) names a neuron beyond 15"),
    (random_trace(1, False, 16), "cfg_events", [[0, 1 << 16 | 16 << 8]], "names a neuron beyond 15"),
]


@pytest.mark.parametrize(("trace", "key", "value", "said"), BAD, ids=[said for *_, said in BAD])
def test_refused_in_one_line(trace, key, value, said):
    with pytest.raises(TraceError, match=said) as caught:
        replay(changed(trace, key, value))
    assert "\n" not in str(caught.value)
    assert caught.value.user_error


def test_written_and_read(tmp_path):
    trace = {key: np.asarray(value) for key, value in TINY.items()}
    write(tmp_path / "trace.npz", trace)
    same(read_npz(tmp_path / "trace.npz"), trace)
    same(compiler.simulate.replay(tmp_path / "trace.npz"), plain.replay(trace))
