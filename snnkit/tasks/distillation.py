"""Distillation of a teacher's predictions: hard or soft labels, into a second head where the student has one.

    L = (1 − α)·CE(student, y) + α·KD
    KD = CE(student', argmax z)                                   hard
    KD = τ²·KL(softmax(z/τ) ‖ softmax(student'/τ))                soft; the mean over samples

with z the mean of the teachers' logits and student' the second head's logits (the only one's where there is no other).

| symbol | default |
|---|---|
| α ``alpha`` | 0.5 |
| τ ``tau`` | 1 |

Sources: Touvron et al., DeiT, arXiv 2012.12877; Hinton et al., arXiv 1503.02531. The published code of DeiT and of
Spike-driven Transformer V2 divides the soft form by B·K instead of B: ``per_element=True``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.memory_order import channels_innermost
from snnkit.tasks.classification import ClassificationMetrics, channels_last
from snnkit.tasks.task import Task
from snnkit.tasks.teachers import Teachers


def soft_loss(student_BK: Tensor, teacher_BK: Tensor, tau: float, per_element: bool = False) -> Tensor:
    """Return τ²·KL(teacher ‖ student) of logits at temperature τ, a scalar."""
    kl = F.kl_div(
        F.log_softmax(student_BK / tau, 1), F.log_softmax(teacher_BK / tau, 1), reduction="sum", log_target=True
    )
    return kl * tau**2 / (student_BK.numel() if per_element else len(student_BK))


class Distillation(Task):
    """Train a classifier on labels and on teachers' predictions.

    Args:
        model: the student; one that returns (logits, second logits) while training learns the teacher in the second.
        num_classes: K.
        teachers: run folders, files or NAME@weights (see ``teachers``), or modules.
        soft: whether the teachers' probabilities are matched; else their best class.
        alpha: weight of the teachers against the labels, in [0, 1].
        tau: temperature of soft labels, > 0.
        per_element: divide the soft form by B·K, as the published code does.
        label_smoothing: of the labels' cross-entropy.
        cache: folder for teachers' outputs; "" computes them each time.

    Raises:
        InvalidArgumentError: a number outside its range, or a teacher with other classes.
    """

    name: ClassVar[str] = "distillation"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        teachers: str | nn.Module | Sequence[str | nn.Module] = (),
        soft: bool = False,
        alpha: float = 0.5,
        tau: float = 1.0,
        per_element: bool = False,
        label_smoothing: float = 0.0,
        cache: str = "",
    ):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise InvalidArgumentError(f"task.options.alpha={alpha}: must be between 0 and 1.")
        if not tau > 0:
            raise InvalidArgumentError(f"task.options.tau={tau}: must be > 0.")
        if not soft and (tau != 1 or per_element):
            raise InvalidArgumentError(
                f"task.options.tau={tau}, per_element={per_element}: hard labels know neither; set soft=true."
            )
        self.model = channels_innermost(model)
        self.teachers = Teachers(teachers, num_classes, cache)
        self.soft, self.alpha, self.tau, self.per_element = bool(soft), float(alpha), float(tau), bool(per_element)
        self.label_smoothing = label_smoothing
        self.metrics = ClassificationMetrics(model, num_classes, "distillation")

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return (1 − α)·CE + α·KD of a training batch."""
        images, labels = batch
        images = channels_last(images)
        out = self.model(images)
        logits, second = out if isinstance(out, tuple) else (out, out)
        taught = self.teachers.logits(images).mean(0)
        if self.soft:
            kd = soft_loss(second, taught, self.tau, self.per_element)
        else:
            kd = F.cross_entropy(second, taught.argmax(1))
        supervised = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        loss = (1 - self.alpha) * supervised + self.alpha * kd
        self.metrics.update(loss, logits, labels, distillation=kd)
        return loss

    def evaluate(self, batch: tuple[Tensor, Tensor]) -> None:
        """Feed the metrics: cross-entropy with the labels, accuracy, firing rate."""
        self.metrics.test(self.model, *batch)

    def compute(self) -> dict[str, float]:
        """Return loss, accuracy, score, distillation, and after ``evaluate`` the firing rate."""
        self.teachers.flush()
        return self.metrics.compute()
