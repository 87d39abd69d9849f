"""Tasks beyond classes in two processes, with copies (DDP) and shards (FSDP2).

Networks without batch norm, trained by SGD, must compute what one process does with twice the batch: RetinaNet's loss
is a mean over images, those of segmentation and captioning over pixels and tokens, of which the processes have equally
many here. Mask R-CNN draws the regions that it learns from in each process; of it, as of the other spiking networks,
whose batch norms see the images of a process alone, tests must measure what one process measures, and a run that was
killed must go on bit for bit. These are trained by 8-bit AdamW, and their average is kept and tested.

Would break it: test images that two processes both see or neither, a metric that is a mean of means, an average or
codes that are not saved, a network whose shards are read outside of its forward, a teacher that is sharded.
"""

import json

import pytest
import torch
from processes.train_dense import SMOOTH, configuration, register
from safetensors.torch import load_file
from support.captions import coco
from support.processes import launched

from snnkit.checkpoints import build_model
from snnkit.data import load_images
from snnkit.engine import train
from snnkit.engine.evaluating import test as measured
from snnkit.engine.train import asked
from snnkit.models import registry

STRATEGIES = ("ddp", "fsdp2")


@pytest.fixture(autouse=True)
def known(monkeypatch):
    """The network of these tests, for their time alone."""
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
    register()


def weights(folder):
    return load_file(folder / "checkpoints" / "last.safetensors")


def results(folder):
    """Metrics of every epoch, without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(line["epoch"], line["step"], line["train"], line["test"]) for line in lines]


def settings_of(task, folder):
    if task != "captioning":
        pytest.importorskip("skimage", reason="no photographs: pip install scikit-image")
        return []
    parts = (("train2017", 12), ("val2017", 7))
    return [f"data.source={coco(folder / 'captions', parts, ways=('Grey number {:02d}.',))}"]


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(SMOOTH))
def test_two_processes_train_and_measure_as_one_and_go_on(task, tmp_path):
    settings = settings_of(task, tmp_path)
    launched("train_dense.py", tmp_path / "runs", task, *settings)
    one = train(configuration(task, settings), tmp_path / "one").folder
    for strategy in STRATEGIES:
        plain, whole, again = (tmp_path / "runs" / f"{name}-{strategy}" for name in ("plain", "whole", "again"))
        for key, value in weights(one).items():
            torch.testing.assert_close(weights(plain)[key], value, rtol=1e-4, atol=1e-6, msg=f"{strategy} {key}")
        for alone, together in zip(results(one), results(plain), strict=True):
            assert together[:2] == alone[:2]
            for before, now in zip(alone[2:], together[2:], strict=True):
                assert now == pytest.approx(before, rel=1e-3, abs=1e-5)
        assert (whole / "steps.jsonl").read_text() == (again / "steps.jsonl").read_text()
        assert results(whole) == results(again)
        first, second = weights(whole), weights(again)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)
        assert any(torch.any(value != 0) for value in first.values())
        if task == "detection":
            assert things(plain) == things(one)
        of_one = alone_on(configuration(task, settings, spiking=True), whole)
        of_two = results(whole)[-1][3]
        sampled = {key for key in of_one if "loss" in key} if task == "detection" else set()
        assert of_one.keys() == of_two.keys()
        assert {key: of_two[key] for key in of_one if key not in sampled} == pytest.approx(
            {key: value for key, value in of_one.items() if key not in sampled}, rel=1e-4, abs=1e-6
        )


def things(folder):
    """How many of each class there were in the last test."""
    rows = json.loads((folder / "detection.json").read_text())["classes"]
    return [row["things"] for row in rows]


def alone_on(config, folder):
    """What one process measures of a run's network."""
    model, _ = build_model(folder / "checkpoints" / "last.safetensors")
    return measured(config, model, load_images(asked(config), config.seed), ())
