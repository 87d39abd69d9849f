"""Which images choose the best weights: those set aside where there are any, else the test images, and it is said.

Would break it: weights chosen on the test images while others were set aside, a summary that does not say which, a best
of one split kept against scores of another.
"""

import json

import pytest
from safetensors.torch import load_file

from snnkit.engine import resume, train
from snnkit.engine.loop import Loop
from snnkit.recipes import get_recipe

TEST, VALIDATION = [0.9, 0.1, 0.5, 0.2], [0.1, 0.9, 0.5, 0.2]


def small(share, epochs=3):
    config = get_recipe("demo")
    config.data.train_limit, config.data.test_limit, config.data.batch_size = 64, 20, 16
    config.data.validation, config.epochs = share, epochs
    config.model.sizes, config.threads, config.schedule.name = {"width": 4}, 1, "constant"
    return config


@pytest.fixture
def scripted(monkeypatch):
    """Scores of each split, epoch by epoch."""
    left = {"test": list(TEST), "validation": list(VALIDATION)}

    def score(self, split, batches):
        assert sum(len(labels) for _, labels in batches) == {"test": 20, "validation": 16}[split]
        return {"loss": 1.0, "score": left[split].pop(0)}

    monkeypatch.setattr(Loop, "_test", score)


@pytest.mark.parametrize(("share", "split", "epoch"), [(0.25, "validation", 2), (0.0, "test", 1)])
def test_the_split_that_chooses(tmp_path, scripted, share, split, epoch):
    run = train(small(share), tmp_path / "run")
    assert (run.best_split, run.best_epoch, run.best_score) == (split, epoch, 0.9)
    summary = json.loads((run.folder / "summary.json").read_text())
    assert summary["best"] == {"epoch": epoch, "accuracy": 0.9, "split": split}
    assert (summary["validation_images"], summary["train_images"]) == ((16, 48) if share else (0, 64))
    assert summary["final"]["accuracy"] == 0.5  # of the test images
    assert f"best epoch {epoch}, chosen on the {split} images" in run.told()
    assert ("optimistic" in run.told()) == (split == "test")
    states = run.folder / "checkpoints"
    last, best = (load_file(states / f"{name}.safetensors") for name in ("last", "best"))
    assert any((last[key] != best[key]).any() for key in last)


def test_a_run_that_goes_on_with_others_chooses_anew(tmp_path, scripted):
    folder = train(small(0.0, epochs=1), tmp_path / "run").folder  # 0.9 on the test images
    config = small(0.2, epochs=2)
    config.data.train_limit = 80  # 64 of them are left: as many steps as before
    run = resume(folder, config)
    assert (run.best_split, run.best_epoch, run.best_score) == ("validation", 2, 0.1)


def test_measured_scores_are_in_the_record(tmp_path):
    run = train(small(0.25, epochs=1), tmp_path / "run")
    line = json.loads((run.folder / "metrics.jsonl").read_text())
    assert set(line["validation"]) == set(line["test"])
    assert line["validation"]["accuracy"] == run.best_score
