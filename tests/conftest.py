"""What all tests share."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))


def pytest_addoption(parser):
    """How many damaged files of each kind readers are given; the default fits into the time of all tests."""
    parser.addoption("--mutations", type=int, default=0, help="damaged files of each kind (test_mutations)")


@pytest.fixture(autouse=True)
def seeded():
    """Every test draws the same numbers in whatever order they run."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_group_is_left():
    """A test that trains by ddp or fsdp2 in this very process leaves its group to none of the others."""
    yield
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        from snnkit.engine.fabric import leave_group

        leave_group()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of reference numbers."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The demo's recipe on 640 images for two epochs: a real run folder. Tests must not change it; copy it."""
    from snnkit.engine import train
    from snnkit.recipes import get_recipe

    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 2, 640, 100, 16
    return train(config, tmp_path_factory.mktemp("runs") / "tiny", command="snnkit train demo")


@pytest.fixture
def call(capsys):
    """Run the command in this process; return (exit code, output, errors)."""
    from snnkit.cli import main

    def run(*words):
        code = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
