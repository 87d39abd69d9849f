"""Masked pre-training through the engine: no labels, the same numbers however it is cut up, weights that go on.

Would break it: an accuracy made up, masks that depend on the number of processes or differ after a resume, hidden
pixels compared with a mask of another image, a collapse that nobody is told, records that are missing or of another
run, an encoder that starts anew without a word, a setting that only labels could use.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.processes import launched

import snnkit
from snnkit.checkpoints import build_model, save_weights
from snnkit.data import load_images
from snnkit.engine import evaluate, resume, train, train_task
from snnkit.engine.config import ModelConfig, RunConfig, TaskConfig
from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.recipes import get_recipe
from snnkit.tasks import TASKS, Masked, build_task
from snnkit.tasks.noise import Noise
from snnkit.tasks.pretraining import Collapse, feature_spread

DECODER = {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}
VIT = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
SWIN = {
    "embed_dim": 8,
    "depths": (1, 1, 1, 1),
    "num_heads": (1, 2, 2, 4),
    "pretrained_window_size": 0,
    "window_size": 4,
}
SPIKING = {"embed_dim": 16, "depth": 1, "num_heads": 2, "stem_ratio": 1}
MODELS = {
    "mae": ("mae:timm:vit_tiny_patch16_224", {**VIT, **DECODER}, 32),
    "simmim": ("simmim:swinv2_tiny_window8_256", {**SWIN, "mask_patch_size": 16}, 64),
    "simmim of a vit": ("simmim:timm:vit_tiny_patch16_224", {**VIT, "mask_patch_size": 8}, 32),
    "convmae": ("mae:convvit_base", {"embed_dim": (8, 8, 16), "depths": (1, 1, 1), "num_heads": 2, **DECODER}, 64),
    "spiking": ("spikformer_v2_mae_8_384", {**SPIKING, **DECODER}, 64),
}
CLASSIFIERS = {
    "mae": ("timm:vit_tiny_patch16_224", {**VIT, "img_size": 32, "global_pool": "avg"}),
    "simmim": ("swinv2_tiny_window8_256", SWIN),
    "simmim of a vit": ("timm:vit_tiny_patch16_224", {**VIT, "img_size": 32}),
    "convmae": ("convvit_base", {"embed_dim": (8, 8, 16), "depths": (1, 1, 1), "num_heads": 2}),
    "spiking": ("spikformer_v2_8_384", SPIKING),
}
every = pytest.mark.parametrize("kind", MODELS)


def small(kind="mae", **options):
    config = get_recipe("mae_fashion_mnist")
    name, sizes, side = MODELS[kind]
    config.model = ModelConfig(name, sizes=dict(sizes))
    config.data = replace(
        config.data, source="vendored", img_size=side, batch_size=8, train_limit=40, test_limit=12, shift_pixels=0
    )
    config.task.options = options
    config.epochs, config.threads = 2, 1
    return config


def lines(folder, name="metrics.jsonl"):
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A short run of each kind, by its name."""
    root, found = tmp_path_factory.mktemp("runs"), {}
    for kind in MODELS:
        found[kind] = train(small(kind), root / kind.replace(" ", "-"))
    return found


@every
def test_a_run_tells_losses_and_no_accuracy(runs, kind):
    run = runs[kind]
    for line in lines(run.folder):
        for split in ("train", "test"):
            assert "accuracy" not in line[split]
            assert line[split]["score"] == -line[split]["loss"]
            assert line[split]["reconstruction"] == line[split]["loss"]
        assert 0 < line["train"]["feature_spread"] <= 1
        assert 0 <= line["test"]["feature_spread"] <= 1  # the statistics of few steps may leave neurons silent
        assert ("firing_rate" in line["test"]) == (kind == "spiking")
    assert "test loss" in run.told()
    assert "accuracy" not in run.told()
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["final"] == {"epoch": 2, "loss": lines(run.folder)[-1]["test"]["loss"]}
    assert summary["best"]["loss"] == min(line["test"]["loss"] for line in lines(run.folder))
    model, _ = build_model(run.checkpoint)
    assert type(model).__name__ == type(snnkit.create_model(MODELS[kind][0], **MODELS[kind][1])).__name__


@every
def test_records_are_for_a_report(runs, kind):
    folder = runs[kind].folder
    found = json.loads((folder / "pretraining.json").read_text())
    assert (found["task"], found["collapsed"]) == ("masked", False)
    assert [line["epoch"] for line in found["epochs"]] == [1, 2]
    assert found["epochs"][-1]["loss"] == lines(folder)[-1]["test"]["loss"]
    with Image.open(folder / found["epochs"][-1]["pictures"]) as picture:
        pixels = np.asarray(picture)
    side = 64
    given, seen, painted = (pixels[:side, n * (side + 2) : n * (side + 2) + side].astype(int) for n in range(3))
    hidden = (given != seen).any(2)
    assert hidden.mean() > 0.2
    assert (given[~hidden] == painted[~hidden]).mean() > 0.9  # a hidden pixel may be as dark as the blank
    assert (given[hidden] != painted[hidden]).any()


@every
def test_an_encoder_goes_on_with_labels_by_one_option(runs, kind, tmp_path, capsys):
    name, sizes = CLASSIFIERS[kind]
    config = small(kind)
    config.model = ModelConfig(name, sizes=dict(sizes), weights=str(runs[kind].folder))
    config.task, config.epochs = TaskConfig(), 1
    config.optim.lr = 1e-12
    run = train(config, tmp_path / "run")
    assert "tensors taken" in capsys.readouterr().out
    before, after = load_file(runs[kind].checkpoint), load_file(run.checkpoint)
    taken = [key for key in after if f"encoder.{key}" in before]
    assert len(taken) > 0.6 * len(after)
    for key in taken:
        if "running" not in key and "batches" not in key:
            torch.testing.assert_close(after[key], before[f"encoder.{key}"], rtol=0, atol=1e-6)


def test_an_encoder_of_other_sizes_is_refused(runs, tmp_path):
    config = small()
    name, sizes = CLASSIFIERS["mae"]
    config.model = ModelConfig(name, sizes={**sizes, "embed_dim": 64}, weights=str(runs["mae"].folder))
    config.task = TaskConfig()
    with pytest.raises(SnnkitError, match="with the sizes it was trained with"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tuned_run_goes_on_without_the_run_that_it_began_with(runs, tmp_path):
    name, sizes = CLASSIFIERS["mae"]
    before = shutil.copytree(runs["mae"].folder, tmp_path / "before")
    config = small()
    config.model, config.task = ModelConfig(name, sizes=dict(sizes), weights=str(before)), TaskConfig()
    config.checkpoint.every_steps, config.checkpoint.keep = 3, 9
    whole = train(config, tmp_path / "whole")
    cut = shutil.copytree(whole.folder, tmp_path / "cut")
    for path in sorted((cut / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(path)
    shutil.rmtree(before)
    again, first = load_file(resume(cut).checkpoint), load_file(whole.checkpoint)
    assert all(torch.equal(again[key], value) for key, value in first.items())


def test_fewer_epochs_than_a_run_has_made_are_refused(runs, tmp_path):
    folder = shutil.copytree(runs["mae"].folder, tmp_path / "run")
    before = (folder / "summary.json").read_text()
    config = small()
    config.epochs = 1
    with pytest.raises(InvalidArgumentError, match=r"epochs=1: .* has made 10 steps, and these are 5; give at least 2"):
        resume(folder, config)
    assert (folder / "summary.json").read_text() == before


def test_pictures_are_of_the_test_images_where_some_are_set_aside(tmp_path):
    config = small()
    config.epochs = 1
    plain = train(config, tmp_path / "plain")
    config.data.validation, config.data.train_limit = 0.2, 50  # 40 are left
    aside = train(config, tmp_path / "aside")
    for run in (plain, aside):
        assert lines(run.folder)[-1]["epoch"] == 1
    given = [given_pictures(run.folder / "reconstructions.png") for run in (plain, aside)]
    assert (given[0] == given[1]).all()


def given_pictures(path):
    """The first image of each line, as given."""
    with Image.open(path) as picture:
        return np.asarray(picture)[:, :64]


def test_settings_that_no_checkpoint_gives_are_told_before(tmp_path, capsys):
    config = small()
    config.epochs, config.model.sizes = 1, {**config.model.sizes, "init_values": 0.1}
    run = train(config, tmp_path / "run")
    assert "is not taken from files" not in capsys.readouterr().out
    assert build_model(run.checkpoint)[1]["init_values"] == 0.1
    config.model.sizes |= {"act_layer": "relu"}
    run = train(config, tmp_path / "other")
    assert "note: model.sizes.act_layer='relu' is not taken from files" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SnnkitError, match="only sizes are taken from a file"):
        build_model(run.checkpoint)


def test_a_spiking_encoder_goes_on_with_more_time_steps(runs, tmp_path):
    """Masked at one step, with labels at one, then at four: the same weights."""
    name, sizes = CLASSIFIERS["spiking"]
    config = small("spiking")
    config.task, config.epochs = TaskConfig(), 1
    config.model = ModelConfig(name, 1, dict(sizes), str(runs["spiking"].folder))
    one = train(config, tmp_path / "one")
    config.model = ModelConfig(name, 4, dict(sizes), str(one.folder))
    four = train(config, tmp_path / "four")
    model, about = build_model(four.checkpoint)
    assert (model.timesteps, about["timesteps"]) == (4, 4)


@pytest.mark.parametrize("kind", ["mae", "simmim", "spiking"])
def test_a_run_goes_on_bit_for_bit(kind, tmp_path):
    config = small(kind)
    config.checkpoint.every_steps, config.checkpoint.keep = 3, 9
    whole = train(config, tmp_path / "whole")
    cut = tmp_path / "cut"
    shutil.copytree(whole.folder, cut)
    for path in sorted((cut / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(path)
    resume(cut)
    assert [line["loss"] for line in lines(cut, "steps.jsonl")] == [
        line["loss"] for line in lines(whole.folder, "steps.jsonl")
    ]
    again, first = load_file(cut / "checkpoints" / "last.safetensors"), load_file(whole.checkpoint)
    assert all(torch.equal(again[key], value) for key, value in first.items())
    assert json.loads((cut / "pretraining.json").read_text()) == json.loads(
        (whole.folder / "pretraining.json").read_text()
    )


@pytest.mark.slow
@pytest.mark.parametrize("mimics", [False, True])
def test_two_processes_train_as_one(mimics, tmp_path):
    """The same images are hidden in the same places; with copies and with shards the weights end up the same.

    MR-MAE too, whose head is trained beside the model.
    """
    teacher = []
    if mimics:
        torch.manual_seed(0)
        sizes = {**VIT, "img_size": 32, "num_classes": 0, "in_chans": 1}
        name, teacher = "timm:vit_tiny_patch16_224", [tmp_path / "teacher.safetensors"]
        save_weights(snnkit.create_model(name, **sizes), teacher[0], {"name": name, **sizes})
    launched("train_masked.py", tmp_path / "runs", *teacher)
    tmp_path = tmp_path / "runs"
    config = RunConfig.load(tmp_path / "ddp" / "config.json")
    config.runtime.devices, config.runtime.strategy, config.data.batch_size = 1, "auto", 16
    one = train(config, tmp_path / "one")
    for name in ("ddp", "fsdp2"):
        for a, b in zip(lines(one.folder), lines(tmp_path / name), strict=True):
            assert b["test"]["loss"] == pytest.approx(a["test"]["loss"], rel=1e-5)
        weights = [load_file(folder / "checkpoints" / "last.safetensors") for folder in (one.folder, tmp_path / name)]
        for key, value in weights[0].items():
            torch.testing.assert_close(weights[1][key], value, rtol=1e-4, atol=1e-6, msg=key)


def test_noise_is_that_of_the_images_not_of_the_processes(monkeypatch):
    torch.manual_seed(0)
    noise = Noise()
    images = torch.zeros(4, 1, 2, 2)
    whole = noise.for_training(images, 5)
    assert not torch.equal(whole, noise.for_training(images, 5))
    tested = noise.for_testing(images, 5)
    assert not torch.equal(tested, noise.for_testing(images, 5))
    noise.test_over()
    assert torch.equal(tested, noise.for_testing(images, 5))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        noise.drawn.zero_()
        assert torch.equal(noise.for_training(images[:2], 5), whole[rank::2])
    assert 0 <= whole.min() < whole.max() < 1


def test_labels_are_not_asked():
    torch.manual_seed(0)
    task = build_task(
        "masked", snnkit.create_model(MODELS["mae"][0], **MODELS["mae"][1], img_size=32, in_chans=1), 0, {}
    )
    images, losses = torch.rand(4, 1, 32, 32), []
    for batch in (images, (images, torch.zeros(4, dtype=torch.long)), [images, None]):
        task.noise.drawn.zero_()
        losses.append(task.train()(batch))
    assert losses[0] == losses[1] == losses[2]


def test_spread_of_features():
    same = torch.tensor([[1.0, 2.0], [2.0, 4.0], [0.5, 1.0]])
    assert feature_spread(same) < 1e-6  # one direction
    assert feature_spread(torch.zeros(3, 4)) == 0  # silence
    assert feature_spread(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == 1
    assert feature_spread(torch.tensor([[3.0, 0.0], [0.0, 1.0]])).item() == pytest.approx(0.5**0.5)


def test_a_collapse_is_told_once_while_it_happens():
    watch, told = Collapse(), []
    for step in range(60):
        features = torch.ones(4, 3) if 10 <= step < 50 else torch.randn(4, 3)
        watch.watch(features, "do something")
        told += [(step, text) for text in watch.told()]
    assert [step for step, _ in told] == [29]
    assert "collapsed" in told[0][1]
    assert "do something" in told[0][1]
    assert not watch.since  # it recovered


def test_a_watch_that_is_taken_up_goes_on_counting():
    whole, first = Collapse(), Collapse()
    for step in range(25):
        for watch in (whole, first) if step < 12 else (whole,):
            watch.watch(torch.ones(4, 3), "")
    second = Collapse()
    second.load_state_dict(first.state_dict())
    for _ in range(12, 25):
        second.watch(torch.ones(4, 3), "")
    assert whole.since == second.since == 20
    assert whole.step == second.step == 25
    assert len(second.told()) == 1


def test_a_collapsed_run_says_so(tmp_path, capsys):
    """An encoder whose last norm gives zeros: told in the run's output, and kept in its record."""
    config = small()
    config.data.train_limit, config.epochs, config.optim.lr = 200, 1, 1e-12
    name, sizes, side = MODELS["mae"]
    model = snnkit.create_model(name, **sizes, img_size=side, in_chans=1)
    torch.nn.init.zeros_(model.encoder.norm.weight)
    model.encoder.norm.requires_grad_(False)
    run = train_task(Masked(model), config, load_images(config.data, seed=0), tmp_path / "run")
    assert "step 20: the run has collapsed" in capsys.readouterr().out
    assert json.loads((run.folder / "pretraining.json").read_text())["collapsed"] is True


def set_(config, key, value):
    target = config
    *path, last = key.split(".")
    for part in path:
        target = getattr(target, part)
    setattr(target, last, value)
    return config


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("mae", {"data.img_size": 36}, r"img_size=36.*32 or 40"),
        ("simmim", {"data.img_size": 80}, r"80.*64 or 128"),
        ("simmim of a vit", {"data.img_size": 28}, r"28.*24 or 32"),
        ("convmae", {"data.img_size": 40}, r"img_size=40.*32 or 48"),
        ("spiking", {"data.img_size": 40}, r"img_size=40.*32 or 48"),
        ("mae", {"data.batch_size": 64}, r"data\.batch_size=64.*there are 40; give at most 40"),
        ("mae", {"data.mixup": 0.2}, r"data\.mixup=0\.2.*labels"),
        ("mae", {"task.label_smoothing": 0.1}, "label_smoothing"),
        ("mae", {"task.name": "classification"}, "tells no classes apart.*task.name=masked"),
        ("mae", {"model.name": "spiking_cnn_small", "model.sizes": {}}, "hides and paints nothing.*mae:"),
        ("mae", {"model.name": "mae:swinv2_tiny_window8_256", "model.sizes": {}, "data.img_size": 256}, "simmim:"),
        ("mae", {"model.name": "maee:convvit_base"}, "'mae'"),
        ("simmim", {"model.name": "simmim:timm:resnet10t", "model.sizes": {}}, "no patch embeddings|refuses"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(kind, changes, words, tmp_path):
    config = small(kind)
    for key, value in changes.items():
        set_(config, key, value)
    with pytest.raises(SnnkitError, match=words) as caught:
        train(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_pretraining_has_no_accuracy_to_evaluate(runs):
    model, _ = build_model(runs["mae"].checkpoint)
    with pytest.raises(InvalidArgumentError, match="Fine-tune"):
        evaluate(model, load_images(small().data, seed=0))


def test_a_pretraining_is_not_captured_with_its_masks(runs):
    from compiler.commands.source import resolve

    with pytest.raises(InvalidArgumentError, match="is a pre-training.*model.weights="):
        resolve(str(runs["mae"].folder))


@pytest.mark.parametrize("images", [torch.zeros(3, 2, 1, 8, 8), "text"])
def test_what_is_no_images_is_named(images):
    with pytest.raises(InvalidArgumentError, match=r"\(B, C, H, W\)"):
        Masked.images((images, None))


def test_tasks_without_labels_say_so():
    assert {name for name, task in TASKS.items() if not task.labels} >= {"masked", "mr_mae"}
    assert all((task.measure == "loss") != task.labels for task in TASKS.values())
