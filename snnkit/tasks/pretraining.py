"""What tasks without labels share: metrics without accuracy, an eye on collapse, records for the report.

    spread of features = √(1 − |mean over images of f/|f||²)        in [0, 1]; 0 where all images have the same features

A run has collapsed when its features stay the same for all images while the loss goes on. To add a task: derive from
``Pretraining``, and write ``loss`` and ``evaluate``; both tell ``metrics`` and, in training, ``collapse``.
Letters: B images, D features.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric

from snnkit.errors import InvalidArgumentError
from snnkit.files import read_json, write_json
from snnkit.layers.memory_order import channels_innermost
from snnkit.tasks.classification import channels_last
from snnkit.tasks.firing import firing_neurons
from snnkit.tasks.task import Task

RECORDS = "pretraining.json"
_COLLAPSED, _STEPS = 1e-3, 20


def feature_spread(features_BD: Tensor) -> Tensor:
    """Return how much the directions of features differ, a scalar in [0, 1]; all zero count as the same."""
    f = nn.functional.normalize(features_BD.detach().float(), dim=1)
    return (f - f.mean(0)).square().sum(1).mean().sqrt()


class PretrainingMetrics(nn.Module):
    """Loss, its parts, spread of features and firing rate, added up over batches and processes.

    Args:
        model: its neurons may be listened to.
        parts: names of the loss's parts and of other means that ``update`` is given.
    """

    def __init__(self, model: nn.Module, parts: Sequence[str] = ()):
        super().__init__()
        self.loss, self.spread, self.rate = MeanMetric(), MeanMetric(), MeanMetric()
        self.parts = nn.ModuleDict({name: MeanMetric() for name in parts})
        self.neurons = firing_neurons(model)

    @torch.compiler.disable
    def update(self, loss: Tensor, features_BD: Tensor, rates: Sequence[Tensor] = (), **parts: Tensor) -> None:
        """Add a batch: mean loss (), features of its images, firing rates of its layers, parts by name."""
        count = len(features_BD)
        self.loss.update(loss.detach(), count)
        if count > 1:
            self.spread.update(feature_spread(features_BD), count)
        if rates:
            self.rate.update(torch.stack(list(rates)).mean(), count)
        for name, value in parts.items():
            self.parts[name].update(value.detach(), count)

    def compute(self) -> dict[str, float]:
        """Return the means and start anew: loss, score (= −loss), parts, feature_spread, firing_rate."""
        loss = float(self.loss.compute()) if self.loss.update_called else math.nan
        result = {"loss": loss, "score": -loss}
        named = {**dict(self.parts.items()), "feature_spread": self.spread, "firing_rate": self.rate}
        for name, metric in named.items():
            if metric.update_called:
                result[name] = float(metric.compute())
        for metric in (self.loss, *named.values()):
            metric.reset()
        return result


def _count(place: int) -> Any:
    """Return a whole number that is kept in ``counts``."""

    def read(self: Collapse) -> int:
        return int(self.counts[place])

    def write(self: Collapse, value: int) -> None:
        self.counts[place] = value

    return property(read, write)


class Collapse(nn.Module):
    """Watches the features of training batches and says once when they have been the same for all images for long.

    What it has counted is saved with the state of a run.

    Attributes:
        step: batches so far.
        since: the batch at which the run counted as collapsed; 0 = it has not.
        alike: batches in a row whose features were the same.
        assigned_alike: batches in a row whose images were assigned alike, of tasks that assign.
    """

    counts: Tensor
    step, since, alike, assigned_alike = (_count(place) for place in range(4))

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(4, dtype=torch.int64))
        self._untold = ""

    @torch.compiler.disable
    def watch(self, features_BD: Tensor, advice: str) -> None:
        """Take note of a batch's features; ``advice`` is what to do about a collapse."""
        self.step += 1
        if len(features_BD) < 2:
            return
        spread = float(feature_spread(features_BD))
        self.alike = self.alike + 1 if spread < _COLLAPSED else 0
        if not self.alike:
            self.since = 0
        if self.alike == _STEPS:
            self.since = self.step
            self._untold = (
                f"the run has collapsed: for {_STEPS} batches the features of all images were the same (spread "
                f"{spread:.1g} of 1); {advice}"
            )

    def told(self) -> list[str]:
        """Return what is to be told, once."""
        text, self._untold = self._untold, ""
        return [text] if text else []


class Pretraining(Task):
    """An interface: a task that learns from images alone; of labelled data it leaves the labels.

    Args:
        model: the network; what will be fine-tuned is in it.
        parts: names of what ``metrics`` is given beside the loss.
    """

    measure: ClassVar[str] = "loss"
    labels: ClassVar[bool] = False

    def __init__(self, model: nn.Module, parts: Sequence[str] = ()):
        super().__init__()
        self.model = channels_innermost(model)
        self.metrics = PretrainingMetrics(model, parts)
        self.collapse = Collapse()

    @staticmethod
    def images(batch: Any) -> Tensor:
        """Return the images of a batch, with or without labels beside them.

        Raises:
            InvalidArgumentError: no images (B, C, H, W).
        """
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        if not isinstance(images, Tensor) or images.ndim != 4:
            shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise InvalidArgumentError(f"pre-training takes images (B, C, H, W), got {shape}; give a set of images.")
        return channels_last(images)

    def compute(self) -> dict[str, float]:
        """Return the metrics since the last call: no accuracy, which nobody could know."""
        return self.metrics.compute()

    def remarks(self) -> list[str]:
        """Return a collapse, once."""
        return self.collapse.told()

    def record(self, folder: Path, epoch: int, **found: Any) -> None:
        """Put what was found in an epoch into pretraining.json, in place of what was found in it before."""
        path = folder / RECORDS
        known = read_json(path) if path.exists() else {"task": self.name, "epochs": []}
        known["collapsed"] = bool(self.collapse.since)
        earlier = [line for line in known["epochs"] if line["epoch"] < epoch]
        known["epochs"] = [*earlier, {"epoch": epoch, **found}]
        write_json(path, known)
