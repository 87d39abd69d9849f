"""What tasks share that learn from several views of an image: encoders, an eye on collapse, steps counted, records.

    assignment_entropy      H(mean over images of p) / log K               0: all images go to one of K outputs
    assignment_information  (H(mean of p) − mean of H(p)) / log min(K, B)   0: all images go to the same outputs

p are the probabilities of K outputs. To add a task: derive from ``FromViews`` and write ``loss`` and ``evaluate``.
Letters: B images, F features, K outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.models.image_features import width
from snnkit.tasks.classification import channels_last
from snnkit.tasks.contrastive.encoding import check_sizes, encoder, freeze_unread
from snnkit.tasks.pictures import write_rows
from snnkit.tasks.pretraining import Collapse, Pretraining
from snnkit.tasks.task import Plan

PICTURES = "views.png"
_SHOWN, _SAME, _STEPS = 8, 1e-3, 20
_ADVICE = "lower optim.lr, or warm up for longer (schedule.warmup_epochs); of a spiking encoder, see that neurons fire."
_HALF = ("bf16-true", "16-true")


def spread_of_assignments(p_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Return assignment_entropy and assignment_information, scalars in [0, 1]."""
    p = p_BK.detach().float()
    whole = torch.special.entr(p.mean(0)).sum()
    each = torch.special.entr(p).sum(1).mean()
    outputs, images = p.shape[1], len(p)
    return whole / math.log(max(outputs, 2)), (whole - each).clamp(min=0) / math.log(max(min(outputs, images), 2))


class FromViews(Pretraining):
    """An interface: a task that is given views of images.

    Args:
        model: any network with ``forward_features`` and ``forward_head``; it is what a run keeps.
        parts: names of what ``metrics`` is given beside the loss.

    Raises:
        InvalidArgumentError: a model without these.
    """

    takes_views: ClassVar[bool] = True
    least_views: ClassVar[int] = 2
    steps: Tensor

    def __init__(self, model: nn.Module, parts: Sequence[str] = ()):
        super().__init__(encoder(model, self.name), parts)
        self.width = width(model)
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))
        self.plan = Plan(epochs=1, steps_per_epoch=1, batch=1)
        self._untold = ""
        self._seen: list[Tensor] = []
        self._shown: list[Tensor] = []
        self._tested: dict[str, float] = {}

    @property
    def epoch(self) -> int:
        """The epoch that the steps made so far lie before, counted from 0."""
        return int(self.steps) // self.plan.steps_per_epoch

    def begin(self, plan: Plan) -> None:
        """Take note of the training; refuse what it cannot be.

        Raises:
            InvalidArgumentError: no views, sizes that the encoder cannot read, shards, or weights in half precision.
        """
        self.plan = plan
        if len(plan.shapes) < self.least_views:
            raise InvalidArgumentError(
                f"data.views='': task {self.name} learns from views of an image; set data.views=moco_v2, swav or dino."
            )
        if plan.strategy == "fsdp2":
            raise InvalidArgumentError(
                f"runtime.strategy=fsdp2: task {self.name} keeps a whole network beside the trained one; take ddp."
            )
        if plan.precision in _HALF:
            raise InvalidArgumentError(
                f"runtime.precision={plan.precision}: weights of half precision lose the small steps of averages and "
                "queues; take bf16-mixed."
            )
        check_sizes(self.model, plan.shapes)
        freeze_unread(self.model, plan.shapes[0])
        if plan.shapes[0][0] == 1:
            self._untold = (
                "images of one channel: views differ in place, size, brightness, contrast and blur, not in hue, "
                "saturation or colour, which such images lack."
            )

    def views(self, batch: Any) -> list[Tensor]:
        """Return the views (B, C, h, w) of a batch, with or without labels beside them.

        Raises:
            InvalidArgumentError: no views.
        """
        found = batch[0] if isinstance(batch, (tuple, list)) and len(batch) and not _is_view(batch[0]) else batch
        if not isinstance(found, (tuple, list)) or len(found) < self.least_views or not all(map(_is_view, found)):
            raise InvalidArgumentError(
                f"task {self.name} takes {self.least_views} or more views (B, C, H, W) of images; set data.views."
            )
        return [channels_last(view) for view in found]

    def note(self, features_BF: Tensor, loss: Tensor, p_BK: Tensor | None = None, **parts: Tensor) -> None:
        """Tell the metrics of a training batch, and look whether features or assignments have collapsed."""
        self.tell(features_BF, loss, (), p_BK, **parts)
        self.collapse.watch(features_BF.detach(), _ADVICE)
        if p_BK is not None:
            self._watch_assignments(p_BK)

    def tell(
        self, features_BF: Tensor, loss: Tensor, rates: Sequence[Tensor], p_BK: Tensor | None = None, **parts: Tensor
    ) -> None:
        """Tell the metrics of any batch."""
        if p_BK is not None:
            entropy, information = spread_of_assignments(p_BK)
            parts = {**parts, "assignment_entropy": entropy, "assignment_information": information}
        self.metrics.update(loss, features_BF.detach(), rates, **parts)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _watch_assignments(self, p_BK: Tensor) -> None:
        if len(p_BK) < 2:
            return
        low = float(spread_of_assignments(p_BK)[1]) < _SAME
        watched = self.collapse
        watched.assigned_alike = watched.assigned_alike + 1 if low else 0
        if watched.assigned_alike >= _STEPS and not watched.since:
            watched.since = watched.step
        if watched.assigned_alike == _STEPS:
            entropy = float(spread_of_assignments(p_BK)[0])
            self._untold = (
                f"the run has collapsed: for {_STEPS} batches all images were assigned alike (entropy of the mean "
                f"assignment {entropy:.2g} of 1: {'uniform' if entropy > 0.5 else 'one output takes all'}); {_ADVICE}"
            )

    def remarks(self) -> list[str]:
        """Return what is to be told, once."""
        text, self._untold = self._untold, ""
        return [*super().remarks(), *([text] if text else [])]

    def after_step(self) -> None:
        """Count the step."""
        self.steps += 1

    def keep_pictures(self, views: Sequence[Tensor]) -> None:
        """Keep the large views of the first test images for the record."""
        if not self._seen:
            self._seen = [view[:_SHOWN].detach().float().cpu() for view in views[:2]]

    def compute(self) -> dict[str, float]:
        """Return loss, score (= −loss), parts, spread of features and, of tests, the firing rate."""
        found = super().compute()
        if not self.training:
            self._tested = found
            self._shown, self._seen = self._seen, []  # of the last split alone
        return found

    def keep_records(self, folder: Path, epoch: int) -> None:
        """Write figures into pretraining.json, and views of eight test images into views.png."""
        pictures = {}
        if self._shown:
            write_rows(folder / PICTURES, self._shown)
            pictures = {"pictures": PICTURES}
        self.record(folder, epoch, **self._tested, **pictures)


def _is_view(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim == 4


def whole(key: str, value: float, low: int = 1) -> None:
    """Raise InvalidArgumentError for an option that is below ``low``."""
    if value < low:
        raise InvalidArgumentError(f"task.options.{key}={value}: must be at least {low}.")


def above_zero(key: str, value: float) -> None:
    """Raise InvalidArgumentError for an option that is not above 0."""
    if not value > 0:
        raise InvalidArgumentError(f"task.options.{key}={value}: must be above 0.")


def share(key: str, value: float) -> None:
    """Raise InvalidArgumentError for an option outside of [0, 1)."""
    if not 0 <= value < 1:
        raise InvalidArgumentError(f"task.options.{key}={value}: must be at least 0 and below 1.")


def multiple(key: str, value: int, plan: Plan) -> None:
    """Raise InvalidArgumentError for a queue that batches do not fill evenly; names those that they would."""
    step = plan.batch * plan.processes
    if value % step:
        below, over = value // step * step, (value // step + 1) * step
        fit = f"{below} or {over}" if below else f"{over}"
        raise InvalidArgumentError(
            f"task.options.{key}={value}: must be a multiple of the {step} images that all processes have in a batch "
            f"(data.batch_size={plan.batch} · {plan.processes}); {fit} would do."
        )


__all__ = ["Collapse", "FromViews", "above_zero", "multiple", "share", "spread_of_assignments", "whole"]
