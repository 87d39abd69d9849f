"""The learning rate of every step, as a function of the step alone: resuming needs nothing but its number."""

from __future__ import annotations

import torch
from timm.scheduler import create_scheduler_v2

from snnkit.engine.config import RunConfig
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.tasks.contrastive.schedules import warmup_cosine

WARMUP_COSINE = "warmup_cosine"
TIMM = ("cosine", "tanh", "step", "multistep", "poly", "constant")


class Schedule:
    """Set the learning rates of an optimizer before each step.

    Args:
        optimizer: with its peak rate; a group's ``lr_scale`` (layer decay) is respected.
        config: ``schedule`` and ``epochs``.
        steps_per_epoch: optimizer steps of an epoch.
        scale: factor on ``warmup_lr`` and ``min_lr``, that of ``optim.lr_per``.

    Raises:
        UnknownNameError: no such schedule (names the nearest).
        InvalidArgumentError: a warm-up or least rate for "onecycle", which has its own.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: RunConfig, steps_per_epoch: int, scale: float = 1.0):
        given = config.schedule
        self._optimizer, self._steps = optimizer, config.epochs * steps_per_epoch
        self._peaks = [(group["lr"], group.get("weight_decay", 0.0)) for group in optimizer.param_groups]
        self._last_decay = given.weight_decay_end
        self._own: tuple[float, float, int] | None = None
        self._torch: torch.optim.lr_scheduler.LRScheduler | None = None
        if given.name == "onecycle":
            for key in ("warmup_epochs", "warmup_lr", "min_lr"):
                if getattr(given, key):
                    raise InvalidArgumentError(
                        f"schedule.{key}={getattr(given, key)}: onecycle rises and falls by rules of its own; leave it "
                        "0, or take another schedule, such as cosine."
                    )
            total = config.epochs * steps_per_epoch
            peaks = [group["lr"] for group in optimizer.param_groups]
            # A β1 or momentum that was asked for is not cycled.
            free = not {"betas", "momentum"} & config.optim.options.keys()
            has_momentum = free and all("betas" in group or "momentum" in group for group in optimizer.param_groups)
            self._torch = torch.optim.lr_scheduler.OneCycleLR(
                optimizer, peaks, total_steps=total, cycle_momentum=has_momentum
            )
            self._torch._get_lr_called_within_step = True  # it is asked for any step here, not for the next one
        elif given.name == WARMUP_COSINE:
            warmup = round(given.warmup_epochs * steps_per_epoch)
            self._own = given.min_lr * scale, given.warmup_lr * scale, warmup
        elif given.name in TIMM:
            self._timm, _ = create_scheduler_v2(
                optimizer,
                given.name,
                num_epochs=config.epochs,
                warmup_epochs=given.warmup_epochs,
                warmup_lr=given.warmup_lr * scale,
                min_lr=given.min_lr * scale,
                decay_epochs=given.decay_epochs,
                decay_rate=given.decay_rate,
                warmup_prefix=False,
                step_on_epochs=False,
                updates_per_epoch=steps_per_epoch,
            )
        else:
            raise unknown_name("schedule", given.name, ["onecycle", WARMUP_COSINE, *TIMM])

    def set(self, step: int) -> None:
        """Set the rates, and where it has an end the weight decay, of optimizer step ``step``, counted from 0."""
        if self._last_decay:
            for group, (_, decay) in zip(self._optimizer.param_groups, self._peaks, strict=True):
                if decay:
                    group["weight_decay"] = warmup_cosine(step, self._steps, decay, self._last_decay)
        if self._own is not None:
            final, first, warmup = self._own
            for group, (peak, _) in zip(self._optimizer.param_groups, self._peaks, strict=True):
                rate = warmup_cosine(step, self._steps, peak, final, warmup, first)
                group["lr"] = rate * group.get("lr_scale", 1.0)
        elif self._torch is not None:
            self._torch.last_epoch = step
            for group, lr in zip(self._optimizer.param_groups, self._torch.get_lr(), strict=True):
                group["lr"] = lr
        else:
            self._timm.step_update(step)

    def rate(self) -> float:
        """Return the largest rate now."""
        return max(float(group["lr"]) for group in self._optimizer.param_groups)
