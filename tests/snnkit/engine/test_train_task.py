"""A task whose network is at hand goes through the same loop as one that a configuration names.

Would break it: another run folder, other numbers than ``train`` has, a run that cannot be taken up.
"""

import copy
import json
import shutil

import pytest
import torch

from snnkit.checkpoints import read_weights
from snnkit.data import load_images
from snnkit.engine import resume, train, train_task
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.models import create_model
from snnkit.recipes import get_recipe
from snnkit.tasks import Classification


@pytest.fixture
def config():
    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 2, 96, 50, 16
    config.task.label_smoothing, config.threads = 0.0, 1
    return config


def made(config):
    """What ``train`` makes of a configuration, by hand."""
    torch.manual_seed(config.seed)
    arguments = {"num_classes": 10, "in_chans": 1, "img_size": 28, **config.model.sizes}
    if config.model.timesteps:
        arguments["timesteps"] = config.model.timesteps
    return Classification(create_model(config.model.name, **arguments), 10), load_images(config.data, config.seed)


def lines(folder):
    return [json.loads(line)["loss"] for line in (folder / "steps.jsonl").read_text().splitlines()]


def test_the_same_numbers_as_by_name(config, tmp_path):
    by_name = train(config, tmp_path / "name", command="test")
    task, data = made(config)
    at_hand = train_task(task, config, data, tmp_path / "hand", command="test")
    assert lines(at_hand.folder) == lines(by_name.folder)
    assert at_hand.final_score == by_name.final_score
    first, second = (read_weights(run.checkpoint)[0] for run in (by_name, at_hand))
    assert all(torch.equal(first[key], second[key]) for key in first)
    # It was trained in place, and its folder does not claim a model that it has not.
    assert all(torch.equal(value.contiguous(), second[key]) for key, value in task.model.state_dict().items())
    assert json.loads((at_hand.folder / "config.json").read_text())["model"]["name"] == ""
    assert config.model.name
    with pytest.raises(InvalidArgumentError, match="at hand when it began"):
        resume(at_hand.folder)


def test_a_run_is_taken_up(config, tmp_path):
    task, data = made(config)
    start = copy.deepcopy(task)
    whole = train_task(task, config, data, tmp_path / "whole", command="test")
    with pytest.raises(CorruptFileError, match="no whole training state"):
        train_task(start, config, data, tmp_path, go_on=True)
    states = sorted((whole.folder / "checkpoints").glob("step-*"))
    assert len(states) == 2
    shutil.rmtree(states[-1])
    expected = read_weights(whole.checkpoint)[0]
    again = train_task(start, config, load_images(config.data, config.seed), whole.folder, go_on=True)
    found = read_weights(again.checkpoint)[0]
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("memory_budget", "1GiB", "memory_budget"),
        ("grad_checkpointing", True, "grad_checkpointing"),
    ],
)
def test_what_is_for_networks_by_name(config, setting, value, words):
    setattr(config.runtime, setting, value)
    with pytest.raises(InvalidArgumentError, match=words):
        train_task(Classification(torch.nn.Linear(3, 2), 2), config, None)


def test_go_on_needs_a_folder(config):
    with pytest.raises(InvalidArgumentError, match="folder"):
        train_task(Classification(torch.nn.Linear(3, 2), 2), config, None, go_on=True)
