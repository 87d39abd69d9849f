"""A run in stages: each begins with the weights before it, goes on where it stopped, and leaves alone what ended.

Would break it: a stage that begins at random, settings of one stage in another, a stage that is trained twice.
"""

import json

import pytest
import torch
from safetensors.torch import load_file

from snnkit.data import DataConfig
from snnkit.engine import RunConfig, override, resume, train
from snnkit.engine.config import ModelConfig, OptimConfig, apply_toml, settings
from snnkit.engine.run_folder import find_checkpoint, latest_run
from snnkit.engine.stages import stage_configs
from snnkit.errors import CorruptFileError, InvalidArgumentError, SnnkitError, UnknownNameError


def staged(**changes):
    """Two stages of a small network: the second does not move."""
    return RunConfig(
        recipe="two",
        model=ModelConfig("spiking_cnn_small", timesteps=1),
        data=DataConfig("fashion_mnist", "vendored", batch_size=16, train_limit=32, test_limit=16),
        optim=OptimConfig("sgd", lr=0.1),
        stages=[{"stage": "first", "optim.lr": 0.01}, {"stage": "second", "optim.lr": 1e-30, "optim.weight_decay": 0}],
        epochs=1,
        threads=1,
        **changes,
    )


def weights(folder):
    return load_file(folder / "checkpoints" / "last.safetensors")


def test_each_begins_where_the_one_before_ended(tmp_path):
    run = train(staged(), tmp_path / "run")
    assert run.folder == tmp_path / "run" / "2-second"
    one, two = weights(tmp_path / "run" / "1-first"), weights(run.folder)
    assert all(torch.equal(value, two[key]) for key, value in one.items() if "running" not in key and "num_" not in key)
    first, second = (json.loads((tmp_path / "run" / p / "config.json").read_text()) for p in ("1-first", "2-second"))
    assert (first["optim"]["lr"], second["optim"]["lr"]) == (0.01, 1e-30)
    assert second["model"]["weights"] == str(tmp_path / "run" / "1-first")
    assert latest_run(tmp_path, "two") == tmp_path / "run"


def test_it_goes_on_where_it_stopped(tmp_path):
    """What ended is not trained again; what was begun goes on from its state; the result is that of one go."""
    train(staged(), tmp_path / "whole")
    folder = tmp_path / "run"
    train(staged(), folder)
    second = folder / "2-second"
    (second / "summary.json").unlink()
    before = (folder / "1-first" / "metrics.jsonl").stat().st_mtime_ns
    run = resume(folder)
    assert run.folder == second
    assert (folder / "1-first" / "metrics.jsonl").stat().st_mtime_ns == before
    for key, value in weights(tmp_path / "whole" / "2-second").items():
        assert torch.equal(weights(second)[key], value)
    again = resume(folder)
    assert (again.final_score, again.best_epoch) == (run.final_score, run.best_epoch)


def test_settings_of_stages(tmp_path):
    config = staged()
    override(config, "stages.first.epochs", "3")
    override(config, "data.batch_size", "8")
    configs = dict(stage_configs(config))
    assert (configs["first"].epochs, configs["second"].epochs) == (3, 1)
    assert configs["second"].data.batch_size == 8
    assert ("stages.first.epochs", "3") in settings(config)
    path = tmp_path / "c.toml"
    path.write_text('[[stages]]\nstage = "only"\n"optim.lr" = 0.5\n')
    apply_toml(config, path)
    assert [(name, one.optim.lr) for name, one in stage_configs(config)] == [("only", 0.5)]
    assert RunConfig.from_dict(config.to_dict()).stages == config.stages


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([{"optim.lr": 1}], "needs a name of its own"),
        ([{"stage": "a"}, {"stage": "a"}], "needs a name of its own"),
        ([{"stage": "a", "optim.lrr": 1}], "optim.lr"),
        ([{"stage": "a", "optim.lr": -1}], "optim.lr=-1"),
    ],
)
def test_bad_stages(stages, words, tmp_path):
    config = staged()
    config.stages = stages
    with pytest.raises(SnnkitError, match=words):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_bad_settings_of_stages():
    with pytest.raises(UnknownNameError, match="first"):
        override(staged(), "stages.frist.epochs", 2)
    with pytest.raises(InvalidArgumentError, match="must be a whole number"):
        override(staged(), "stages.first.epochs", "many")
    with pytest.raises(InvalidArgumentError, match="must be tables"):
        override(staged(), "stages", "two")
    with pytest.raises(InvalidArgumentError, match="has no stages"):
        override(RunConfig(), "stages.first.epochs", 2)


def test_weights_of_the_whole_are_where_the_first_stage_begins(tmp_path):
    config = staged()
    config.model.weights = "start.safetensors"
    assert [own.model.weights for _, own in stage_configs(config)] == ["start.safetensors", ""]
    config.stages[1]["model.weights"] = "other.safetensors"
    assert [own.model.weights for _, own in stage_configs(config)] == ["start.safetensors", "other.safetensors"]


def test_a_run_in_stages_means_the_last_that_has_weights(tmp_path):
    run = train(staged(), tmp_path / "run")
    assert find_checkpoint(tmp_path / "run") == run.folder / "checkpoints" / "last.safetensors"
    for path in run.folder.glob("checkpoints/*.safetensors"):
        path.unlink()
    assert find_checkpoint(tmp_path / "run").parent.parent == tmp_path / "run" / "1-first"


def test_a_folder_of_runs_is_no_run_in_stages(tmp_path):
    """Whatever their names begin with."""
    train(staged(), tmp_path / "2026-01-01_run")
    with pytest.raises(CorruptFileError, match="is it the folder of a run"):
        find_checkpoint(tmp_path)


def test_what_was_killed_before_its_first_state_leaves_no_lines(tmp_path):
    config = staged()
    folder = tmp_path / "run" / "1-first"
    folder.mkdir(parents=True)
    (folder / "steps.jsonl").write_text('{"step": 1, "loss": 9.0}\n')
    train(config, tmp_path / "run")
    assert [json.loads(line)["step"] for line in (folder / "steps.jsonl").read_text().splitlines()] == [1, 2]


def test_what_is_set_for_a_stage_that_ended_is_told(tmp_path, capsys):
    train(staged(), tmp_path / "run")
    config = staged()
    config.stages[0]["epochs"] = 7
    capsys.readouterr()
    resume(tmp_path / "run", config)
    assert "stage first ended before epochs was set so" in " ".join(capsys.readouterr().out.split())
    resume(tmp_path / "run")
    assert "second ended" not in capsys.readouterr().out
