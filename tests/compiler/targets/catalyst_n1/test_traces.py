"""Catalyst N1 is its RTL: every array of every recorded trace, and a plain model beside it on random chips."""

from pathlib import Path

import numpy as np
import pytest
from support import n1

import compiler.simulate
from compiler.targets.catalyst_n1.trace import replay as run_trace
from snnkit.errors import CorruptFileError

GOLDEN = Path(__file__).parents[3] / "golden" / "rtl"
TRACES = sorted(GOLDEN.glob("n1_*.npz"))


def test_there_are_traces():
    assert len(TRACES) >= 18


@pytest.mark.parametrize("path", TRACES, ids=[path.stem for path in TRACES])
def test_every_array_is_the_rtl_s(path):
    ours = compiler.simulate.replay(path)
    with np.load(path) as recorded:
        wanted = {key.removeprefix("out_"): recorded[key] for key in recorded.files if key.startswith("out_")}
    assert set(ours) == set(wanted)
    for key, array in wanted.items():
        assert (ours[key].shape, ours[key].dtype) == (array.shape, array.dtype), key
        np.testing.assert_array_equal(ours[key], array, key)


def test_what_a_trace_recorded_is_not_looked_at(tmp_path):
    with np.load(GOLDEN / "n1_a_lif_sweep.npz") as recorded:
        arrays = {key: recorded[key] for key in recorded.files if not key.startswith("out_")}
        wanted = recorded["out_v"]
    np.savez(tmp_path / "bare.npz", **arrays)
    np.testing.assert_array_equal(compiler.simulate.replay(tmp_path / "bare.npz")["v"], wanted)


@pytest.mark.parametrize("seed", range(20))
def test_as_a_plain_model(seed):
    _compare(n1.random_chip(seed))


@pytest.mark.parametrize("seed", range(2))
def test_as_a_plain_model_where_spikes_and_packets_are_lost(seed):
    arrays = n1.random_chip(100 + seed, cores=2, neurons=110, steps=8, busy=True)
    ours = _compare(arrays)
    assert ours["fifo_drops"].sum() > 50
    assert ours["inject_drops"].sum() > 500


def _compare(arrays):
    ours, slow = run_trace(arrays, "random"), n1.simulate(arrays)
    for key, rows in slow.items():
        np.testing.assert_array_equal(ours[key], rows, key)
    assert ours["s"].any()
    return ours


def test_packets_that_the_xy_mesh_loses():
    """On the packet mesh the RTL loses 137 packets of this network, whatever the arbiters do."""
    with np.load(GOLDEN / "n1_d_mesh4_nocollide.npz") as recorded:
        arrays = {key: recorded[key] for key in recorded.files if not key.startswith("out_")}
    arrays["noc_mode"] = np.array(1)
    assert run_trace(arrays, "mesh")["inject_drops"].sum() == 137


@pytest.mark.parametrize(
    ("product", "quotient"), [(0, 0), (1, 1), (4096, 1), (4097, 2), (-1, -2), (-4095, -2), (-4096, -1), (-4097, -3)]
)
def test_division_away_from_zero_is_one_too_far_below(product, quotient):
    from compiler.targets.catalyst_n1.arithmetic import raz

    assert raz(product) == quotient


_BAD = {
    "steps": (lambda a: a.pop("steps"), "lacks steps"),
    "num_cores": (lambda a: a.pop("num_cores"), "lacks num_cores"),
    "cfg_pool": (lambda a: a.pop("cfg_pool"), "lacks cfg_pool"),
    "no steps": (lambda a: a.update(steps=np.array(0)), "'steps' is 0, wanted a whole number from 1"),
    "many neurons": (lambda a: a.update(neurons_per_core=np.array(2000)), "from 1 to 1024"),
    "more than memory holds": (
        lambda a: a.update(steps=np.array(1 << 20), num_cores=np.array(4000)),
        "are run at once",
    ),
    "half a switch": (lambda a: a.update(noise=np.array(0.5)), "'noise' is 0.5"),
    "a shape": (lambda a: a.update(cfg_ext=a["cfg_ext"][:, :3]), "'cfg_ext' has shape"),
    "fractions": (lambda a: a.update(cfg_ext=a["cfg_ext"] * 0.5), "whole numbers"),
    "a core too many": (lambda a: _put(a, "cfg_pool", 0, 9), "core is 9, wanted 0 to 1"),
    "a target too many": (lambda a: _put(a, "cfg_pool", 3, 900), "target is 900, wanted 0 to 8"),
    "a step too late": (lambda a: _put(a, "cfg_ext", 0, 25), "step is 25, wanted 0 to 24"),
    "a long delay": (lambda a: _put(a, "cfg_pool", 6, 64), "delay is 64, wanted 0 to 63"),
    "a fifth global slot": (lambda a: _put(a, "cfg_routes", (2, 6), (5, 1)), "slot is 5, wanted 0 to 3"),
    "a run off the core": (lambda a: a.update(cfg_index=_index(40)), "the core has 9"),
    "a run off the pool": (lambda a: a.update(cfg_index=_index(4095, 131071, 0)), "a pool has 131072 words"),
    "no threshold": (lambda a: a.update(cfg_params=a["cfg_params"][a["cfg_params"][:, 2] != 0]), "no threshold"),
    "homeostasis": (lambda a: _parameter(a, 13, 5), "asks for homeostasis"),
    "a compartment tree": (lambda a: _parameter(a, 22, 3), "asks for compartment trees"),
    "two passes": (lambda a: _parameter(a, 11, 2 << 12), "asks for several update passes"),
    "parameter 32": (lambda a: _parameter(a, 32, 0), "parameter is 32, wanted 0 to 31"),
    "learning": (lambda a: a.update(learn=np.array(1)), "'learn' turns on"),
    "another table": (lambda a: a.update(cfg_ucode=np.zeros((1, 2), np.int32)), "'cfg_ucode' is not known"),
    "another chip": (lambda a: [a.pop(k) for k in [*a] if k != "cfg_ext"], "no trace of one chip that is known"),
}


def _put(arrays, key, column, value):
    arrays[key] = arrays[key].copy()
    arrays[key][-1, column] = value


def _parameter(arrays, number, value):
    arrays["cfg_params"] = np.vstack([arrays["cfg_params"], np.array([[0, 0, number, value]], np.int32)])


def _index(count, base=0, form=1):
    return np.array([[0, 0, base, count, form]], np.int32)


@pytest.mark.parametrize("wrong", _BAD)
def test_bad_traces_get_one_line(wrong, tmp_path):
    arrays = n1.random_chip(3)
    damage, text = _BAD[wrong]
    damage(arrays)
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(CorruptFileError) as caught:
        compiler.simulate.replay(tmp_path / "bad.npz")
    assert text in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "bad.npz"))
    assert "\n" not in str(caught.value)


def test_settings_that_change_nothing_pass():
    arrays = n1.random_chip(4)
    before = run_trace(arrays, "random")
    for number, value in ((4, 77), (6, 3), (7, 2), (11, 5), (13, 0), (19, 1), (24, 1)):
        _parameter(arrays, number, value)
    after = run_trace(arrays, "random")
    assert all((before[key] == after[key]).all() for key in before)
