"""Two processes and several parts of a batch take the step of one process with the whole batch.

Would break it: gradients of texts that lack what the other process's images say, or are counted by every process; a
temperature that each part moves; averages where sums belong.
"""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file
from support.processes import PROCESSES, launched

from snnkit.engine import train
from snnkit.errors import InvalidArgumentError

sys.path.insert(0, str(PROCESSES))
from train_pairs import CASES, configured

TIGHT, SINGLE = {"rtol": 1e-10, "atol": 1e-12}, {"rtol": 1e-6, "atol": 5e-6}
AFTER = {"rtol": 1e-5, "atol": 2e-5}  # weights in float32 after three steps that roundings have gone into


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The runs of two processes."""
    folder = tmp_path_factory.mktemp("pairs")
    launched("train_pairs.py", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(case, together, tmp_path):
    """Losses of every step and the weights after three."""
    config = configured(case, 1)
    train(config, tmp_path / case)
    close = TIGHT if config.runtime.precision == "64-true" else SINGLE

    def steps(folder):
        return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]

    one, two = steps(tmp_path / case), steps(together / case)
    for key in ("loss", "scale", "gradient_norm"):
        values = [torch.tensor([line[key] for line in lines], dtype=torch.float64) for lines in (two, one)]
        torch.testing.assert_close(*values, **(SINGLE if key == "loss" else close))  # it is reported in float32
    weights = [load_file(folder / case / "checkpoints" / "last.safetensors") for folder in (tmp_path, together)]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, **(TIGHT if close is TIGHT else AFTER))
    tests = [json.loads((folder / case / "metrics.jsonl").read_text())["test"] for folder in (tmp_path, together)]
    assert tests[0].items() >= {k: v for k, v in tests[1].items() if "recall" in k or k == "accuracy"}.items()


@pytest.mark.slow
def test_batches_of_different_sizes_are_refused_in_every_process(together):
    """Before the processes wait for each other for ever."""
    for rank in range(2):
        told = (together / f"unequal-{rank}.txt").read_text(encoding="utf-8")
        assert "the processes have batches of 3 to 4 pairs" in told


def test_parts_in_one_process(tmp_path):
    """Parts that are kept, and parts that are read again: the same step, to the last bits."""
    found = {}
    for name, parts, reread in (("whole", 1, False), ("kept", 4, False), ("read again", 4, True)):
        config = configured("clip", 1)
        config.data.batch_size, config.optim.accumulate = 16 // parts, parts
        config.task.options["reread"] = reread
        train(config, tmp_path / name)
        found[name] = load_file(tmp_path / name / "checkpoints" / "last.safetensors")
    for key, value in found["whole"].items():
        torch.testing.assert_close(found["kept"][key], value, **TIGHT)
        assert torch.equal(found["kept"][key], found["read again"][key])


def test_rows_of_its_own_with_gradients_that_stay_are_refused(tmp_path):
    config = configured("clip", 1)
    config.task.options |= {"gather_gradient": False}
    with pytest.raises(InvalidArgumentError, match=r"local_loss=true with gather_gradient=false.*local_loss=false"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
