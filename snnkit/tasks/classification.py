"""Supervised classification: cross-entropy on the logits, accuracy, and how much the network fires."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from snnkit.errors import InvalidArgumentError
from snnkit.layers.memory_order import channels_innermost
from snnkit.tasks.firing import firing_neurons, listening
from snnkit.tasks.task import Task


class ClassificationMetrics(nn.Module):
    """Loss, accuracy and firing rate of a classifier, added up over batches and, where there are several, processes.

    Args:
        model: its neurons are listened to while testing.
        num_classes: K.
        extra: names of further means that ``update`` will be given.
    """

    def __init__(self, model: nn.Module, num_classes: int, *extra: str):
        super().__init__()
        if num_classes < 2:
            raise InvalidArgumentError(
                f"the data have {num_classes or 'no'} class{'es' if num_classes != 1 else ''}: labels of two or more "
                "are learned. Data without labels are for pre-training; give others (data.dataset)."
            )
        self.loss = MeanMetric()
        self.accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.rate = MeanMetric()
        self.extra = nn.ModuleDict({name: MeanMetric() for name in extra})
        self._neurons = firing_neurons(model)

    @torch.compiler.disable  # counting branches on values; the network and its loss are one graph without it
    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, **extra: Tensor) -> None:
        """Add a batch: mean loss (), logits (B, K), labels (B,) or probabilities (B, K), further means by name."""
        hard = labels.argmax(1) if labels.ndim == 2 else labels
        self.loss.update(loss.detach(), len(hard))
        self.accuracy.update(logits.detach(), hard)
        for name, value in extra.items():
            self.extra[name].update(value.detach(), len(hard))

    @torch.compiler.disable
    def test(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        """Add a test batch: cross-entropy without smoothing, accuracy, mean firing rate over layers.

        A layer's firing rate is its spikes, of either sign and any level, per neuron and step; layers that send real
        values do not count.

        Of B · views images for B labels, those of one label side by side, the probabilities are averaged.
        """
        with listening(self._neurons) as rates, torch.no_grad():
            logits = model(channels_last(images))
        logits = logits.float()
        if len(logits) > len(labels):
            views = logits.log_softmax(1).unflatten(0, (len(labels), -1))
            logits = views.logsumexp(1) - math.log(
                views.shape[1]
            )  # finite where a probability is too small for a float
        self.update(F.cross_entropy(logits, labels), logits, labels)
        if rates:
            self.rate.update(torch.stack(rates).mean(), len(labels))

    def compute(self) -> dict[str, float]:
        """Return the means and start anew: loss, accuracy, score (= accuracy), what came by name, firing rate."""
        accuracy = float(self.accuracy.compute())
        result = {"loss": float(self.loss.compute()), "accuracy": accuracy, "score": accuracy}
        for name, metric in self.extra.items():
            if metric.update_called:
                result[name] = float(metric.compute())
        if self.rate.update_called:
            result["firing_rate"] = float(self.rate.compute())
        for metric in (self.loss, self.accuracy, self.rate, *self.extra.values()):
            metric.reset()
        return result


class Classification(Task):
    """Train a classifier (B, C, H, W) → (B, K) on labels (B,), or on probabilities (B, K) of mixed images.

    Args:
        model: the classifier; one that returns (logits, second logits) while training has both heads trained.
        num_classes: K.
        label_smoothing: share of probability spread over all classes in the training loss.
    """

    name: ClassVar[str] = "classification"

    def __init__(self, model: nn.Module, num_classes: int, label_smoothing: float = 0.0):
        super().__init__()
        # Convolutions on the CPU run faster with channels innermost; the neurons take any order.
        self.model = channels_innermost(model)
        self.label_smoothing = label_smoothing
        self.metrics = ClassificationMetrics(model, num_classes)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the smoothed cross-entropy of a training batch."""
        images, labels = batch
        out = self.model(channels_last(images))
        heads = out if isinstance(out, tuple) else (out,)
        losses = [F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing) for logits in heads]
        loss = torch.stack(losses).mean()
        self.metrics.update(loss, heads[0], labels)
        return loss

    def evaluate(self, batch: tuple[Tensor, Tensor]) -> None:
        """Feed loss (without smoothing), accuracy and firing rate with a test batch."""
        self.metrics.test(self.model, *batch)

    def compute(self) -> dict[str, float]:
        """Return loss, accuracy, score (= accuracy) and, after ``evaluate``, the mean firing rate over layers."""
        return self.metrics.compute()


def channels_last(images: Tensor) -> Tensor:
    """Lay images (B, C, H, W) out with channels innermost; sequences stay as they are."""
    return images.to(memory_format=torch.channels_last) if images.ndim == 4 else images
