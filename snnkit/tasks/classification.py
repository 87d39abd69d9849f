"""Supervised classification: cross-entropy on the logits, accuracy, and how much the network fires."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from snnkit.neurons import Neuron


class Classification:
    """Train a classifier (B, C, H, W) → (B, K) on labels (B,).

    Args:
        model: the classifier.
        num_classes: K.
        label_smoothing: share of probability spread over all classes in the training loss.
    """

    def __init__(self, model: nn.Module, num_classes: int, label_smoothing: float = 0.0):
        # Convolutions on the CPU run faster with channels innermost; the neurons take any order.
        self.model = model.to(memory_format=torch.channels_last)
        self.label_smoothing = label_smoothing
        self._loss = MeanMetric()
        self._accuracy = MulticlassAccuracy(num_classes, average="micro")
        self._rate = MeanMetric()
        self._neurons = [module for module in model.modules() if isinstance(module, Neuron)]

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the smoothed cross-entropy of a training batch."""
        images, labels = batch
        logits = self.model(images.to(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        self._loss.update(loss.detach(), len(labels))
        self._accuracy.update(logits.detach(), labels)
        return loss

    def evaluate(self, batch: tuple[Tensor, Tensor]) -> None:
        """Feed loss (without smoothing), accuracy and firing rate with a test batch."""
        images, labels = batch
        rates: list[Tensor] = []
        handles = [n.register_forward_hook(lambda _m, _x, s: rates.append(s.mean())) for n in self._neurons]
        try:
            with torch.no_grad():
                logits = self.model(images.to(memory_format=torch.channels_last))
        finally:
            for handle in handles:
                handle.remove()
        self._loss.update(F.cross_entropy(logits, labels), len(labels))
        self._accuracy.update(logits, labels)
        if rates:
            self._rate.update(torch.stack(rates).mean(), len(labels))

    def compute(self) -> dict[str, float]:
        """Return loss, accuracy, score (= accuracy) and, after ``evaluate``, the mean firing rate over layers."""
        accuracy = float(self._accuracy.compute())
        result = {"loss": float(self._loss.compute()), "accuracy": accuracy, "score": accuracy}
        if self._rate.update_called:
            result["firing_rate"] = float(self._rate.compute())
        for metric in (self._loss, self._accuracy, self._rate):
            metric.reset()
        return result
