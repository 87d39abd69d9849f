"""Many trainings for one table: their order, what is kept when one fails, and what takes whose place.

Would break it: a run that begins before the one that it needs has ended; rows that are lost because another run failed;
a row of a run done again beside the old one; a deviation of one value.
"""

import argparse
import time
from pathlib import Path

import pytest

from snnkit.bench.evidence import Job, Key, at_least_one, ended, mean, measured, rows_of, seen, trained
from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json
from snnkit.recipes import get_recipe

A, B, C = Key("t", "a", 0), Key("t", "b", 0), Key("t", "c", 1)


def slow(folder: str, wait: float) -> dict:
    time.sleep(wait)
    (Path(folder) / "there").write_text("x", encoding="utf-8")
    return {"value": 1.0}


def needs(folder: str) -> dict:
    return {"value": 2.0, "found": (Path(folder) / "there").exists()}


def gives(value: float) -> dict:
    return {"value": value}


def fails() -> dict:
    raise OSError("no space left")


def test_a_run_waits_for_the_one_that_it_needs(tmp_path):
    jobs = [Job(B, needs, (str(tmp_path),), A), Job(A, slow, (str(tmp_path), 0.3)), Job(C, gives, (3.0,))]
    found = dict(ended(jobs, 2))
    assert set(found) == {A, B, C}
    assert found[B] == {"value": 2.0, "found": True}


def test_what_is_not_planned_is_not_waited_for(tmp_path):
    assert dict(ended([Job(B, needs, (str(tmp_path),), A)])) == {B: {"value": 2.0, "found": False}}


def test_two_that_wait_for_each_other_are_named(tmp_path):
    with pytest.raises(ValueError, match="t-a-seed-0 waits for"):
        list(ended([Job(A, gives, (1.0,), B), Job(B, gives, (1.0,), A)]))


def test_rows_are_kept_when_a_run_fails_and_replaced_when_one_is_done_again(tmp_path):
    path = tmp_path / "kept.json"
    with pytest.raises(OSError, match="no space"):
        measured([Job(A, fails, ()), Job(B, gives, (2.0,), A), Job(C, gives, (3.0,))], 1, path)
    assert [row["value"] for row in rows_of(path)] == [3.0]
    assert [row["value"] for row in measured([Job(A, gives, (1.0,)), Job(C, gives, (4.0,))], 1, path)] == [4.0, 1.0]
    kept = read_json(path)
    assert kept["rows"] == [
        {"table": "t", "name": "a", "seed": 0, "value": 1.0},
        {"table": "t", "name": "c", "seed": 1, "value": 4.0},
    ]
    assert kept["benchmark"] == "kept"


def test_means_and_deviations():
    assert mean([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert mean([0.125], 2) == "0.12"
    assert mean([None, 2.0]) == "2.0, 1 of 2"  # no seed is left out without a word
    assert mean([1.0, None, 3.0]) == "2.0 ± 1.4, 2 of 3"
    assert mean([None]) == "–"


def test_a_folder_is_named_after_its_run():
    assert Key("labels", "1 % from scratch", 2).folder == "labels-1-percent-from-scratch-seed-2"


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_numbers_of_runs_are_whole_and_at_least_one(text):
    assert at_least_one("2") == 2
    with pytest.raises(argparse.ArgumentTypeError, match="must be a whole number, at least 1"):
        at_least_one(text)


def test_a_run_of_other_settings_is_not_taken_for_the_one_that_is_asked_for(tmp_path):
    config = get_recipe("mae_fashion_mnist")
    config.data.source, config.data.train_limit, config.data.test_limit, config.epochs = "vendored", 40, 8, 2
    config.data.batch_size, config.schedule.warmup_epochs = 16, 0.1
    folder = trained(config, tmp_path / "run")
    assert seen(folder) == 2 * 2 * 16  # of 40 images 32 are seen in an epoch: only whole steps are made
    before = (folder / "summary.json").stat().st_mtime_ns
    assert trained(config, folder) == folder
    assert (folder / "summary.json").stat().st_mtime_ns == before
    config.data.train_limit = 600
    with pytest.raises(InvalidArgumentError, match=r"data\.train_limit=40, and 600 is asked for; give other --runs"):
        trained(config, folder)
