"""MEAL V2: a student learns an ensemble's mean probabilities, beside a discriminator that tells the two apart.

    g = −mean_n Σ_c p_nc·log softmax(s_n)_c        p = mean over teachers of softmax(z)
    d = BCE(σ(D([s; mean z])), [1, 0] for the student, [0, 1] for the teachers)
    L = g + d

D is three linear layers K → K/r → K/r² → 2, each with ReLU behind it, the last too. No label is used.

The published training minimises g + d for the student as well as for D, so the student is trained to be told apart; the
paper means the opposite. ``adversarial=True`` turns the gradient of d round where it enters the student.

Source: Shen & Savvides, arXiv 2009.08453; szq0214/MEAL-V2@59e6bca (kd_loss.py, loss.py, discriminator.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.memory_order import channels_innermost
from snnkit.tasks.classification import ClassificationMetrics, channels_last
from snnkit.tasks.task import Task
from snnkit.tasks.teachers import Teachers


def similarity_loss(student_BK: Tensor, probabilities_BK: Tensor) -> Tensor:
    """Return the cross-entropy of the student against the teachers' mean probabilities, a scalar."""
    return -(probabilities_BK * F.log_softmax(student_BK, 1)).sum(1).mean()


class Discriminator(nn.Module):
    """Logits (B, K) → two numbers (B, 2): the first high for the student, the second for the teachers.

    Args:
        num_classes: K.
        ratio: r, by which the width falls from layer to layer.
    """

    def __init__(self, num_classes: int, ratio: int = 8):
        super().__init__()
        widths = [num_classes, max(num_classes // ratio, 1), max(num_classes // ratio**2, 1), 2]
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in pairwise(widths)])

    def forward(self, logits_BK: Tensor) -> Tensor:
        """Return what it holds for student and teachers, (B, 2), not below 0."""
        x = logits_BK
        for layer in self.layers:
            x = F.relu(layer(x))
        return x

    def loss(self, student_BK: Tensor, teachers_BK: Tensor) -> Tensor:
        """Return how badly it tells the two apart, a scalar."""
        count = len(student_BK)
        found = self(torch.cat([student_BK, teachers_BK]))
        target = torch.zeros_like(found)
        target[:count, 0] = 1
        target[count:, 1] = 1
        return F.binary_cross_entropy_with_logits(found, target)


class MealV2(Task):
    """Train a classifier to equal an ensemble.

    Args:
        model: the student; the method wants it trained already (``model.weights``).
        num_classes: K.
        teachers: run folders, files or NAME@weights (see ``teachers``), or modules.
        adversarial: the student deceives the discriminator; False is what was published.
        ratio: of the discriminator's widths.
        cache: folder for teachers' outputs; "" computes them each time.

    Raises:
        InvalidArgumentError: a teacher with other classes, or a ratio below 1.
    """

    name: ClassVar[str] = "meal_v2"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        teachers: str | nn.Module | Sequence[str | nn.Module] = (),
        adversarial: bool = False,
        ratio: int = 8,
        cache: str = "",
    ):
        super().__init__()
        if ratio < 1:
            raise InvalidArgumentError(f"task.options.ratio={ratio}: must be ≥ 1.")
        self.model = channels_innermost(model)
        self.discriminator = Discriminator(num_classes, ratio)
        self.teachers = Teachers(teachers, num_classes, cache)
        self.adversarial = bool(adversarial)
        self.metrics = ClassificationMetrics(model, num_classes, "similarity", "discriminator")

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return g + d of a training batch; its labels only feed the accuracy."""
        images, labels = batch
        images = channels_last(images)
        out = self.model(images)
        student = out[0] if isinstance(out, tuple) else out
        taught = self.teachers.logits(images)
        similarity = similarity_loss(student, taught.softmax(2).mean(0))
        seen = _Reversed.apply(student) if self.adversarial else student
        told_apart = self.discriminator.loss(seen, taught.mean(0))
        loss = similarity + told_apart
        self.metrics.update(loss, student, labels, similarity=similarity, discriminator=told_apart)
        return loss

    def evaluate(self, batch: tuple[Tensor, Tensor]) -> None:
        """Feed the metrics: cross-entropy with the labels, accuracy, firing rate."""
        self.metrics.test(self.model, *batch)

    def compute(self) -> dict[str, float]:
        """Return loss, accuracy, score, similarity, discriminator, and after ``evaluate`` the firing rate."""
        self.teachers.flush()
        return self.metrics.compute()


class _Reversed(torch.autograd.Function):
    """Identity whose gradient is turned round (Ganin & Lempitsky, arXiv 1409.7495)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return -grad
