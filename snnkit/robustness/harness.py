"""How many images a classifier gets wrong when they are corrupted, kind by kind, and against another's errors.

    E(s, c)                        error on images of corruption c, severity s; E of them as they are
    CE(c) = Σ_s E(s, c) / Σ_s B(s, c)                          B: errors of a baseline; mCE is the mean over c
    relative CE(c) = Σ_s (E(s, c) − E) / Σ_s (B(s, c) − B)     how much is lost; its mean over c likewise

Without a baseline there is no mCE, and the mean of all E(s, c) is called what it is, the mean corruption error without
a baseline. Source: Hendrycks & Dietterich, arXiv 1903.12261, section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from snnkit.data.batches import OrderedBatches
from snnkit.data.loaders import ArrayImages
from snnkit.errors import CorruptFileError, InvalidArgumentError, NonFiniteError
from snnkit.files import read_json, write_json
from snnkit.robustness.corrupted import corrupted
from snnkit.robustness.corruptions import CORRUPTIONS, SEVERITIES, checked

FILE = "robustness.json"

Predict = Callable[[Tensor], Tensor]
"""Images as the test set's transform gives them (B, C, H, W) → logits (B, K), or anything that grows with them."""

Watch = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Given batches, a title and how many there are: yields them while something shows how far it is."""


def unwatched(items: Iterable[Any], title: str, count: int) -> Iterable[Any]:
    """Show nothing."""
    del title, count
    return items


@dataclass(frozen=True)
class Score:
    """Error, the share of images that were put into a wrong class, and of how many images."""

    error: float
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"error": self.error, "images": self.images}


@dataclass
class Result:
    """What was found.

    Attributes:
        clean: of the images as they are.
        scores: by corruption and severity.
        seed: of the corruptions.
        about: what was tested, for the record: network, data, notes.
        baseline: the result that mCE is relative to; None without.
        folders: results of natural test sets by name, plain data (``folders``).
    """

    clean: Score
    scores: dict[str, dict[int, Score]]
    seed: int
    about: dict[str, Any] = field(default_factory=dict)
    baseline: Result | None = None
    folders: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def severities(self) -> tuple[int, ...]:
        """Of every corruption."""
        return tuple(next(iter(self.scores.values()), {}))

    def mean_error(self, name: str) -> float:
        """Return the mean of a corruption's errors over its severities."""
        return math.fsum(score.error for score in self.scores[name].values()) / len(self.scores[name])

    def mean_corruption_error(self) -> float | None:
        """Return the mean error over corruptions and severities, of no baseline; None where nothing was corrupted."""
        return _mean([self.mean_error(name) for name in self.scores])

    def ce(self, name: str) -> float | None:
        """Return CE(c); None without a baseline, or where that makes no errors."""
        return self._ratio(name, lambda result: 0.0)

    def relative_ce(self, name: str) -> float | None:
        """Return relative CE(c); None without a baseline, or where that loses nothing."""
        return self._ratio(name, lambda result: result.clean.error)

    def mce(self) -> float | None:
        """Return the mean of CE(c); None where one of them is not defined."""
        return _mean([self.ce(name) for name in self.scores])

    def relative_mce(self) -> float | None:
        """Return the mean of relative CE(c); None where one of them is not defined."""
        return _mean([self.relative_ce(name) for name in self.scores])

    def undefined(self) -> list[str]:
        """Say why mCE or relative mCE are not defined although there is a baseline."""
        if self.baseline is None or not self.scores:
            return []
        found = []
        for title, of, why in (
            ("mCE", self.ce, "makes no errors"),
            ("relative mCE", self.relative_ce, "makes no more errors than on clean images"),
        ):
            names = [name for name in self.scores if of(name) is None]
            if names:
                shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
                found.append(f"{title} is not defined: the baseline {why} under {shown}.")
        return found

    def _ratio(self, name: str, less: Callable[[Result], float]) -> float | None:
        if self.baseline is None:
            return None
        ours, theirs = (
            math.fsum(result.scores[name][severity].error - less(result) for severity in self.severities)
            for result in (self, self.baseline)
        )
        return ours / theirs if theirs > _NOTHING else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        kinds = {}
        for name, scores in self.scores.items():
            kinds[name] = {
                "group": CORRUPTIONS[name].group if name in CORRUPTIONS else "",
                "severities": {str(severity): score.to_dict() for severity, score in scores.items()},
                "mean_error": self.mean_error(name),
                "ce": self.ce(name),
                "relative_ce": self.relative_ce(name),
            }
        summary: dict[str, Any] = {
            "mean_corruption_error_without_baseline": self.mean_corruption_error(),
            "mce": self.mce(),
            "relative_mce": self.relative_mce(),
            "corruptions": len(self.scores),
            "undefined": self.undefined(),
        }
        clean = {**self.clean.to_dict(), "accuracy": 1 - self.clean.error}
        made = {**self.about, "seed": self.seed, "clean": clean, "corruptions": kinds, "summary": summary}
        if self.baseline is not None:
            made["baseline"] = self.baseline.about
        return {**made, "folders": self.folders}

    def save(self, path: str | Path) -> None:
        """Write the result.

        Raises:
            DiskError: the file could not be written.
        """
        write_json(path, self.to_dict())

    @classmethod
    def from_dict(cls, found: Any, called: str = "the baseline") -> Result:
        """Return the result that ``to_dict`` made plain data of, without its own baseline and folders.

        Raises:
            CorruptFileError: it is none; ``called`` says which.
        """
        try:
            scores = {
                str(name): {int(severity): _score(one) for severity, one in kind["severities"].items()}
                for name, kind in found["corruptions"].items()
            }
            about = {key: found[key] for key in ("network", "data") if key in found}
            return cls(_score(found["clean"]), scores, int(found["seed"]), {**about, "file": called})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CorruptFileError(
                f"{called} is no result of `snnkit robustness` ({type(error).__name__}: {error})."
            ) from None


_NOTHING = 1e-9  # sums of errors below are none


def load(path: str | Path) -> Result:
    """Return the result in a file.

    Raises:
        CorruptFileError: the file is missing, or is none.
    """
    return Result.from_dict(read_json(path), str(path))


def robustness(
    predict: Predict,
    images: Any,
    labels: Any = None,
    *,
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    baseline: Result | Mapping[str, Any] | None = None,
    batch_size: int = 100,
    workers: int = 0,
    views: int = 1,
    watch: Watch = unwatched,
) -> Result:
    """Test a classifier on images as they are and corrupted.

    Args:
        predict: the classifier.
        images: a data set (see ``corrupted``), whose samples begin with an image and end with a label, or uint8
            (N, H, W) or (N, C, H, W), which the classifier gets as float32 on the scale 0…1.
        labels: (N,), where ``images`` is no data set. Samples with a label below 0 have no class and do not count.
        corruptions: names in ``CORRUPTIONS``; none tests the images as they are.
        severities: of 1…5.
        seed: of the corruptions.
        baseline: errors that mCE is relative to: a result, or what ``Result.to_dict`` made of one.
        batch_size, workers, views: as for ``OrderedBatches``.
        watch: see ``Watch``.

    Raises:
        UnknownNameError: no such corruption.
        InvalidArgumentError: another severity, nothing to test, or a baseline without what is to be compared.
        CorruptFileError: an image cannot be read.
        NonFiniteError: the classifier gives NaN.
    """
    names, levels = _asked(corruptions, severities)
    if baseline is not None and not isinstance(baseline, Result):
        baseline = Result.from_dict(baseline)
    if baseline is not None:
        check_baseline(baseline, names, levels)
    dataset = images if labels is None else _arrays(images, labels)

    def tested(data: Any, title: str) -> Score:
        batches = OrderedBatches(data, batch_size, default_collate, workers, views)
        right, count = 0, 0
        for logits, truth in predictions(predict, watch(batches, title, len(batches))):
            right, count = right + int((logits.argmax(1) == truth).sum()), count + len(truth)
        if not count:
            raise InvalidArgumentError("no images with labels to test on.")
        return Score(1 - right / count, count)

    clean = tested(dataset, "clean")
    scores = {
        name: {level: tested(corrupted(dataset, name, level, seed), f"{name} {level}") for level in levels}
        for name in names
    }
    return Result(clean, scores, seed, baseline=baseline)


def _asked(corruptions: Sequence[str], severities: Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return each name and severity once, when all of them exist."""
    names, levels = tuple(dict.fromkeys(corruptions)), tuple(dict.fromkeys(severities))
    for name in names:
        for level in levels:
            checked(name, level)
    if names and not levels:
        raise InvalidArgumentError("no severities: give some of 1, 2, 3, 4, 5.")
    return names, levels


def check_baseline(baseline: Result, names: Sequence[str], severities: Sequence[int]) -> None:
    """Raise InvalidArgumentError where a baseline lacks what is to be compared; names the first."""
    called = baseline.about.get("file", "the baseline")
    for name in names:
        for severity in severities:
            if severity not in baseline.scores.get(name, {}):
                raise InvalidArgumentError(
                    f"{called} has no error for {name}, severity {severity}; it has "
                    f"{', '.join(baseline.scores) or 'no corruption'} at {', '.join(map(str, baseline.severities))}. "
                    "Compute it anew, or ask for those (--corruptions, --severities)."
                )


def predictions(predict: Predict, batches: Iterable[Any]) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield logits (B, K) on the CPU and labels (B,) of batches; of several views, mean log probabilities.

    Raises:
        NonFiniteError: the classifier gives NaN.
    """
    for batch in batches:
        images, truth = batch[0], torch.as_tensor(batch[-1]).cpu()
        with torch.no_grad():
            logits = predict(images).float().cpu()
        if torch.isnan(logits).any():
            raise NonFiniteError("the classifier gives NaN; look at its weights and its precision.")
        if len(logits) > len(truth):
            logits = logits.log_softmax(1).unflatten(0, (len(truth), -1)).logsumexp(1)
        known = truth >= 0
        yield logits[known], truth[known]


def _arrays(images: Any, labels: Any) -> ArrayImages:
    values, truth = np.asarray(images), np.asarray(labels)
    if values.dtype != np.uint8 or values.ndim not in (3, 4) or truth.shape != values.shape[:1]:
        raise InvalidArgumentError(
            f"images {values.dtype} {values.shape} with labels {truth.shape}: give uint8 (N, H, W) or (N, C, H, W) and "
            "a label of each."
        )
    return ArrayImages(values, truth, _to_unit)


def _to_unit(image: Tensor) -> Tensor:
    return image.float() / 255


def _score(found: Any) -> Score:
    error, images = float(found["error"]), int(found["images"])
    if not 0 <= error <= 1 or images < 1:
        raise ValueError(f"an error of {error:g} on {images} images")
    return Score(error, images)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None
