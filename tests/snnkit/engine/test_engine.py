"""Training: what a run leaves behind, that it can be repeated, and what stops it.

Would break it: numbers that depend on anything but the seed, a checkpoint that is not the model it names, a metric of
the wrong split, a half-written file after a failure, a configuration key that is silently ignored.
"""

import json
import math
import pickle
from pathlib import Path

import pytest
import torch

import snnkit
from snnkit.checkpoints import build_model, read_weights
from snnkit.data import load_images
from snnkit.engine import DivergedError, RunConfig, evaluate, find_checkpoint, new_run_folder, override, train
from snnkit.engine.config import apply_toml
from snnkit.engine.loop import Loop
from snnkit.engine.progress import Live
from snnkit.errors import CorruptFileError, DiskError, InvalidArgumentError, UnknownNameError
from snnkit.recipes import RECIPES, get_recipe


def lines(run):
    return [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]


def small():
    config = get_recipe("demo")
    config.epochs, config.data.train_limit, config.data.test_limit, config.data.batch_size = 1, 64, 50, 16
    config.data.workers = 0
    return config


def test_run_folder(tiny_run):
    names = {str(p.relative_to(tiny_run.folder)) for p in tiny_run.folder.rglob("*") if p.is_file()}
    states = {name for name in names if name.startswith("checkpoints/step-")}
    assert {Path(name).parent.name for name in states} == {"step-00000040", "step-00000080"}
    assert names - states == {
        "config.json",
        "classes.json",
        "steps.jsonl",
        "environment.json",
        "metrics.jsonl",
        "summary.json",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
    }
    assert json.loads((tiny_run.folder / "config.json").read_text()) == tiny_run.config.to_dict()
    environment = json.loads((tiny_run.folder / "environment.json").read_text())
    assert environment["command"] == "snnkit train demo"
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    assert environment["machine"]["cores"] >= 1
    recorded = lines(tiny_run)
    assert [line["epoch"] for line in recorded] == [1, 2]
    assert recorded[-1]["step"] == 80
    assert recorded[1]["train"]["loss"] < recorded[0]["train"]["loss"]
    assert tiny_run.best_score == max(line["test"]["accuracy"] for line in recorded)
    assert tiny_run.final_score == recorded[-1]["test"]["accuracy"]
    assert tiny_run.final_score > 0.2  # twice chance after eighty steps


@pytest.mark.parametrize(("name", "score"), [("last", "final_score"), ("best", "best_score")])
def test_checkpoints_have_the_accuracy_they_were_saved_for(tiny_run, name, score):
    model, config = build_model(tiny_run.folder / "checkpoints" / f"{name}.safetensors")
    assert config["name"] == "spiking_cnn_small"
    result = evaluate(model, load_images(tiny_run.config.data, seed=0))
    assert result["accuracy"] == pytest.approx(getattr(tiny_run, score))


def test_accuracy_and_loss_by_hand(tiny_run):
    model, _ = build_model(tiny_run.checkpoint)
    data = load_images(tiny_run.config.data, seed=0)
    images = torch.stack([data.test.dataset[i][0] for i in range(100)])
    labels = torch.tensor([data.test.dataset[i][1] for i in range(100)])
    with torch.no_grad():
        log_probabilities = torch.log_softmax(model(images).double(), 1)
    result = evaluate(model, data)
    assert result["accuracy"] == pytest.approx((log_probabilities.argmax(1) == labels).double().mean().item())
    assert result["loss"] == pytest.approx(-log_probabilities[range(100), labels].mean().item(), rel=1e-4)


def test_same_seed_same_numbers(tmp_path):
    first, second = train(small(), tmp_path / "a"), train(small(), tmp_path / "b")
    weights = [read_weights(run.checkpoint)[0] for run in (first, second)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    other = small()
    other.seed = 1
    third = read_weights(train(other, tmp_path / "c").checkpoint)[0]
    assert not torch.equal(weights[0]["head.weight"], third["head.weight"])


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    config = small()
    config.optim.lr = 1e30
    with pytest.raises(DivergedError, match=r"step \d+ .*lower optim\.lr"):
        train(config, tmp_path / "run")


def test_brackets_in_names_are_printed_as_they_are(capsys):
    Live.warn("photos/[red]/a[/b].jpg cannot be read")
    assert "photos/[red]/a[/b].jpg cannot be read" in capsys.readouterr().out


def test_a_network_is_not_evaluated_on_other_classes():
    data = load_images(small().data, seed=0)
    with pytest.raises(InvalidArgumentError, match="tells 7 classes apart, but .* has 10"):
        evaluate(snnkit.create_model("spiking_cnn_small", width=4, num_classes=7), data)


def test_recipes_name_real_models_and_data():
    assert RECIPES
    for name in RECIPES:
        config = get_recipe(name)
        assert config.recipe == name
        assert snnkit.list_models(config.model.name) == [config.model.name]
        written = json.loads(json.dumps(config.to_dict()))
        assert RunConfig.from_dict(written).to_dict() == written
        config.check()
        with torch.device("meta"):
            snnkit.create_model(config.model.name, **config.model.sizes)
        assert RECIPES[name].paper
        assert RECIPES[name].expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("epochs", "3", 3), ("optim.lr", "1e-3", 1e-3), ("data.flip", "false", False), ("data.source", "full", "full")],
)
def test_override(key, value, expected):
    config = small()
    override(config, key, value)
    target = config
    for part in key.split("."):
        target = getattr(target, part)
    assert target == expected
    assert type(target) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("optim.lrr", "1", UnknownNameError, "Did you mean 'optim.lr'"),
        ("epoch", "1", UnknownNameError, "Did you mean 'epochs'"),
        ("epochs", "many", InvalidArgumentError, "epochs='many': must be a whole number"),
        ("epochs", "1.5", InvalidArgumentError, "whole number"),
        ("data.flip", "perhaps", InvalidArgumentError, "true or false"),
        ("optim.lr", "fast", InvalidArgumentError, "a number"),
    ],
)
def test_override_refuses(key, value, error, words):
    with pytest.raises(error, match=words):
        override(small(), key, value)


def test_toml(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('epochs = 3\n[optim]\nlr = 0.25\n[model.sizes]\nwidth = 4\n[data]\nsource = "full"\n')
    config = small()
    apply_toml(config, path)
    assert (config.epochs, config.optim.lr, config.model.sizes, config.data.source) == (3, 0.25, {"width": 4}, "full")
    path.write_text("[optim]\nlearning_rate = 1\n")
    with pytest.raises(UnknownNameError, match="configuration key 'optim.learning_rate'"):
        apply_toml(config, path)
    path.write_text("epochs = = 3")
    with pytest.raises(CorruptFileError, match="not valid TOML"):
        apply_toml(config, path)
    with pytest.raises(CorruptFileError, match="does not exist"):
        apply_toml(config, tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: setattr(c, "epochs", 0), "epochs=0"),
        (lambda c: setattr(c, "threads", -1), "threads=-1"),
        (lambda c: setattr(c.data, "workers", -1), "data.workers=-1"),
        (lambda c: setattr(c.optim, "lr", -1.0), "optim.lr=-1"),
        (lambda c: setattr(c.model, "name", "spiking_cnn_smal"), "Did you mean 'spiking_cnn_small'"),
        (lambda c: setattr(c.model, "timesteps", -2), "timesteps=-2"),
        (lambda c: c.model.sizes.update(widht=3), "Did you mean 'width'"),
        (lambda c: setattr(c.data, "dataset", "fashion-mnist"), "Did you mean 'fashion_mnist'"),
        (lambda c: setattr(c.data, "source", "/no/such/folder"), "not a folder"),
    ],
)
def test_bad_configurations_write_nothing(change, words, tmp_path):
    config = small()
    change(config)
    with pytest.raises(snnkit.SnnkitError, match=words):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_round_trip_and_refusals(tmp_path):
    model = snnkit.create_model("spiking_cnn_small", width=4)
    path = tmp_path / "w.safetensors"
    snnkit.save_weights(model, path, {"name": "spiking_cnn_small", "width": 4})
    other = snnkit.create_model("spiking_cnn_small", width=4)
    report = snnkit.load_weights(other, path)
    assert report.complete
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))

    wide = snnkit.create_model("spiking_cnn_small", width=8)
    before = {key: value.clone() for key, value in wide.state_dict().items()}
    with pytest.raises(InvalidArgumentError, match="has shape"):
        snnkit.load_weights(wide, path)
    state = dict(model.state_dict())
    state["extra.weight"] = state.pop("head.bias")
    with pytest.raises(InvalidArgumentError, match=r"1 missing \(head.bias\), 1 unused \(extra.weight\)"):
        snnkit.load_weights(other, state)
    assert snnkit.load_weights(other, state, strict=False).missing == ("head.bias",)
    assert all(torch.equal(before[key], value) for key, value in wide.state_dict().items())

    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CorruptFileError, match="not a readable safetensors"):
        snnkit.load_weights(other, path)
    with pytest.raises(CorruptFileError, match="does not exist"):
        snnkit.load_weights(other, tmp_path / "none.safetensors")


class Bomb:
    """A pickle that would leave a trace if anything opened it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_a_pickle_is_never_executed(tmp_path, write):
    path, trace = tmp_path / "weights.pt", tmp_path / "executed"
    if write == "pickle":
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save({"model": Bomb(trace)}, path)
    model = snnkit.create_model("spiking_cnn_small", width=4)
    with pytest.raises(CorruptFileError, match="could run code"):
        snnkit.load_weights(model, path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()  # the bomb works, it just was not set off


def test_find_checkpoint(tiny_run, tmp_path):
    assert find_checkpoint(tiny_run.folder) == tiny_run.checkpoint
    assert find_checkpoint(tiny_run.checkpoint) == tiny_run.checkpoint
    with pytest.raises(CorruptFileError, match="is it the folder of a run"):
        find_checkpoint(tmp_path)
    with pytest.raises(CorruptFileError, match="does not exist"):
        find_checkpoint(tmp_path / "nowhere")


def test_new_run_folders_never_collide(tmp_path):
    folders = {new_run_folder("x", tmp_path) for _ in range(4)}
    assert len(folders) == 4
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match="cannot create"):
        new_run_folder("x", tmp_path / "file")


def test_firing_rate_is_reported(tiny_run):
    rates = [line["firing_rate"] for line in lines(tiny_run)]
    assert all(0.001 < rate < 0.9 and math.isfinite(rate) for rate in rates)


def test_batches_that_fill_no_step_are_told_and_not_counted(tmp_path, capsys, monkeypatch):
    """Seven batches in steps of three: six train."""
    images, config, finish = [], small(), Loop._finish_epoch

    def noted(self, epoch, seconds, rate, *given):
        images.append(round(seconds * rate))
        finish(self, epoch, seconds, rate, *given)

    monkeypatch.setattr(Loop, "_finish_epoch", noted)
    config.data.train_limit, config.optim.accumulate, config.threads = 112, 3, 1
    run = train(config, tmp_path / "run")
    assert "1 of the 7 batches of every epoch do not fill a step of 3" in " ".join(capsys.readouterr().out.split())
    assert lines(run)[-1]["step"] == 2
    assert images == [6 * 16]
