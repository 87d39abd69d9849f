"""The loop: epochs of steps, from wherever the state stands."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from snnkit.checkpoints import save_tensors
from snnkit.data import ImageData
from snnkit.data.mixing import Mixing
from snnkit.engine.checkpoint import TrainState, save_state
from snnkit.engine.config import RunConfig
from snnkit.engine.ema import Ema
from snnkit.engine.fabric import clip_each, same_buffers
from snnkit.engine.guard import DivergedError, Stop, StoppedError, first_non_finite
from snnkit.engine.progress import Live, say
from snnkit.engine.run_folder import append_metrics
from snnkit.engine.schedule import Schedule
from snnkit.errors import DiskError, InvalidArgumentError
from snnkit.optim import build_optimizer, parameter_groups
from snnkit.optim.build import apart
from snnkit.tasks import Task
from snnkit.tasks.task import Plan


@dataclass
class Loop:
    """One training.

    Attributes:
        config: the run's configuration.
        fabric: launched.
        task: what is trained, not yet set up.
        data: its batches, shared out among the processes; ``sizes`` are those of the whole splits: train, test,
            validation.
        model_config: what ``build_model`` needs to make the network again.
    """

    config: RunConfig
    fabric: Fabric
    task: Task
    data: ImageData
    model_config: dict[str, Any]
    sizes: tuple[int, int, int]
    folder: Path = field(init=False)
    state: TrainState = field(init=False)
    steps: dict[str, int] = field(init=False)
    best: dict[str, Any] = field(init=False)
    results: dict[str, Any] = field(init=False)
    _second: tuple[int, Iterator[Any]] | None = field(init=False, default=None)
    _norm: Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        optim, runtime = self.config.optim, self.config.runtime
        if len(self.data.train) < optim.accumulate:
            raise InvalidArgumentError(
                f"optim.accumulate={optim.accumulate}: an epoch has only {len(self.data.train)} batches of "
                f"{self.config.data.batch_size}; accumulate fewer, or make batches smaller."
            )
        if runtime.compile and self.task.energy is not None:
            raise InvalidArgumentError(
                "task.energy with runtime.compile=true: spikes are counted as a network runs function by function, "
                "which a compiled one does not. Leave one of the two out."
            )
        if runtime.compile and getattr(self.task, "teaching", None) is not None:
            raise InvalidArgumentError(
                "task.options.teacher with runtime.compile=true: what is compared is listened to while a network runs "
                "layer by layer, which a compiled one does not. Leave one of the two out."
            )
        if runtime.compile and self.task.in_parts:
            raise InvalidArgumentError(
                f"runtime.compile=true: task {self.task.name} runs a step's batches twice, which is not compiled; set "
                "it to false."
            )
        self._tell_plan()
        if runtime.grad_checkpointing:
            self.task.model.set_grad_checkpointing(True)
        if runtime.selective_checkpointing:
            if not hasattr(self.task.model, "set_selective_checkpointing"):
                raise InvalidArgumentError(
                    "runtime.selective_checkpointing=true: is for image and text towers (basic:NAME); set it to false, "
                    "and runtime.grad_checkpointing=true for blocks."
                )
            self.task.model.set_selective_checkpointing(True)
        self._mix = Mixing(self.config.data, len(self.data.classes), self.data.time_first)
        forward = torch.compile(self.task) if runtime.compile else self.task
        self._module = self.fabric.setup_module(forward, move_to_device=runtime.strategy != "fsdp2")
        aside = ("model", "metrics", "energy")
        others = tuple(child for name, child in self.task.named_children() if name not in aside)
        decay = optim.weight_decay, optim.layer_decay
        groups = parameter_groups(self.task.model, *decay, others, optim.decay_all)
        groups = apart(groups, self.task.late_parameters())
        images = self.config.data.batch_size * optim.accumulate * self.fabric.world_size
        scale = images / optim.lr_per if optim.lr_per else 1.0
        plain = build_optimizer(optim.name, groups, optim.lr * scale, optim.options)
        self._schedule = Schedule(plain, self.config, self.steps_per_epoch, scale)
        self._optimizer = self.fabric.setup_optimizers(plain)
        self._ema = Ema(self.task.model, optim.ema) if optim.ema else None
        self.steps = {"images_per_step": images, "steps_per_epoch": self.steps_per_epoch}
        self.state = TrainState(self.task, plain, self._ema, {"step": 0, "epoch": 1, "batch": 0, **self.steps})
        self.best, self.results = {"epoch": 0, "accuracy": -math.inf, "split": "test"}, {}

    def _tell_plan(self) -> None:
        """Tell the task what is to come.

        Raises:
            InvalidArgumentError: views for a task that sees an image once, two averages, or what the task refuses.
        """
        data, runtime, task = self.config.data, self.config.runtime, self.task
        if data.views and not task.takes_views:
            raise InvalidArgumentError(
                f"data.views={data.views}: task {task.name} sees one view of an image; leave it empty."
            )
        if self.config.optim.ema and task.kept is not task.model:
            raise InvalidArgumentError(
                f"optim.ema={self.config.optim.ema}: task {task.name} keeps an average of its own; set it to 0."
            )
        shapes: tuple[tuple[int, ...], ...] = ()
        if data.views:
            large = self.data.sample_shape
            small = (large[0], data.local_size, data.local_size)
            shapes = (large, large, *[small] * data.local_crops)
        plan = (self.config.epochs, self.steps_per_epoch, data.batch_size, self.fabric.world_size, shapes)
        about = (self.config.optim.accumulate, self.data.classes, self.data.tokens, self.data.prompts, data.repeats)
        task.begin(Plan(*plan, runtime.strategy, runtime.precision, *about))

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; batches that do not fill the last accumulation are dropped."""
        return max(len(self.data.train) // self.config.optim.accumulate, 1)

    def run(self, folder: Path) -> None:
        """Train until the last epoch; ``folder`` is that of the run.

        Raises:
            DivergedError, StoppedError, DiskError: with the state saved before being kept.
        """
        self.folder, progress = folder, self.state.progress
        self.best = self.best | progress.get("best", {})
        total = self.config.epochs * self.steps_per_epoch
        world, accumulate = self.fabric.world_size, self.config.optim.accumulate
        batches = min(self.steps_per_epoch * accumulate, len(self.data.train))
        if batches < len(self.data.train):
            say(
                f"{len(self.data.train) - batches:,} of the {len(self.data.train):,} batches of every epoch do not "
                f"fill a step of {accumulate} and are left out, others in each."
            )
        tensorboard = self._tensorboard()
        with Live(total, progress["step"], quiet=not self.fabric.is_global_zero) as live, Stop().listening() as stop:
            for epoch in range(progress["epoch"], self.config.epochs + 1):
                started, first = time.perf_counter(), progress["batch"]
                self._train_epoch(epoch, live, stop)
                self.results = {"train": self.task.results(), **self._tests()}
                seconds = time.perf_counter() - started
                images = (batches - first) * self.config.data.batch_size * world
                self._finish_epoch(epoch, seconds, images / seconds, tensorboard)
                live.epoch(epoch, self.config.epochs, self.results, images / seconds, self.task.measure)
                if epoch < self.config.epochs and self._any(stop.asked):
                    self._stop()
        if tensorboard is not None:
            tensorboard.close()

    def _train_epoch(self, epoch: int, live: Live, stop: Stop) -> None:
        progress, accumulate = self.state.progress, self.config.optim.accumulate
        self._module.train()
        every = self.config.checkpoint.every_steps
        batches = self.data.train.epoch(epoch, progress["batch"])
        for _ in range(progress["batch"] // accumulate, self.steps_per_epoch):
            self._schedule.set(progress["step"])
            loss = self._step(epoch, batches)
            progress["step"] += 1
            progress["batch"] += accumulate
            images = self.config.data.batch_size * accumulate * self.fabric.world_size
            live.step(epoch, self.config.epochs, loss, images, self._schedule.rate())
            for remark in self.task.remarks():
                live.warn(f"step {progress['step']}: {remark}")
            if self.fabric.is_global_zero:
                line = {"step": progress["step"], "epoch": epoch, "loss": loss, "learning_rate": self._schedule.rate()}
                append_metrics(self.folder, line | self._step_values(), "steps.jsonl")
            if progress["batch"] >= self.steps_per_epoch * accumulate:
                return  # the end of the epoch, which saves
            if self._any(stop.asked):
                self._save()
                self._stop()
            if every and progress["step"] % every == 0:
                self._save()

    def _step_values(self) -> dict[str, float]:
        """What the task writes down of the step; a norm of the gradient is that before it was clipped."""
        values = self.task.step_values()
        if "gradient_norm" in values and self._norm is not None:
            values["gradient_norm"] = float(self._norm)
        return values

    def _stop(self) -> None:
        raise StoppedError(
            f"stopped by a signal after step {self.state.progress['step']}; the state is saved. "
            f"Go on with: snnkit train --resume {self.folder}"
        )

    def _step(self, epoch: int, batches: Iterator[Any]) -> float:
        """One optimizer step over ``accumulate`` batches; returns the mean loss."""
        optim = self.config.optim
        total = 0.0
        incoming = _Incoming(self, epoch, batches)
        for part, batch in enumerate(self.task.parts(incoming, self._module)):
            with self._unsynchronised(part < optim.accumulate - 1):
                loss = self._module(batch)
                value = float(loss.detach())
                if not self._all_finite(value):
                    self._diverged(value, epoch, part, batch)
                self.fabric.backward(loss / optim.accumulate)
            total += value / optim.accumulate
        if optim.clip and optim.clip_each:
            clip_each(self.fabric, self._optimizer, self.task.parameters(), optim.clip)
        elif optim.clip:
            norm = self.fabric.clip_gradients(
                self._module, self._optimizer, max_norm=optim.clip, error_if_nonfinite=False
            )
            self._norm = None if norm is None else _whole(norm)
        self.task.before_step()
        self._optimizer.step()
        self._optimizer.zero_grad()
        self.task.after_step()
        if self._ema is not None:
            self._ema.update()
        return total

    def prepared(self, batch: Any) -> Any:
        """Return a batch from the loader as the task gets it."""
        return self._mix(self.fabric.to_device(batch))

    def reread(self, epoch: int) -> Iterator[Any]:
        """Return the epoch's batches from the step on that is being made, from a loader that is read beside the first.

        It goes on from step to step, so that it is opened once an epoch.
        """
        if self._second is None or self._second[0] != epoch:
            self._second = epoch, self.data.train.epoch(epoch, self.state.progress["batch"])
        return self._second[1]

    def _unsynchronised(self, enabled: bool) -> AbstractContextManager[None]:
        if self.fabric.world_size == 1:
            return nullcontext()
        return self.fabric.no_backward_sync(self._module, enabled=enabled)

    def _all_finite(self, value: float) -> bool:
        return not self._any(not math.isfinite(value))

    def _any(self, here: bool) -> bool:
        """Whether it holds in any process: they must leave the loop together."""
        if self.fabric.world_size == 1:
            return here
        return bool(self.fabric.all_reduce(torch.tensor(float(here)), reduce_op="sum") > 0)

    def _diverged(self, value: float, epoch: int, part: int, batch: Any) -> None:
        progress = self.state.progress
        cause = first_non_finite(self.task, self.task.alone(batch)) if self.fabric.world_size == 1 else "not looked for"
        raise DivergedError(
            f"the loss is {value} at step {progress['step'] + 1} (epoch {epoch}), first in {cause}, on "
            f"{self.data.train.name(epoch, progress['batch'] + part)}; lower optim.lr={self.config.optim.lr:g}, or set "
            f"optim.clip. States before it are in {self.folder / 'checkpoints'}."
        )

    def _tests(self) -> dict[str, dict[str, float]]:
        """Results by split: of the images set aside, where there are any, and of the test images."""
        self._module.eval()
        self._make_alike()
        validation = self.data.validation
        found = {} if validation is None else {"validation": self._test("validation", validation)}
        return found | {"test": self._test("test", self.data.test)}

    def _make_alike(self) -> None:
        """Give every process the first one's running statistics, and their average: each has seen its own images."""
        if self.fabric.world_size > 1:
            same_buffers(self.task.model.buffers())
            if self._ema is not None:
                same_buffers(self._ema.buffers())

    def _test(self, split: str, batches: Iterable[Any]) -> dict[str, float]:
        with self._ema.applied() if self._ema is not None else nullcontext(), torch.no_grad():
            for batch in batches:
                self._module(self.fabric.to_device(batch))
            results = self.task.results()
        if not math.isfinite(results["loss"]):
            raise DivergedError(
                f"the loss on the {split} split is {results['loss']} after step {self.state.progress['step']}, while "
                f"that of training is finite; lower optim.lr={self.config.optim.lr:g}, or set optim.clip. "
                f"Earlier states are in {self.folder / 'checkpoints'}."
            )
        return results

    def _finish_epoch(self, epoch: int, seconds: float, images_per_second: float, tensorboard: Any) -> None:
        progress, test = self.state.progress, self.results["test"]
        line = {"epoch": epoch, "step": progress["step"], **self.results, "learning_rate": self._schedule.rate()}
        line |= {"seconds": round(seconds, 3), "images_per_second": round(images_per_second, 1)}
        line["firing_rate"] = test.get("firing_rate")
        for split, batches in (
            ("training", self.data.train),
            ("validation", self.data.validation),
            ("test", self.data.test),
        ):
            if batches is not None and batches.skipped:
                line["skipped" if split == "training" else f"{split}_skipped"] = len(batches.skipped)
                number, last = len(batches.skipped), batches.skipped[-1]
                Live.warn(f"{number} {split} samples could not be read whole, last: {last}")
        chooses = "validation" if "validation" in self.results else "test"
        score = self.results[chooses]["score"]
        # A run that goes on with other images set aside starts choosing anew.
        better = score > self.best["accuracy"] or chooses != self.best["split"]
        if better:
            self.best = {"epoch": epoch, "accuracy": score, "split": chooses}
        progress.update(epoch=epoch + 1, batch=0, best=self.best, results=self.results)
        if self.fabric.is_global_zero:
            append_metrics(self.folder, line)
            self.task.keep_records(self.folder, epoch)
            if tensorboard is not None:
                for split, values in self.results.items():
                    for name, value in values.items():
                        tensorboard.add_scalar(f"{split}/{name}", value, epoch)
        self._save_network("last", *(("best",) if better else ()))
        self._save()

    def _save(self) -> None:
        """Write the state; a full disk is told and survived, since the states before it are still there."""
        bad = self._not_finite()
        if bad:
            raise DivergedError(
                f"{bad[0]} is no longer finite after step {self.state.progress['step']}; the state was not saved. "
                f"Earlier ones are in {self.folder / 'checkpoints'}; lower optim.lr={self.config.optim.lr:g}, or set "
                "optim.clip."
            )
        self._make_alike()
        try:
            save_state(self.fabric, self.folder / "checkpoints", self.state, self.config.checkpoint.keep)
        except DiskError as error:
            if self.fabric.is_global_zero:
                Live.warn(f"{error} The training goes on; the last state on disk is an older one.")

    def _not_finite(self) -> list[str]:
        """Return the parameters with infinities or no numbers; of shards every process looks at its own."""
        parameters = dict(self.task.named_parameters())
        found = torch.stack([(~torch.isfinite(_own(p.detach()))).any() for p in parameters.values()])
        found = self.fabric.all_reduce(found.int(), reduce_op="sum")
        return [name for name, many in zip(parameters, found.tolist(), strict=True) if many]

    def _save_network(self, *names: str) -> None:
        """Write the network alone (its average where there is one) as safetensors."""
        values = self._ema.average if self._ema is not None else self.task.kept.state_dict()
        whole = {key: _whole(value) for key, value in values.items()}
        if self.fabric.is_global_zero:
            for name in names:
                save_tensors(whole, self.folder / "checkpoints" / f"{name}.safetensors", self.model_config)
        self.fabric.barrier()

    def _tensorboard(self) -> Any:
        if not self.config.tensorboard or not self.fabric.is_global_zero:
            return None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            Live.warn("tensorboard is not installed (pip install 'snnkit[tensorboard]'); metrics.jsonl has everything.")
            return None
        return SummaryWriter(self.folder / "tensorboard")


class _Incoming:
    """The batches of the step that begins: ``tasks.task.StepBatches``."""

    def __init__(self, loop: Loop, epoch: int, batches: Iterator[Any]):
        self.size = loop.config.optim.accumulate
        self._loop, self._epoch, self._batches = loop, epoch, batches

    def __iter__(self) -> Iterator[Any]:
        return (self._loop.prepared(next(self._batches)) for _ in range(self.size))

    def again(self) -> Iterator[Any]:
        batches = self._loop.reread(self._epoch)
        return (self._loop.prepared(next(batches)) for _ in range(self.size))


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def _own(value: Tensor) -> Tensor:
    return value.to_local() if hasattr(value, "to_local") else value
