"""Several processes: the first speaks, there are no more than the machine has room for, and a death is told in a line.

Would break it: eight processes on two cores, every line eight times, a traceback of a library for a killed process.
"""

import os
import signal
import subprocess
import sys

import pytest

from snnkit.engine import EndedError, RuntimeConfig, fabric, train
from snnkit.engine.guard import DivergedError, told_in_a_line
from snnkit.errors import CorruptFileError
from snnkit.recipes import RECIPES, get_recipe


def test_devices_are_those_that_are_there(monkeypatch, capsys):
    monkeypatch.setattr(fabric, "cores", lambda: 2)
    config = RuntimeConfig(accelerator="cpu", devices=8)
    fabric._cap_devices(config)
    assert config.devices == 2
    assert "runtime.devices=8: this machine has 2 CPU cores; 2 processes train" in capsys.readouterr().out
    fabric._cap_devices(config)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "value"), [("nodes", 2), ("launched", "TORCHELASTIC_RUN_ID")])
def test_who_started_several_machines_knows_them(monkeypatch, name, value):
    monkeypatch.setattr(fabric, "cores", lambda: 2)
    config = RuntimeConfig(accelerator="cpu", devices=8)
    if name == "nodes":
        config.nodes = value
    else:
        monkeypatch.setenv(value, "1")
    fabric._cap_devices(config)
    assert config.devices == 8


@pytest.mark.parametrize(("variable", "rank"), [("RANK", "0"), ("LOCAL_RANK", "1")])
def test_the_first_process_speaks(variable, rank):
    script = (
        "from snnkit.cli import main; from snnkit.engine.progress import console; console.print('heard');"
        "main(['--plain-memory', 'check', 'spiking_cnn_smal'])"
    )
    environment = {**os.environ, variable: rank}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert ("heard" in done.stdout, "snnkit: unknown" in done.stderr) == (
        (True, True) if rank == "0" else (False, False)
    )


def test_a_killed_loading_process_is_told_in_a_line(tmp_path, monkeypatch):
    from snnkit.data.loaders import ArrayImages

    here, read = os.getpid(), ArrayImages.__getitem__

    def item(self, index):
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, index)

    config = get_recipe("demo")
    config.data.train_limit, config.data.test_limit, config.data.workers = 64, 20, 1
    config.model.sizes, config.threads = {"width": 4}, 1
    monkeypatch.setattr(ArrayImages, "__getitem__", lambda self, index: item(self, index))
    folder = tmp_path / "run"
    monkeypatch.setattr("snnkit.data.loaders.ImageData.image_shape", (1, 28, 28))
    with pytest.raises(EndedError, match=f"loads data was killed.*--resume {folder}"):
        train(config, folder)


@pytest.mark.parametrize(
    ("text", "world", "told"),
    [
        ("[…] Connection closed by peer [127.0.0.1]:4711", 2, True),
        ("NCCL communicator was aborted", 2, True),
        ("Connection closed by peer", 1, False),
        ("mat1 and mat2 shapes cannot be multiplied", 2, False),
    ],
)
def test_the_death_of_another_process_is_told_in_a_line(tmp_path, text, world, told):
    with (
        pytest.raises(EndedError if told else RuntimeError, match="another of the 2" if told else text),
        told_in_a_line(0, world, tmp_path),
    ):
        raise RuntimeError(text)


@pytest.mark.parametrize(
    ("error", "rank", "alone"),
    [(CorruptFileError("x"), 1, True), (CorruptFileError("x"), 0, False), (DivergedError("x"), 1, False)],
)
def test_what_failed_in_one_process_is_told_by_it(tmp_path, error, rank, alone):
    with pytest.raises(type(error)) as caught, told_in_a_line(rank, 2, tmp_path):
        raise error
    assert caught.value.here_only is alone


def test_recipes_of_several_devices_say_so():
    assert {get_recipe(name).runtime.devices for name in RECIPES} == {1, 8}
