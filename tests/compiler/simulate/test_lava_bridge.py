"""Finding another interpreter, its failures, and the comparison of two records; none of this needs lava itself."""

import sys
import time

import numpy as np
import pytest

from compiler.simulate import lava_bridge
from compiler.simulate.lava_bridge import LavaFailed, LavaNotFound, compare, find_lava_python, run_lava


@pytest.fixture
def _no_lava(monkeypatch, tmp_path):
    """A working folder, PATH, checkout and environment without any lava."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lava_bridge, "_LOCAL", tmp_path / "checkout" / ".venv-lava" / "bin" / "python")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SNNKIT_LAVA_PYTHON", raising=False)


def fake_python(path, answers: bool):
    """A program that answers the question for lava-nc's version, or fails at it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{'echo 0.10.0' if answers else 'exit 1'}\n")
    path.chmod(0o755)
    return path


@pytest.mark.usefixtures("_no_lava")
def test_nothing_found_says_what_was_tried():
    """Breaks if a place is left out of the search or of the message, or the way out is not told."""
    with pytest.raises(LavaNotFound) as caught:
        find_lava_python()
    for part in ("SNNKIT_LAVA_PYTHON", ".venv-lava/bin/python", "python3.10 on PATH", "make lava", "--lava-python"):
        assert part in str(caught.value)
    assert caught.value.user_error


@pytest.mark.usefixtures("_no_lava")
def test_order_of_the_search(tmp_path, monkeypatch):
    """PATH, then the checkout, then the variable win over each other; one without lava is passed over."""
    on_path = fake_python(tmp_path / "python3.10", True)
    assert find_lava_python() == on_path
    local = fake_python(tmp_path / "checkout" / ".venv-lava/bin/python", True)
    assert find_lava_python() == local
    named = fake_python(tmp_path / "elsewhere/python", True)
    monkeypatch.setenv("SNNKIT_LAVA_PYTHON", str(named))
    assert find_lava_python() == named
    fake_python(named, False)
    assert find_lava_python() == local


def test_the_place_that_is_searched_does_not_depend_on_the_working_folder():
    assert lava_bridge._LOCAL.is_absolute()
    assert lava_bridge._LOCAL.parents[2] == lava_bridge.RUNNER.parents[2]


@pytest.mark.usefixtures("_no_lava")
@pytest.mark.parametrize("path", [".", "", "bin", "/nowhere:."])
def test_programs_of_the_working_folder_are_not_run(path, tmp_path, monkeypatch):
    """Breaks if `.venv-lava` or `python3.10` of a folder that came with a download would be started."""
    mark = tmp_path / "mark"
    for place in (".venv-lava/bin/python", "python3.10", "bin/python3.10"):
        fake_python(tmp_path / place, True).write_text(f"#!/bin/sh\ntouch {mark}\necho 0.10.0\n")
    monkeypatch.setenv("PATH", path)
    with pytest.raises(LavaNotFound):
        find_lava_python()
    assert not mark.exists()


@pytest.mark.usefixtures("_no_lava")
def test_modules_of_the_working_folder_are_not_imported(tmp_path):
    """Asking an interpreter for lava imports `csv`, which may lie in the working folder."""
    (tmp_path / "csv.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\nraise SystemExit(0)\n")
    with pytest.raises(LavaNotFound, match="has no lava-nc"):
        find_lava_python(sys.executable)
    assert not (tmp_path / "mark").exists()


@pytest.mark.usefixtures("_no_lava")
def test_a_given_interpreter_is_not_replaced(tmp_path):
    """Breaks if a wrong --lava-python silently falls back to another interpreter."""
    fake_python(tmp_path / "python3.10", True)
    with pytest.raises(LavaNotFound, match="absent does not exist"):
        find_lava_python(str(tmp_path / "absent"))
    with pytest.raises(LavaNotFound, match="has no lava-nc"):
        find_lava_python(str(fake_python(tmp_path / "other", False)))


def test_failure_shows_the_last_lines(tmp_path):
    """This interpreter has no lava: the reason is in the error; breaks if output is swallowed."""
    np.savez(tmp_path / "net.npz", T=1, L=0, inp=np.zeros((0, 1), np.uint8))
    with pytest.raises(LavaFailed, match="No module named 'lava'") as caught:
        run_lava(tmp_path / "net.npz", sys.executable)
    assert "\n" not in str(caught.value)


def test_time_limit_ends_children_too(tmp_path, monkeypatch):
    """Breaks if a child of the killed script lives on: it would write its file after the limit."""
    mark = tmp_path / "mark"
    child = f"import time; time.sleep(2); open({str(mark)!r}, 'w')"
    script = tmp_path / "runner.py"
    script.write_text(
        f"import subprocess, sys\nprint('started', flush=True)\nsubprocess.run([sys.executable, '-c', {child!r}])\n"
    )
    monkeypatch.setattr(lava_bridge, "RUNNER", script)
    with pytest.raises(LavaFailed, match=r"within 1 s\. Its last lines: started"):
        run_lava(tmp_path / "net.npz", sys.executable, timeout_s=1)
    time.sleep(2)
    assert not mark.exists()


def record(n=3, steps=5):
    return {f"{quantity}{i}": np.zeros((n, steps), np.int32) for i in range(2) for quantity in "uvs"}


def test_equal_records():
    """The number of entries compared is stated; breaks if 'exact' could be said of nothing."""
    comparison = compare(record(), record())
    assert comparison.exact
    assert comparison.entries == 2 * 3 * 3 * 5
    assert str(comparison) == "exact: all 90 entries of u, v and s are equal"


def test_differences_are_counted_and_the_earliest_is_named():
    """Breaks if a quantity or population is not compared, or the first by population hides an earlier one."""
    ours, lavas = record(), record()
    lavas["u0"][1, 4] = 7
    lavas["v1"][2, 3] = -5
    lavas["s1"][0, 3] = 1
    lavas["s1"][1, 3] = 1
    comparison = compare(ours, lavas)
    assert comparison.counts == ({"u": 1, "v": 0, "s": 0}, {"u": 0, "v": 1, "s": 2})
    assert (comparison.differing, comparison.exact) == (4, False)
    assert str(comparison.first) == "v of population 1, neuron 2, step 3: ours 0, lava's -5"


def test_records_of_different_networks_are_refused():
    """Breaks if a missing population or another length would pass as equal."""
    longer = record() | {"s2": np.zeros((3, 5))}
    for ours, lavas in ((record(), longer), (longer, record()), (record(), record(steps=6))):
        with pytest.raises(ValueError, match="same network"):
            compare(ours, lavas)
