"""Probes of features with all labels or a share of them: accuracy on the test images.

A share is drawn stratified, from a seed: one image of each class first, then of each its share. λ of the linear
probes is chosen on a fifth of the labelled images that is set aside, and the probe is then fitted on all of them; with
fewer than ten labelled images a class on average there is no fifth worth choosing on, and λ is ``FEW_L2``. Test
images choose nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snnkit.data.parts import stratified
from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.probing.features import Features
from snnkit.probing.linear import Problem, check_l2, fit_lbfgs, fit_sgd, minimum
from snnkit.probing.neighbours import TEMPERATURE, K, vote

GRID = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
FEW_L2, _FEW = 1e-2, 10
_ASIDE = 0.2
_ROUGH, _ROUGH_STEPS = 1e-3, 100  # of the fits that only choose λ


@dataclass(frozen=True)
class Settings:
    """How probes are fitted.

    Attributes:
        k, temperature: of the neighbours.
        l2: λ of the linear probes; None = chosen on images set aside.
        seeds: draws of a share of the labels, and orders of SGD; one where nothing is drawn.
    """

    k: int = K
    temperature: float = TEMPERATURE
    l2: float | None = None
    seeds: int = 1

    def check(self) -> None:
        """Raise InvalidArgumentError for a setting out of range."""
        if self.seeds < 1:
            raise InvalidArgumentError(f"seeds={self.seeds}: must be at least 1.")
        if self.l2 is not None:
            check_l2(self.l2)


@dataclass(frozen=True)
class Result:
    """Accuracy of a probe on the test images, one value a seed.

    Attributes:
        method: of ``METHODS``.
        labels: share of the training labels.
        images: that many labelled images.
        accuracies: of the seeds.
        settings: of each seed, what the probe was fitted with.
    """

    method: str
    labels: float
    images: int
    accuracies: tuple[float, ...]
    settings: tuple[dict[str, Any], ...] = field(default=())

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return sum(self.accuracies) / len(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds (of a sample); None of one."""
        if len(self.accuracies) < 2:
            return None
        return math.sqrt(sum((a - self.mean) ** 2 for a in self.accuracies) / (len(self.accuracies) - 1))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**asdict(self), "mean": self.mean, "deviation": self.deviation}


def probe(features: Features, method: str, labels: float = 1.0, settings: Settings | None = None) -> Result:
    """Fit one kind of probe to a share of the labels and test it.

    Args:
        features: of both splits.
        method: "linear" (L-BFGS), "sgd" or "knn".
        labels: share of the training images whose labels are used, above 0 and at most 1.
        settings: how it is fitted.

    Raises:
        UnknownNameError: no such method.
        InvalidArgumentError: a share that leaves a class without an image, fewer images than k, or a setting out of
            range.
    """
    settings = settings or Settings()
    settings.check()
    if method not in METHODS:
        raise unknown_name("probe", method, METHODS)
    count = label_count(features, labels)
    drawn = count < len(features.train) or method == "sgd"
    accuracies, told = [], []
    for seed in range(settings.seeds if drawn else 1):
        chosen = torch.from_numpy(stratified(features.train.y.numpy(), count, seed))
        x, y = features.train.x[chosen], features.train.y[chosen]
        predicted, how = METHODS[method](x, y, features.test.x, len(features.classes), settings, seed)
        accuracies.append(float((predicted == features.test.y).double().mean()))
        told.append({"seed": seed, **how})
    return Result(method, labels, count, tuple(accuracies), tuple(told))


def label_count(features: Features, share: float) -> int:
    """Return how many labelled images a share is.

    Raises:
        InvalidArgumentError: not above 0 and at most 1, or fewer images than there are classes.
    """
    if not 0 < share <= 1:
        raise InvalidArgumentError(f"labels={share}: a share of the training labels, above 0 and at most 1.")
    total, classes = len(features.train), len(features.train.y.unique())
    count = round(share * total)
    if count < classes:
        raise InvalidArgumentError(
            f"labels={share:g}: {count} of {total:,} images, fewer than the {classes} classes; give at least "
            f"{math.ceil(1000 * classes / total) / 1000:g}."
        )
    return count


def chance(features: Features) -> float:
    """Accuracy of naming the most frequent test class for every image."""
    return float(features.test.y.bincount().max()) / len(features.test)


def choose_l2(x: Tensor, y: Tensor, seed: int, grid: Sequence[float] = GRID) -> float:
    """Return the λ of the grid whose probe is best on a fifth of the images, stratified; the largest of equals.

    Args:
        x: features (N, F).
        y: labels (N,).
        seed: which fifth.
        grid: from the largest λ on; each fit begins where the one before ended.
    """
    aside = stratified(y.numpy(), round(_ASIDE * len(y)), seed)
    rest = np.setdiff1d(np.arange(len(y)), aside)
    problem = Problem(x[rest], y[rest])
    flat, best, chosen = problem.start(), -1.0, grid[0]
    for l2 in grid:
        flat, _ = minimum(problem, l2, flat, _ROUGH, _ROUGH_STEPS)
        found = problem.fitted(flat, l2, True).predict(x[aside])
        accuracy = float((found == y[aside]).double().mean())
        if accuracy > best:
            best, chosen = accuracy, l2
    return chosen


def _l2(x: Tensor, y: Tensor, settings: Settings, seed: int) -> float:
    if settings.l2 is not None:
        return settings.l2
    return FEW_L2 if len(y) < _FEW * len(y.unique()) else choose_l2(x, y, seed)


_Fit = Callable[[Tensor, Tensor, Tensor, int, Settings, int], tuple[Tensor, dict[str, Any]]]


def _linear(
    x: Tensor, y: Tensor, test: Tensor, _classes: int, settings: Settings, seed: int
) -> tuple[Tensor, dict[str, Any]]:
    fitted = fit_lbfgs(x, y, _l2(x, y, settings, seed))
    return fitted.predict(test), {"l2": fitted.l2, "loss": fitted.loss, "converged": fitted.converged}


def _sgd(
    x: Tensor, y: Tensor, test: Tensor, _classes: int, settings: Settings, seed: int
) -> tuple[Tensor, dict[str, Any]]:
    fitted = fit_sgd(x, y, _l2(x, y, settings, seed), seed)
    return fitted.predict(test), {"l2": fitted.l2, "loss": fitted.loss}


def _knn(
    x: Tensor, y: Tensor, test: Tensor, classes: int, settings: Settings, _seed: int
) -> tuple[Tensor, dict[str, Any]]:
    votes = vote(x, y, test, classes, settings.k, settings.temperature)
    return votes.argmax(1), {"k": settings.k, "temperature": settings.temperature}


METHODS: dict[str, _Fit] = {"linear": _linear, "sgd": _sgd, "knn": _knn}
