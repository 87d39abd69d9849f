"""A run within a budget of bytes: the same numbers, less memory, and one clear line where it cannot be.

Would break it: a plan that changes gradients, weights saved under other names, a budget that nobody looks at.
"""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from snnkit.engine import train
from snnkit.errors import InvalidArgumentError
from snnkit.recipes import get_recipe


def small():
    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 1, 64, 40, 16
    config.model.sizes, config.threads, config.runtime.precision = {"width": 8}, 1, "64-true"
    return config


def test_a_budget_changes_the_memory_and_not_the_numbers(tmp_path, capsys):
    plain = train(small(), tmp_path / "plain").folder
    config = small()
    config.runtime.memory_budget = "24MiB"
    run = train(config, tmp_path / "planned").folder
    assert "as planned" in " ".join(capsys.readouterr().out.split())
    first, second = (load_file(folder / "checkpoints" / "last.safetensors") for folder in (plain, run))
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=1e-9, atol=1e-11)
    losses = [[json.loads(line)["loss"] for line in (f / "steps.jsonl").read_text().splitlines()] for f in (plain, run)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize(("budget", "words"), [("1kB", "takes at least"), ("much", "budget='much'")])
def test_a_budget_that_cannot_be_kept_is_one_clear_error(budget, words, tmp_path):
    config = small()
    config.runtime.memory_budget = budget
    with pytest.raises(InvalidArgumentError, match=words):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_batches_of_a_step_add_their_gradients(tmp_path):
    """What fits in one batch does not in two of the same size: the second finds the gradients of the first."""
    config = small()
    config.model.sizes, config.runtime.precision, config.data.batch_size = {"width": 64}, "32-true", 1
    with pytest.raises(InvalidArgumentError) as one:
        config.runtime.memory_budget = "1kB"
        train(config, tmp_path / "run")
    least = int(re.search(r"\((\d+) bytes\)", str(one.value))[1])
    config.runtime.memory_budget, config.data.train_limit = str(least), 8
    train(config, tmp_path / "run")
    config.optim.accumulate = 2
    with pytest.raises(InvalidArgumentError, match="takes at least"):
        train(config, tmp_path / "two")
