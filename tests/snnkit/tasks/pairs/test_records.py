"""What a run of pairs writes down of its steps.

Would break it: a norm of gradients that were clipped before they were measured, which shows the bound and nothing else.
"""

import json

import pytest

from snnkit.engine import RunConfig, train
from snnkit.engine.config import ModelConfig, OptimConfig, TaskConfig
from snnkit.recipes.basic import captioned

TEXT = {"text_width": 16, "text_depth": 1, "text_heads": 2, "dim": 8, "width": 4}


def norms(folder, clip, parts):
    tower, task = ModelConfig("basic:spiking_cnn_small", 2, dict(TEXT)), TaskConfig("pairs")
    task.options = {"batch_norm": "frozen"}  # or two parts would be refused
    config = RunConfig("custom", tower, captioned("vendored"), task)
    config.data.batch_size, config.data.train_limit, config.data.test_limit = 8, 16 * parts, 20
    config.optim, config.epochs, config.threads = OptimConfig(lr=1e-12, clip=clip, accumulate=parts), 1, 1
    train(config, folder)
    return [json.loads(line)["gradient_norm"] for line in (folder / "steps.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("parts", [1, 2])
def test_the_norm_is_that_before_clipping(parts, tmp_path):
    free, clipped = norms(tmp_path / "free", 0.0, parts), norms(tmp_path / "clipped", 1e-3, parts)
    assert len(free) == 2
    assert min(free) > 0.1
    assert clipped == pytest.approx(free, rel=1e-4)
