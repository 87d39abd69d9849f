"""Accuracy and retrieval of a run of task ``pairs``, on its own data or on others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchmetrics.classification import MulticlassAccuracy

from snnkit.checkpoints import build_model
from snnkit.data import DataConfig, ImageData, load_images
from snnkit.data.captions import PROMPTS
from snnkit.data.tokens import BytePairs, Bytes, make_tokens
from snnkit.engine.feeding import fed_as, on_other_data
from snnkit.engine.run_folder import find_checkpoint
from snnkit.errors import InvalidArgumentError
from snnkit.models.two_towers import TwoTowers
from snnkit.tasks.classification import channels_last
from snnkit.tasks.pairs.finding import Finding, Found, check_finite
from snnkit.zeroshot.classifier import ZeroShot, by_prompts, zero_shot

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
    checkpoint = find_checkpoint(run)
    model, about = build_model(checkpoint)
    if not isinstance(model, TwoTowers):
        raise InvalidArgumentError(
            f"{checkpoint} holds {about.get('name')}, which has one tower; give a run of task pairs (basic:NAME)."
        )
    data = fed_as(checkpoint, model)
    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else None
    if folder is None or not (folder / "config.json").exists():
        data.context = model.text.context  # a lone file says nothing of its texts
    return Trained(model, data, make_tokens(data.tokenizer), folder)


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
        classes: words by label. If neither they nor templates are given, the data set's own texts for its classes are
            taken (``data.prompts``), as in the tests of a training; else its names, underscores read as spaces.
        templates: of texts; a few plain ones if not given.
        most: use only so many images, of every class its share (0 = all).

    Raises:
        InvalidArgumentError: another number of names than there are classes, names that are not known, or data without
            labels.
        NonFiniteError: features are not finite.
    """
    data = _data(trained, dataset, source, most)
    words = list(classes) or [name.replace("_", " ") for name in data.classes]
    if data.tokens is not None and data.classes and data.prompts is None and not classes:
        raise InvalidArgumentError(f"{data.origin} has labels, and no names of them; give --classes FILE, one a line.")
    if not words or len(words) != len(data.classes):
        raise InvalidArgumentError(
            f"{data.origin} has {len(data.classes)} classes, and {len(words)} names were given; one a class."
        )
    if len(words) < 2:
        raise InvalidArgumentError(f"{data.origin} has one class, {words[0]!r}: there is nothing to tell apart.")
    kept = None if trained.folder is None else trained.folder / KEPT
    own = data.prompts if not classes and not templates else None
    if own is None:
        used = list(tuple(templates) or PROMPTS)
        network = zero_shot(trained.towers, words, used, trained.tokens, kept).eval()
    else:
        used = [trained.tokens.decode(row.tolist()) for row in own[0]]
        network = by_prompts(trained.towers, own, kept).eval()
    top1, top5, images = _right(network, data, len(words))
    if not images:
        raise InvalidArgumentError(f"{data.origin} has no labelled test image; give a data set with classes.")
    return {
        "accuracy": top1,
        "top5": top5,
        "images": images,
        "classes": words,
        "templates": used,
        "of_the_data": own is not None,
        "origin": data.origin,
        "noticed": list(data.test.skipped),
    }


def _right(network: ZeroShot, data: ImageData, classes: int) -> tuple[float, float, int]:
    """Return the shares of test images whose class comes first and among the first five, and how many have labels."""
    top1, top5 = (MulticlassAccuracy(classes, average="micro", top_k=min(k, classes)) for k in (1, 5))
    images = 0
    for batch in data.test:
        labels = batch[-1]
        known = labels >= 0
        if known.any():
            logits = network(channels_last(batch[0][known]))
            check_finite(logits)
            for metric in (top1, top5):
                metric.update(logits, labels[known])
            images += int(known.sum())
    return (float(top1.compute()), float(top5.compute()), images) if images else (0.0, 0.0, 0)


@torch.no_grad()
def retrieve(
    trained: Trained, dataset: str | None = None, source: str | None = None, most: int = 0
) -> tuple[dict[str, Any], Found]:
    """Return recall@1, 5 and 10 both ways among the test pairs of a data set with texts, and what was found.

    Args:
        trained: from ``load_towers``.
        dataset, source: of the pairs; those of the run if not given.
        most: use only so many pairs (0 = all); recalls of fewer are higher.

    Raises:
        InvalidArgumentError: the data set has no texts.
        NonFiniteError: features are not finite.
    """
    data = _data(trained, dataset, source, most)
    if data.tokens is None:
        raise InvalidArgumentError(f"{data.origin} has no texts; give data of pairs (data.dataset=pair_shards …).")
    finding, towers = Finding(), trained.towers.eval()
    for images, tokens, labels in data.test:
        finding.add(towers.encode_images(channels_last(images)), towers.encode_texts(tokens), images, tokens, labels)
    result = finding.compute(None)
    found = finding.last
    assert found is not None
    counts = {"pairs": len(found.images), "images": int(found.image.max()) + 1, "texts": len(found.first)}
    return result | counts | {"noticed": list(data.test.skipped)}, found


def _data(trained: Trained, dataset: str | None, source: str | None, most: int) -> ImageData:
    config = on_other_data(trained.data, dataset, source)
    config.test_limit = most or config.test_limit
    found = load_images(config, seed=0)
    first = next((module for module in trained.towers.encoder.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and found.sample_shape[0] != first.in_channels:
        raise InvalidArgumentError(
            f"the images of {found.origin} have {found.sample_shape[0]} channels, the image tower takes "
            f"{first.in_channels}; give other data, or towers that were trained on such."
        )
    return found
