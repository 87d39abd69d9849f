"""Stopping and going on: the numbers are those of a run that never stopped, whatever stopped it.

Would break it: a generator, a moment, an average or a position that is not saved; an order of samples that depends on
what was loaded before; a state that is half written, or one whose damage nobody notices.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from snnkit.engine import RunConfig, resume, train
from snnkit.engine.checkpoint import damage, find_states
from snnkit.errors import CorruptFileError, DiskError, InvalidArgumentError
from snnkit.recipes import get_recipe


def small(**changes):
    """Augmented, dropped out, mixed, averaged: everything that draws or remembers."""
    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 2, 96, 40, 16
    config.data.erase, config.data.mixup, config.data.rand_augment = 0.5, 0.3, "rand-m5-n2"
    config.model.sizes = {"width": 4, "dropout": 0.3}
    config.optim.ema, config.optim.clip, config.threads = 0.9, 1.0, 1
    config.checkpoint.every_steps, config.checkpoint.keep = 2, 20
    for key, value in changes.items():
        setattr(config, key, value)
    return config


def steps(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


def weights(folder):
    return load_file(folder / "checkpoints" / "last.safetensors")


def results(folder):
    """Metrics of every epoch, without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["step"], line["train"], line["test"], line["learning_rate"]) for line in lines]


def assert_same_run(folder, other):
    assert steps(folder) == steps(other)
    assert results(folder) == results(other)
    for key, value in weights(other).items():
        assert torch.equal(weights(folder)[key], value), key


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train(small(), tmp_path_factory.mktemp("whole") / "run").folder


def cut(whole, folder, step):
    """The run as it was when the state of ``step`` had been written."""
    shutil.copytree(whole, folder)
    for path in (folder / "checkpoints").glob("step-*"):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
    return folder


@pytest.mark.parametrize("step", [2, 6, 8], ids=["inside an epoch", "between epochs", "inside the last"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(whole, tmp_path, step):
    folder = cut(whole, tmp_path / "run", step)
    (folder / "checkpoints" / "last.safetensors").unlink()
    resume(folder)
    assert_same_run(folder, whole)


@pytest.mark.parametrize("name", ["lamb", "sgd", "lion", "adafactor", "adamw8bit", "lamb8bit"])
def test_every_kind_of_optimizer_state_is_restored(tmp_path, name):
    config = small()
    config.optim.name, config.optim.lr = name, 1e-3
    if name.endswith("8bit"):
        config.optim.options = {"min_8bit_size": 64, "percentile_clipping": 90}
    other = train(config, tmp_path / "whole").folder
    if name.endswith("8bit"):
        summary = json.loads((other / "summary.json").read_text())
        assert summary["optimizer_bytes"] < summary["optimizer_bytes_fp32"] / 2
    folder = cut(other, tmp_path / "run", 4)
    resume(folder)
    assert_same_run(folder, other)


def test_a_finished_run_may_go_on_for_longer(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    config = small(epochs=3)
    run = resume(folder, config)
    assert len(steps(folder)) == 18
    assert run.config.epochs == 3


@pytest.mark.parametrize("schedule", ["onecycle", "constant"])
def test_settings_that_are_changed_hold_from_then_on(tmp_path, schedule):
    config = small(epochs=1)
    config.schedule.name = schedule
    folder = train(config, tmp_path / "run").folder
    before = load_file(folder / "checkpoints" / "last.safetensors")
    config.epochs, config.optim.lr, config.optim.weight_decay, config.optim.ema = 2, 1e-12, 0.5, 0.9
    resume(folder, config)
    rates = [json.loads(line)["learning_rate"] for line in (folder / "steps.jsonl").read_text().splitlines()]
    assert max(rates[6:]) <= 1e-12 < max(rates[:6])
    after = load_file(folder / "checkpoints" / "last.safetensors")
    assert (after["head.weight"] - before["head.weight"]).abs().max() < 0.05  # the average alone still moves
    saved = RunConfig.from_dict(json.loads((folder / "config.json").read_text()))
    assert (saved.epochs, saved.optim.lr, saved.optim.weight_decay) == (2, 1e-12, 0.5)
    state = json.loads(next((folder / "checkpoints").glob("step-00000012/state.json")).read_text())
    assert {group["weight_decay"] for group in state["groups"]} == {0.0, 0.5}


def test_another_optimizer_is_refused(whole, tmp_path):
    folder = cut(whole, tmp_path / "run", 8)
    for name in ("sgd", "adamw8bit"):
        config = small(epochs=3)
        config.optim.name = name
        with pytest.raises(InvalidArgumentError, match=f"optim.name='{name}': the state .* is that of .adamw'"):
            resume(folder, config)


def test_steps_of_another_size_are_refused(whole, tmp_path):
    """The schedule and the place in the epoch count steps."""
    config = small()
    config.data.batch_size = 32
    before = (whole / "config.json").read_text()
    with pytest.raises(InvalidArgumentError, match="steps of 16 images, 6 an epoch; now they are 32 and 3"):
        resume(cut(whole, tmp_path / "run", 4), config)
    assert (tmp_path / "run" / "config.json").read_text() == before
    config.data.batch_size, config.optim.accumulate = 8, 2
    assert len(steps(resume(cut(whole, tmp_path / "same", 4), config).folder)) == 12


def test_a_state_that_is_damaged_falls_back_to_the_one_before(whole, tmp_path, capsys):
    folder = cut(whole, tmp_path / "run", 8)
    last = folder / "checkpoints" / "step-00000008"
    shard = next(last.glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    assert "has changed" in damage(last)
    resume(folder)
    assert "step-00000008 is damaged" in " ".join(capsys.readouterr().out.split())
    assert_same_run(folder, whole)


@pytest.mark.parametrize("what", ["state.json", "files.json", "shard", "short"])
def test_every_kind_of_damage_is_seen(whole, tmp_path, what):
    path = cut(whole, tmp_path / "run", 4) / "checkpoints" / "step-00000004"
    assert damage(path) == ""
    victim = next(path.glob("*.safetensors")) if what in ("shard", "short") else path / what
    if what == "short":
        victim.write_bytes(victim.read_bytes()[:-5])
    else:
        victim.unlink()
    assert damage(path)
    assert path not in find_states(path.parent)


def test_a_folder_without_states_says_what_to_do(tmp_path, whole):
    folder = cut(whole, tmp_path / "run", 0)
    with pytest.raises(CorruptFileError, match=r"no whole training state.*model\.weights="):
        resume(folder)


def test_another_model_names_the_keys_that_differ(whole, tmp_path):
    folder = cut(whole, tmp_path / "run", 4)
    before = (folder / "steps.jsonl").read_text()
    config = small()
    config.model.sizes = {"width": 8}
    with pytest.raises(InvalidArgumentError, match=r"another model: \d+ of other shape \(task\.model\.stem"):
        resume(folder, config)
    assert (folder / "steps.jsonl").read_text() == before


def start(folder):
    """Start a run in a process of its own."""
    script = (
        "import json, sys; from snnkit.engine import RunConfig, train;"
        "train(RunConfig.from_dict(json.loads(sys.argv[2])), sys.argv[1])"
    )
    config = small(epochs=30).to_dict()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder), json.dumps(config)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_kill_loses_at_most_the_steps_since_the_last_state(tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for(lambda: len(list((folder / "checkpoints").glob("step-*"))) >= 3, process)
    process.kill()
    process.wait()
    newest = int(find_states(folder / "checkpoints")[0].name.removeprefix("step-"))
    taken = len((folder / "steps.jsonl").read_text().splitlines())
    assert 0 <= taken - newest <= 3  # a state every two steps, and perhaps one being written
    config = RunConfig.from_dict(json.loads((folder / "config.json").read_text()))
    config.epochs = newest // 6 + 1
    resume(folder, config)
    numbers = [line["step"] for line in steps(folder)]
    assert numbers == list(range(1, config.epochs * 6 + 1))


def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "run"
    process = start(folder)
    wait_for(lambda: (folder / "steps.jsonl").exists(), process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "StoppedError" in errors
    assert f"--resume {folder}" in errors
    newest = find_states(folder / "checkpoints")[0]
    assert int(newest.name.removeprefix("step-")) == len(steps(folder))


def test_a_full_disk_is_survived(tmp_path, monkeypatch, capsys):
    """The state cannot be written; the training goes on, and nothing half-written is left."""
    from snnkit.engine import checkpoint

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.dcp, "save", full)
    config = small(epochs=1)
    run = train(config, tmp_path / "run")
    assert "No space left on device" in " ".join(capsys.readouterr().out.split())
    assert not list((run.folder / "checkpoints").glob("*step*"))
    assert run.checkpoint.exists()


def test_an_unwritable_run_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot create"):
        train(small(), runs=tmp_path / "file")
