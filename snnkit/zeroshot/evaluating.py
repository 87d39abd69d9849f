"""Accuracy and retrieval of a run of task ``pairs``, on its own data or on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torchmetrics.classification import MulticlassAccuracy

from snnkit.checkpoints import build_model
from snnkit.data import DataConfig, ImageData, load_images
from snnkit.data.captions import PROMPTS
from snnkit.data.tokens import BytePairs, Bytes, make_tokens
from snnkit.engine.feeding import fed_as
from snnkit.engine.run_folder import find_checkpoint
from snnkit.errors import InvalidArgumentError
from snnkit.models.two_towers import TwoTowers
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.finding import Finding, Found
from snnkit.zeroshot.classifier import zero_shot

KEPT = "zeroshot"
"""Folder within a run's in which features of texts are kept."""


@dataclass(frozen=True)
class Trained:
    """Two towers of a run, how they were fed, and how their texts became numbers; ``folder`` is None of a lone file."""

    towers: TwoTowers
    data: DataConfig
    tokens: Bytes | BytePairs
    folder: Path | None


def load_towers(run: str | Path) -> Trained:
    """Return the towers of a run, or of a checkpoint.

    Raises:
        CorruptFileError: there is no checkpoint, or it cannot be read.
        InvalidArgumentError: it holds no two towers.
    """
    run = _last_stage(Path(run))
    checkpoint = find_checkpoint(run)
    model, about = build_model(checkpoint)
    if not isinstance(model, TwoTowers):
        raise InvalidArgumentError(
            f"{checkpoint} holds {about.get('name')}, which has one tower; give a run of task pairs (basic:NAME)."
        )
    data = fed_as(checkpoint, model)
    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None
    return Trained(model, data, make_tokens(data.tokenizer), folder)


def _last_stage(run: Path) -> Path:
    """Of a run in stages the last one that has weights."""
    if (run / "checkpoints").exists() or not run.is_dir():
        return run
    stages = sorted(run.glob("[0-9]*-*/checkpoints"), key=lambda path: int(path.parent.name.partition("-")[0]))
    return stages[-1].parent if stages else run


@torch.no_grad()
def classify(
    trained: Trained,
    dataset: str | None = None,
    source: str | None = None,
    classes: Sequence[str] = (),
    templates: Sequence[str] = (),
    most: int = 0,
) -> dict[str, Any]:
    """Return zero-shot accuracy on the test images of a labelled data set.

    Args:
        trained: from ``load_towers``.
        dataset, source: of the images; those of the run if not given.
        classes: words by label; the data set's own, underscores read as spaces, if not given.
        templates: of texts; a few plain ones if not given.
        most: use only so many images, of every class its share (0 = all).

    Raises:
        InvalidArgumentError: another number of names than there are classes, or data without labels.
    """
    data = _data(trained, dataset, source, most)
    words = list(classes) or [name.replace("_", " ") for name in data.classes]
    if not words or len(words) != len(data.classes):
        raise InvalidArgumentError(
            f"{data.origin} has {len(data.classes)} classes, and {len(words)} names were given; one a class."
        )
    kept = None if trained.folder is None else trained.folder / KEPT
    network = zero_shot(trained.towers, words, tuple(templates) or PROMPTS, trained.tokens, kept).eval()
    top1, top5 = (MulticlassAccuracy(len(words), average="micro", top_k=min(k, len(words))) for k in (1, 5))
    images = 0
    for batch in data.test:
        labels = batch[-1]
        known = labels >= 0
        if known.any():
            logits = network(channels_last(batch[0][known]))
            for metric in (top1, top5):
                metric.update(logits, labels[known])
            images += int(known.sum())
    if not images:
        raise InvalidArgumentError(f"{data.origin} has no labelled test image; give a data set with classes.")
    return {
        "accuracy": float(top1.compute()),
        "top5": float(top5.compute()),
        "images": images,
        "classes": words,
        "templates": list(tuple(templates) or PROMPTS),
        "origin": data.origin,
    }


@torch.no_grad()
def retrieve(
    trained: Trained, dataset: str | None = None, source: str | None = None, most: int = 0
) -> tuple[dict[str, float], Found]:
    """Return recall@1, 5 and 10 both ways among the test pairs of a data set with texts, and what was found.

    Args:
        trained: from ``load_towers``.
        dataset, source: of the pairs; those of the run if not given.
        most: use only so many pairs (0 = all); recalls of fewer are higher.

    Raises:
        InvalidArgumentError: the data set has no texts.
    """
    data = _data(trained, dataset, source, most)
    if data.tokens is None:
        raise InvalidArgumentError(f"{data.origin} has no texts; give data of pairs (data.dataset=pair_shards …).")
    finding, towers = Finding(), trained.towers.eval()
    for images, tokens, labels in data.test:
        finding.add(towers.encode_images(channels_last(images)), towers.encode_texts(tokens), tokens, labels)
    result = finding.compute(None)
    found = finding.last
    assert found is not None
    return result | {"pairs": len(found.images), "texts": len(found.first)}, found


def _data(trained: Trained, dataset: str | None, source: str | None, most: int) -> ImageData:
    config = replace(trained.data, test_limit=most or trained.data.test_limit)
    if dataset is not None:
        config.dataset, config.source = dataset, source or "auto"
    elif source is not None:
        config.source = source
    return load_images(config, seed=0)
