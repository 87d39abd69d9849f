"""DINO: a student that sees all views is to tell what a teacher, its own average, makes of the two large ones.

    loss = ``self_distillation_loss``(student, softmax((teacher − c) / τ_t)),   c ← m_c c + (1 − m_c) mean of teacher

The centre c moves after the loss, over the images of all processes. After each step the teacher follows with momentum
m, which goes from its start to 1 by half a cosine; τ_t goes to its end in a straight line over the first epochs. The
last layer stays where it is for the first ``freeze_epochs``. What a run keeps is the teacher's encoder.

Source: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", arXiv 2104.14294;
facebookresearch/dino@7c446df. Letters: B images, V views, K outputs.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnkit.tasks.contrastive.average import Follower
from snnkit.tasks.contrastive.encoding import features_of_views
from snnkit.tasks.contrastive.from_views import FromViews, above_zero, share, whole
from snnkit.tasks.contrastive.heads import DinoHead
from snnkit.tasks.contrastive.losses import centred, self_distillation_loss
from snnkit.tasks.contrastive.processes import rank_and_world, summed
from snnkit.tasks.contrastive.schedules import straight, warmup_cosine
from snnkit.tasks.firing import listening

_LARGE = 2


class DINO(FromViews):
    """Train an encoder by self-distillation.

    Args:
        model: the encoder.
        num_classes: not asked.
        out_dim: K.
        hidden, bottleneck, layers, head_norm: of ``DinoHead``.
        norm_last_layer: whether the rows of the last layer keep length 1.
        student_temperature: τ_s.
        teacher_temperature, warmup_teacher_temperature, warmup_teacher_epochs: τ_t, where it starts, and how long it
            takes to its end.
        centre_momentum: m_c.
        momentum: m in the beginning.
        freeze_epochs: epochs that leave the last layer where it is.

    Raises:
        InvalidArgumentError: a model without features, or an option outside its range.
    """

    name: ClassVar[str] = "dino"
    centre: Tensor

    def __init__(
        self,
        model: nn.Module,
        num_classes: int = 0,
        out_dim: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        head_norm: bool = False,
        norm_last_layer: bool = True,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        warmup_teacher_temperature: float = 0.04,
        warmup_teacher_epochs: int = 0,
        centre_momentum: float = 0.9,
        momentum: float = 0.996,
        freeze_epochs: int = 1,
    ):
        super().__init__(model, ("assignment_entropy", "assignment_information"))
        for key, number, low in (("out_dim", out_dim, 2), ("hidden", hidden, 1), ("bottleneck", bottleneck, 1)):
            whole(key, number, low)
        for key, number, low in (("layers", layers, 1), ("warmup_teacher_epochs", warmup_teacher_epochs, 0)):
            whole(key, number, low)
        whole("freeze_epochs", freeze_epochs, 0)
        for name, value in (("student_temperature", student_temperature), ("teacher_temperature", teacher_temperature)):
            above_zero(name, value)
        above_zero("warmup_teacher_temperature", warmup_teacher_temperature)
        share("centre_momentum", centre_momentum)
        share("momentum", momentum)
        self.student_temperature, self.momentum = float(student_temperature), float(momentum)
        self._temperatures = warmup_teacher_epochs, float(warmup_teacher_temperature), float(teacher_temperature)
        self.centre_momentum, self.freeze_epochs = float(centre_momentum), freeze_epochs
        self.head = DinoHead(self.width, out_dim, hidden, bottleneck, layers, head_norm, not norm_last_layer)
        self.teacher = Follower(self.model, self.head)
        self.register_buffer("centre", torch.zeros(1, out_dim))

    @property
    def kept(self) -> nn.Module:
        """The teacher's encoder."""
        return self.teacher.model

    @property
    def teacher_temperature(self) -> float:
        """τ_t of the epoch."""
        return straight(self.epoch, *self._temperatures)

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a training batch."""
        views = self.views(batch)
        with torch.no_grad():
            taught = self.teacher.head(features_of_views(self.teacher.model, views[:_LARGE]))
        found_VBF = features_of_views(self.model, views)
        loss, targets = self.distil(self.head(found_VBF), taught, len(views[0]))
        self.note(found_VBF[: len(views[0])], loss, targets)
        return loss

    def distil(self, student_VBK: Tensor, taught_ABK: Tensor, images: int) -> tuple[Tensor, Tensor]:
        """Return the loss and what the teacher assigns the images of view 0; the centre moves on."""
        targets = centred(taught_ABK.to(self.centre.dtype), self.centre, self.teacher_temperature)
        loss = self_distillation_loss(student_VBK, targets, images, self.student_temperature)
        with torch.no_grad():
            rows = len(taught_ABK) * rank_and_world()[1]
            mean = summed(taught_ABK.detach().to(self.centre.dtype).sum(0, keepdim=True)) / rows
            self.centre.mul_(self.centre_momentum).add_(mean, alpha=1 - self.centre_momentum)
        return loss, targets[:images]

    def late_parameters(self) -> list[nn.Parameter]:
        """Return those of the last layer."""
        return list(self.head.last_layer.parameters())

    def before_step(self) -> None:
        """Leave the last layer where it is in the first epochs."""
        if self.epoch < self.freeze_epochs:
            for parameter in self.late_parameters():
                parameter.grad = None

    def after_step(self) -> None:
        """Have the teacher follow, and count the step."""
        momentum = warmup_cosine(int(self.steps), self.plan.steps, self.momentum, 1.0)
        self.teacher.follow(self.model, self.head, momentum)
        super().after_step()

    @torch.no_grad()
    def evaluate(self, batch: Any) -> None:
        """Feed loss, assignments, spread of the teacher's features and the student's firing rate with a test batch."""
        views = self.views(batch)
        self.keep_pictures(views)
        images = len(views[0])
        seen_ABF = features_of_views(self.teacher.model, views[:_LARGE])
        with listening(self.metrics.neurons) as rates:
            student = self.head(features_of_views(self.model, views))
        taught = self.teacher.head(seen_ABF).to(self.centre.dtype)
        targets = centred(taught, self.centre, self.teacher_temperature)
        loss = self_distillation_loss(student, targets, images, self.student_temperature)
        self.tell(seen_ABF[:images], loss, rates, targets[:images])
