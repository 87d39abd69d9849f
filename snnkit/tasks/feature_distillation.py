"""Feature distillation: the maps of an ordinary teacher, block by block, into the firing rates of a spiking student.

    L = CE(student, y) + w·Σ_pairs mean (R(P(mean_t f_student)) − f_teacher)² + α·τ²·KL(teacher ‖ student)

P is a 1×1 convolution to the teacher's channels; both maps have the smaller of the two resolutions. With ``blur`` a
share of positions of P's output is set to zero and R, two 3×3 convolutions with ReLU between, restores them; without, R
is nothing. Nothing of P and R stays in the student.

Sources: blurred knowledge: Xu et al., BKDSNN, arXiv 2407.09083 (there on the last features only; here on every pair).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.memory_order import channels_innermost
from snnkit.tasks.classification import ClassificationMetrics, channels_last
from snnkit.tasks.distillation import soft_loss
from snnkit.tasks.maps import channels_come_last
from snnkit.tasks.maps import laid_out as _laid_out
from snnkit.tasks.tap import Tap
from snnkit.tasks.task import Task
from snnkit.tasks.teachers import Teachers


class Restoration(nn.Module):
    """Two 3×3 convolutions that fill in what was set to zero: (B, C, H, W) → the same.

    Args:
        channels: C.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the restored map."""
        return self.second(F.relu(self.first(x)))


class FeatureDistillation(Task):
    """Train a spiking classifier on labels and on the feature maps of one ordinary teacher.

    Args:
        model: the student, with ``feature_info``.
        num_classes: K.
        teachers: one teacher, with ``feature_info``: text (see ``teachers``) or a module; one that
            spikes teaches its rates.
        pairs: "student index = teacher index" of the maps of ``feature_info``, such as ("0=1", "2=3"); left empty, maps
            of equal stride are paired.
        weight: w of the maps.
        blur: share of positions set to zero, in [0, 1); 0 = plain matching.
        alpha: weight of the teacher's predictions; 0 = maps only.
        tau: their temperature.
        label_smoothing: of the labels' cross-entropy.

    Raises:
        InvalidArgumentError: several teachers, one without maps, a pair that does not exist, or numbers out of range.
    """

    name: ClassVar[str] = "feature_distillation"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        teachers: str | nn.Module | Sequence[str | nn.Module] = (),
        pairs: str | Sequence[str] = (),
        weight: float = 1.0,
        blur: float = 0.0,
        alpha: float = 0.0,
        tau: float = 1.0,
        label_smoothing: float = 0.0,
    ):
        super().__init__()
        if not 0 <= blur < 1:
            raise InvalidArgumentError(f"task.options.blur={blur}: must be at least 0 and below 1.")
        for key, value in (("weight", weight), ("alpha", alpha)):
            if not value >= 0:
                raise InvalidArgumentError(f"task.options.{key}={value}: must be ≥ 0.")
        if not tau > 0:
            raise InvalidArgumentError(f"task.options.tau={tau}: must be > 0.")
        self.teachers = Teachers(teachers, num_classes)
        if len(self.teachers.models) != 1:
            raise InvalidArgumentError(f"{len(self.teachers.models)} teachers: features are taken from exactly one.")
        self.model = channels_innermost(model)
        self.weight, self.blur, self.alpha, self.tau = float(weight), float(blur), float(alpha), float(tau)
        self.label_smoothing = label_smoothing
        mine, theirs = _maps(model, "the student"), _maps(self.teachers.models[0], "the teacher")
        self._pairs = _pairs([pairs] if isinstance(pairs, str) else list(pairs), mine, theirs)
        self._taps = [(mine[i][0], theirs[j][0]) for i, j in self._pairs]
        self.project = nn.ModuleList([nn.Conv2d(mine[i][1], theirs[j][1], 1) for i, j in self._pairs])
        self.restore = nn.ModuleList([Restoration(theirs[j][1]) for _, j in self._pairs] if blur else [])
        self.metrics = ClassificationMetrics(model, num_classes, "features")

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a training batch."""
        images, labels = batch
        images = channels_last(images)
        with Tap(self.model, [name for name, _ in self._taps]) as mine:
            out = self.model(images)
        logits = out[0] if isinstance(out, tuple) else out
        with Tap(self.teachers.models[0], [name for _, name in self._taps]) as theirs:
            taught = self.teachers.logits(images).mean(0)
        supervised = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        sides = (images.shape[-2], images.shape[-1])
        pairs = [(mine.outputs[own], theirs.outputs[other]) for own, other in self._taps]
        features = torch.stack([self._match(n, own, other, sides) for n, (own, other) in enumerate(pairs)]).sum()
        loss = supervised + self.weight * features
        if self.alpha:
            loss = loss + self.alpha * soft_loss(logits, taught, self.tau)
        self.metrics.update(loss, logits, labels, features=features)
        return loss

    def _match(self, pair: int, mine: Tensor, theirs: Tensor, sides: tuple[int, int]) -> Tensor:
        """Mean squared difference of one pair of maps, a scalar; ``sides`` are the height and width of the images."""
        project = self.project[pair]
        last = channels_come_last(self.model)
        rates = _laid_out(mine.mean(0) if mine.ndim == 5 else mine, project.in_channels, sides, last)
        theirs = theirs.mean(0) if theirs.ndim == 5 else theirs
        taught_last = channels_come_last(self.teachers.models[0])
        theirs = _laid_out(theirs, project.out_channels, sides, taught_last)
        size = tuple(min(a, b) for a, b in zip(rates.shape[-2:], theirs.shape[-2:], strict=True))
        projected = self.project[pair](F.adaptive_avg_pool2d(rates, size))
        if self.blur:
            keep = torch.rand_like(projected[:, :1]) >= self.blur
            projected = self.restore[pair](projected * keep)
        return F.mse_loss(projected, F.adaptive_avg_pool2d(theirs.detach(), size))

    def evaluate(self, batch: tuple[Tensor, Tensor]) -> None:
        """Feed the metrics: cross-entropy with the labels, accuracy, firing rate."""
        self.metrics.test(self.model, *batch)

    def compute(self) -> dict[str, float]:
        """Return loss, accuracy, score, features, and after ``evaluate`` the firing rate."""
        return self.metrics.compute()


def _maps(model: nn.Module, who: str) -> list[tuple[str, int, int]]:
    """(module, channels, stride) of each feature map, of snnkit's models and of timm's."""
    info = getattr(model, "feature_info", None)
    if info is None:
        raise InvalidArgumentError(f"{who}, a {type(model).__name__}, does not list its feature maps (feature_info).")
    if hasattr(info, "module_name"):
        return list(zip(info.module_name(), info.channels(), info.reduction(), strict=True))
    return [(item["module"], item["num_chs"], item["reduction"]) for item in info]


def _pairs(
    given: list[str], mine: list[tuple[str, int, int]], theirs: list[tuple[str, int, int]]
) -> list[tuple[int, int]]:
    if not given:
        last = {stride: index for index, (_, _, stride) in enumerate(theirs)}
        found = [(i, last[stride]) for i, (_, _, stride) in enumerate(mine) if stride in last]
        if not found:
            listed = "; ".join(f"the {who}'s {_listed(maps)}" for who, maps in (("student", mine), ("teacher", theirs)))
            near = min(
                ((i, j) for i in range(len(mine)) for j in range(len(theirs))),
                key=lambda pair: (abs(math.log(mine[pair[0]][2] / theirs[pair[1]][2])), -pair[0], -pair[1]),
            )
            raise InvalidArgumentError(
                f"no map of student and teacher has the same stride: {listed}. Pair some by index, the nearest with "
                f"task.options.pairs={near[0]}={near[1]}."
            )
        return found
    found = []
    for text in given:
        left, sign, right = text.partition("=")
        numbers = (left.strip(), right.strip())
        if not sign or not all(n.isdigit() for n in numbers):
            raise InvalidArgumentError(f"task.options.pairs={text!r}: give 'student=teacher' indices, such as '0=1'.")
        i, j = (int(n) for n in numbers)
        if i >= len(mine) or j >= len(theirs):
            raise InvalidArgumentError(
                f"task.options.pairs={text!r}: the student has {_listed(mine)}; the teacher {_listed(theirs)}."
            )
        found.append((i, j))
    return found


def _listed(maps: list[tuple[str, int, int]]) -> str:
    return ", ".join(f"{index} = {name} (stride {stride})" for index, (name, _, stride) in enumerate(maps))
