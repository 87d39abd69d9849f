"""A teacher for tasks beyond classes: a trained network of the same task, whose answers a student learns too.

    L = (1 − α)·L_task + α·KD + w·Σ_pairs mean (P(mean_t f_student) − f_teacher)²

KD compares the two networks' answers to the same images as the task has it (``teacher_loss``); with α = 1 the truth is
not asked. The last sum is over maps of the two backbones that have the same stride; those of spiking networks are
averaged over their steps. P is a 1×1 convolution to the teacher's channels; it is trained, and no part of the student.

The teacher is frozen and in eval mode. It is no module of the task, so that nothing trains, saves or shards it, and
tests do without it.

| symbol | option | default |
|---|---|---|
| α | ``alpha`` | 0.5 |
| τ, of logits | ``temperature`` | 1 |
| w | ``features`` | 0: none |

Sources: Hinton et al., arXiv 1503.02531; maps through a convolution: Romero et al., FitNets, arXiv 1412.6550; pixel by
pixel: Liu et al., arXiv 1903.04197.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanMetric

from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.files import read_json
from snnkit.models.backbones import Backbone
from snnkit.tasks.classification import channels_last
from snnkit.tasks.tap import Tap
from snnkit.tasks.task import Task
from snnkit.tasks.teachers import Teachers, located


class Taught(Task):
    """A task that can have a teacher. To be one, a task writes ``teacher_loss`` and, in ``loss``:

    with self.studying() as seen:
        said = self.model(images)
    return self.taught(loss, batch, said, seen)

    Attributes:
        teaching: what ``learn_from`` made; None without a teacher.
    """

    num_classes: int

    def __init__(self) -> None:
        super().__init__()
        self.teaching: Teaching | None = None

    def learn_from(
        self, teacher: str | nn.Module = "", alpha: float = 0.5, temperature: float = 1.0, features: float = 0.0
    ) -> None:
        """Take a teacher; in a run these are ``task.options`` too.

        Args:
            teacher: a run folder, a file or NAME@weights (see ``teachers``), or a module.
            alpha: weight of its answers against the truth, in [0, 1].
            temperature: of logits, > 0.
            features: weight of its backbone's maps, ≥ 0.

        Raises:
            InvalidArgumentError: a number outside its range, or a teacher that cannot teach this student.
            CorruptFileError: weights that cannot be read.
        """
        if isinstance(teacher, str) and not teacher:
            raise InvalidArgumentError(
                f"task.options.alpha={alpha:g}, temperature={temperature:g}, features={features:g}: there is no "
                f"teacher; give task.options.teacher=RUN, a run of {self.name}."
            )
        self.teaching = Teaching(self, teacher, alpha, temperature, features)

    @abstractmethod
    def teacher_loss(self, batch: Any, said: Any, answer: Any, temperature: float) -> Tensor:
        """Return how far the student's answer is from the teacher's, a scalar that is 0 where they are the same.

        Args:
            batch: of training.
            said: what ``loss`` gave to ``taught``.
            answer: of ``ask``.
            temperature: of logits.
        """

    def ask(self, teacher: nn.Module, batch: Any, seen: Tap) -> Any:
        """Return the teacher's answer to a batch.

        Args:
            teacher: in eval mode; gradients are off.
            batch: of training.
            seen: what the student's ``taps`` read and said.
        """
        images = channels_last(batch[0])
        answer = teacher(images)
        answer = answer[0] if isinstance(answer, tuple) else answer
        if not isinstance(answer, Tensor) or answer.ndim != 4 or answer.shape[1] != self.num_classes:
            shown = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise InvalidArgumentError(
                f"task.options.teacher, a {type(teacher).__name__}, answers images {tuple(images.shape)} with {shown}; "
                f"a teacher of {self.name} here has maps (B, {self.num_classes}, h, w)."
            )
        return answer

    def check_teacher(self, teacher: nn.Module, temperature: float) -> None:
        """Refuse a teacher that cannot teach this student, as far as that can be told before it has seen an image."""

    def taps(self) -> tuple[str, ...]:
        """Return the names of the student's modules that ``ask`` and ``teacher_loss`` want to know of."""
        return ()

    def studying(self) -> Tap:
        """Watch the student inside the block, as far as its teacher wants it."""
        return Tap(self.model, () if self.teaching is None else self.teaching.taps)

    def taught(self, loss: Tensor, batch: Any, said: Any, seen: Tap) -> Tensor:
        """Return the loss with what the teacher says; without a teacher, as it is."""
        return loss if self.teaching is None else self.teaching.mixed(self, loss, batch, said, seen)

    def results(self) -> dict[str, float]:
        """Return the metrics and, after training, ``distillation`` (KD) and ``features``, unweighted."""
        found = super().results()
        return found if self.teaching is None else found | self.teaching.compute()


class Teaching(nn.Module):
    """What ``Taught.learn_from`` keeps: the teacher, out of sight of the module, and P for each pair of maps."""

    def __init__(self, task: Taught, given: str | nn.Module, alpha: float, temperature: float, features: float):
        super().__init__()
        if not 0 <= alpha <= 1:
            raise InvalidArgumentError(f"task.options.alpha={alpha:g}: must be between 0 and 1.")
        if not 0 < temperature < math.inf:
            raise InvalidArgumentError(f"task.options.temperature={temperature:g}: must be a number above 0.")
        if not 0 <= features < math.inf:
            raise InvalidArgumentError(f"task.options.features={features:g}: must be a number ≥ 0.")
        learnt = _task_of(given) if isinstance(given, str) else ""
        if learnt and learnt != task.name:
            raise InvalidArgumentError(f"teacher {given!r} learnt {learnt}; give a run of {task.name}.")
        self._teachers = Teachers(given, task.num_classes)
        self.alpha, self.temperature, self.weight = float(alpha), float(temperature), float(features)
        _same_channels(task.model, self.teacher)
        task.check_teacher(self.teacher, temperature)
        self.pairs: list[tuple[int, int]] = []
        self.project = nn.ModuleList()
        if features:
            mine, theirs = _backbone(task.model, "the student"), _backbone(self.teacher, "the teacher")
            if not any(parameter.requires_grad for parameter in mine.parameters()):
                raise InvalidArgumentError(
                    f"task.options.features={features:g}: the student's backbone is frozen and learns nothing; train "
                    "it (model.sizes.frozen=false), or set features=0."
                )
            self.pairs = _paired(mine, theirs)
            self.project.extend(nn.Conv2d(mine.channels[i], theirs.channels[j], 1) for i, j in self.pairs)
        self.taps = tuple(dict.fromkeys([*task.taps(), *(["backbone"] if features else [])]))
        self.losses = nn.ModuleDict({name: MeanMetric() for name in ("distillation", "features")})

    @property
    def teacher(self) -> nn.Module:
        """The teacher."""
        return self._teachers.models[0]

    def mixed(self, task: Taught, loss: Tensor, batch: Any, said: Any, seen: Tap) -> Tensor:
        """Return the loss L; see the module."""
        teacher = self._teachers.at(self.teacher, batch[0][0])
        if batch[0][0].ndim == 4 and not getattr(getattr(teacher, "backbone", None), "spiking", False):
            raise InvalidArgumentError(
                f"task.options.teacher, a {type(teacher).__name__}, reads still images, and the data are sequences; "
                "give a spiking teacher, or still images."
            )
        with torch.no_grad(), Tap(teacher, ["backbone"] if self.pairs else []) as theirs:
            answer = task.ask(teacher, batch, seen)
        apart = task.teacher_loss(batch, said, answer, self.temperature)
        total = (1 - self.alpha) * loss + self.alpha * apart
        self._note("distillation", apart)
        if self.pairs:
            features = self._features(seen, theirs)
            self._note("features", features)
            total = total + self.weight * features
        return total

    def _features(self, seen: Tap, theirs: Tap) -> Tensor:
        if "backbone" not in seen.outputs or "backbone" not in theirs.outputs:
            raise InvalidArgumentError(
                f"task.options.features={self.weight:g}: one of the two networks runs without its backbone's maps; set "
                "it to 0."
            )
        mine, taught = (_still(tap.outputs["backbone"]) for tap in (seen, theirs))
        each = []
        for project, (i, j) in zip(self.project, self.pairs, strict=True):
            # Maps of one stride may differ by a row that one network drops.
            (height, width), other = mine[i].shape[-2:], taught[j].shape[-2:]
            size = min(height, other[0]), min(width, other[1])
            own = project(F.adaptive_avg_pool2d(mine[i], size))
            each.append(F.mse_loss(own.float(), F.adaptive_avg_pool2d(taught[j], size).float()))
        return torch.stack(each).sum()

    def _note(self, name: str, value: Tensor) -> None:
        metric = self.losses[name]
        assert isinstance(metric, MeanMetric)
        metric.update(value.detach())

    def compute(self) -> dict[str, float]:
        """Return the means since the last call, where there are some, and start anew."""
        metrics = [(name, metric) for name, metric in self.losses.items() if isinstance(metric, MeanMetric)]
        found = {name: float(metric.compute()) for name, metric in metrics if metric.update_called}
        for _, metric in metrics:
            metric.reset()
        return found


def bernoulli_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Return τ²·KL(teacher ‖ student) of logits of yes or no, element by element."""
    student, teacher = student.float() / temperature, teacher.float() / temperature
    yes = F.logsigmoid(teacher) - F.logsigmoid(student)
    no = F.logsigmoid(-teacher) - F.logsigmoid(-student)
    sure = teacher.sigmoid()
    return temperature**2 * (sure * yes + (1 - sure) * no)


def no_temperature(temperature: float, what: str) -> None:
    """Raise InvalidArgumentError unless the temperature is 1."""
    if temperature != 1:
        raise InvalidArgumentError(f"task.options.temperature={temperature:g}: {what} know none; leave it at 1.")


def _still(maps: list[Tensor]) -> list[Tensor]:
    """Maps (B, C, H, W); those of spiking networks are averaged over their steps."""
    return [x.mean(0) if x.ndim == 5 else x for x in maps]


def _task_of(given: str) -> str:
    """The task of the run that a teacher comes from; "" where nothing tells."""
    name, path = located(given)
    saved = path.absolute().parent.parent / "config.json"
    if name or path.absolute().parent.name != "checkpoints" or not saved.exists():
        return ""
    try:
        return str(read_json(saved)["task"]["name"])
    except (KeyError, TypeError):
        raise CorruptFileError(f"{saved} does not say which task was learnt; give the file of weights.") from None


def _same_channels(student: nn.Module, teacher: nn.Module) -> None:
    mine, theirs = (getattr(model, "in_chans", None) for model in (student, teacher))
    if mine is not None and theirs is not None and mine != theirs:
        raise InvalidArgumentError(
            f"task.options.teacher reads images of {theirs} channels, the student of {mine}; give one for these."
        )


def _backbone(model: nn.Module, who: str) -> Backbone:
    found = getattr(model, "backbone", None)
    if not isinstance(found, Backbone):
        raise InvalidArgumentError(
            f"task.options.features: {who}, a {type(model).__name__}, has no backbone whose maps could be compared; "
            "take METHOD:NAME, or set features=0."
        )
    return found


def _paired(mine: Backbone, theirs: Backbone) -> list[tuple[int, int]]:
    """Places of the student's maps and of the teacher's last map of the same stride."""
    last = {stride: place for place, stride in enumerate(theirs.strides)}
    found = [(place, last[stride]) for place, stride in enumerate(mine.strides) if stride in last]
    if not found:
        own, other = (", ".join(map(str, backbone.strides)) for backbone in (mine, theirs))
        raise InvalidArgumentError(
            f"task.options.features: the student's maps have strides {own}, the teacher's {other}; none are alike. "
            "Give another teacher, or set features=0."
        )
    return found
