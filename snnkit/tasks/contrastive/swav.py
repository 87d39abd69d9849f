"""SwAV: views are assigned to prototypes, equally many to each, and each view is to tell the others' assignments.

    z = unit(head(f(view))),  s = z·prototypes,  Q = Sinkhorn(s of the two large views),  loss = ``swapped_loss``

Prototypes are of unit length before every batch, and stay where they are for the first ``freeze_steps``. With a queue,
each large view is assigned together with those of earlier batches; one queue stands for all processes, each of which
scores its part. Assignments are made among the images of all processes.

Source: Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", arXiv 2006.09882;
facebookresearch/swav@06b1b7c. Letters: B images, V views, D width, K prototypes, L length of the queue.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.tasks.contrastive.encoding import features_of_views
from snnkit.tasks.contrastive.from_views import FromViews, above_zero, multiple, whole
from snnkit.tasks.contrastive.heads import projection
from snnkit.tasks.contrastive.losses import at_least_single, swapped_loss, uncast
from snnkit.tasks.contrastive.processes import gathered, rank_and_world
from snnkit.tasks.contrastive.sinkhorn import SINKHORN
from snnkit.tasks.firing import listening
from snnkit.tasks.task import Plan

_ASSIGNED = 2
_LARGEST_EXPONENT = 88.0  # of e in float32


class SwAV(FromViews):
    """Train an encoder by swapped assignments.

    Args:
        model: the encoder.
        num_classes: not asked.
        dim: D.
        hidden: width of the head's hidden layer; 0 for a linear head.
        head_norm: whether batch norm follows that layer, as published; then two processes are not one (statistics).
        prototypes: K.
        temperature: τ.
        epsilon: ε of the assignments.
        iterations: of Sinkhorn.
        sinkhorn: "log", or "published" arithmetic.
        queue: L, of all processes together; 0 = none.
        queue_from: epoch, counted from 0, that begins to fill it; it is used once full.
        freeze_steps: steps that leave the prototypes where they are.

    Raises:
        InvalidArgumentError, UnknownNameError: a model without features, or an option outside its range.
    """

    name: ClassVar[str] = "swav"
    queue: Tensor
    filled: Tensor

    def __init__(
        self,
        model: nn.Module,
        num_classes: int = 0,
        dim: int = 128,
        hidden: int = 2048,
        head_norm: bool = True,
        prototypes: int = 3000,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        sinkhorn: str = "log",
        queue: int = 0,
        queue_from: int = 15,
        freeze_steps: int = 313,
    ):
        super().__init__(model, ("assignment_entropy", "assignment_information"))
        for key, number, low in (("dim", dim, 1), ("hidden", hidden, 0), ("prototypes", prototypes, 2)):
            whole(key, number, low)
        for key, number, low in (("iterations", iterations, 1), ("queue", queue, 0), ("queue_from", queue_from, 0)):
            whole(key, number, low)
        whole("freeze_steps", freeze_steps, 0)
        above_zero("temperature", temperature)
        above_zero("epsilon", epsilon)
        if sinkhorn not in SINKHORN:
            raise unknown_name("value of task.options.sinkhorn", sinkhorn, SINKHORN)
        if sinkhorn == "published" and 1 / epsilon > _LARGEST_EXPONENT:
            raise InvalidArgumentError(
                f"task.options.epsilon={epsilon}: exp(1 / ε) is beyond float32 in the published arithmetic; take "
                "sinkhorn=log."
            )
        self.temperature, self.epsilon, self.iterations = float(temperature), float(epsilon), iterations
        self.queue_from, self.freeze_steps, self._sinkhorn = queue_from, freeze_steps, SINKHORN[sinkhorn]
        self.head = projection(self.width, hidden, dim, head_norm)
        self.prototypes = nn.Linear(dim, prototypes, bias=False)
        self.register_buffer("queue", torch.zeros(_ASSIGNED, queue, dim))
        self.register_buffer("filled", torch.zeros(1, dtype=torch.int64))

    def begin(self, plan: Plan) -> None:
        """Take note of the training; refuse a queue that its batches do not fill evenly."""
        super().begin(plan)
        multiple("queue", self.queue.shape[1], plan)

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a training batch."""
        views = self.views(batch)
        with torch.no_grad():
            self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))
        found_VBF = features_of_views(self.model, views)
        unit_VBD = F.normalize(at_least_single(self.head(found_VBF)), dim=1)
        return self.swap(unit_VBD, found_VBF, len(views[0]))

    def swap(self, unit_VBD: Tensor, found_VBF: Tensor, images: int) -> Tensor:
        """Return the loss of view-major rows of unit length, of B images; the queue moves on."""
        with uncast(unit_VBD):
            scores_VBK = self.prototypes(unit_VBD)
        assigned = []
        for number in range(_ASSIGNED):
            rows = slice(number * images, (number + 1) * images)
            assigned.append(self._assign(number, scores_VBK[rows].detach()))
        if self._filling:
            for number in range(_ASSIGNED):
                self._enqueue(number, gathered(unit_VBD[number * images : (number + 1) * images]))
            self.filled += images * rank_and_world()[1]
        loss = swapped_loss(scores_VBK, assigned, self.temperature)
        self.note(found_VBF[:images], loss, self._probabilities(scores_VBK[:images]))
        return loss

    @property
    def _filling(self) -> bool:
        return self.queue.shape[1] > 0 and self.epoch >= self.queue_from

    @torch.no_grad()
    def _assign(self, number: int, scores_BK: Tensor) -> Tensor:
        """Return Q (B, K) of a large view, with the queue where that is full."""
        own = scores_BK
        if self._filling and int(self.filled) >= self.queue.shape[1]:
            rank, world = rank_and_world()
            with uncast(scores_BK):
                earlier = self.prototypes(self.queue[number, rank::world].to(scores_BK.dtype))
            own = torch.cat([earlier, scores_BK])
        return self._sinkhorn(own, self.epsilon, self.iterations)[-len(scores_BK) :]

    @torch.no_grad()
    def _enqueue(self, number: int, rows_ND: Tensor) -> None:
        """Put the rows of all processes in front; the last ones leave."""
        queue = self.queue[number]
        queue.copy_(torch.cat([rows_ND.to(queue.dtype), queue[: len(queue) - len(rows_ND)].clone()]))

    def _probabilities(self, scores_BK: Tensor) -> Tensor:
        return F.softmax(scores_BK.detach().float() / self.temperature, dim=1)

    def late_parameters(self) -> list[nn.Parameter]:
        """Return the prototypes."""
        return list(self.prototypes.parameters())

    def before_step(self) -> None:
        """Leave the prototypes where they are in the first steps."""
        if int(self.steps) < self.freeze_steps:
            self.prototypes.weight.grad = None

    @torch.no_grad()
    def evaluate(self, batch: Any) -> None:
        """Feed loss, assignments, spread of features and firing rate with a test batch, assigned by itself."""
        views = self.views(batch)
        self.keep_pictures(views)
        images = len(views[0])
        with listening(self.metrics.neurons) as rates:
            found_VBF = features_of_views(self.model, views)
        unit_VBD = F.normalize(at_least_single(self.head(found_VBF)), dim=1)
        with uncast(unit_VBD):
            scores_VBK = F.linear(unit_VBD, F.normalize(self.prototypes.weight, dim=1))
        assigned = [
            self._sinkhorn(scores_VBK[n * images : (n + 1) * images], self.epsilon, self.iterations, together=False)
            for n in range(_ASSIGNED)
        ]
        loss = swapped_loss(scores_VBK, assigned, self.temperature)
        self.tell(found_VBF[:images], loss, rates, self._probabilities(scores_VBK[:images]))
