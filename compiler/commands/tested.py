"""Test samples of a source, what is true of them, and who judges what is said of them: of classes, boxes, key points.

To add another kind of truth: a class like these, and a line in ``test_samples``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from compiler.decisions import MEASURES, Judge, right
from snnkit.engine.progress import console

if TYPE_CHECKING:
    from compiler.commands.source import Source
    from compiler.program import Equality, Program, Trace


class Samples(Protocol):
    """Test samples with what is true of them."""

    @property
    def x(self) -> Tensor:
        """(B, …), or sequences (T, B, …), as the network takes them, or that part of it which the chip runs."""

    @property
    def judge(self) -> Judge | None:
        """Who judges what is said of them; None for classes."""

    @property
    def measure(self) -> str:
        """What the judge's score is called."""

    @property
    def what(self) -> str:
        """Which part of the network a chip runs; "" for all of it."""

    @property
    def first(self) -> str:
        """The class of the first sample; "" where it has none."""

    def pairs(self, batches: Sequence[Tensor]) -> list[tuple[Tensor, Any]]:
        """Return batches of ``x``, and beside each what is true of it as ``judge`` takes it."""

    def scores(self, program: Program, trace: Trace, equality: Equality) -> dict[str, Any]:
        """Return ``…_accuracy`` of the float and the quantised network and of the chip."""


@dataclass(frozen=True)
class Labelled:
    """Test samples (B, …) with their classes (B,), or those of their pixels (B, H, W), and what these are called."""

    x: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    judge = None
    what = ""

    @property
    def measure(self) -> str:
        """The share of right decisions in words."""
        return MEASURES[self.labels.ndim > 1]

    @property
    def first(self) -> str:
        """The class of the first sample."""
        return self.classes[int(self.labels[0])] if self.labels.ndim == 1 else ""

    def pairs(self, batches: Sequence[Tensor]) -> list[tuple[Tensor, Any]]:
        """Return batches and the labels of each."""
        return list(zip(batches, torch.split(self.labels, [len(part) for part in batches]), strict=True))

    def scores(self, program: Program, trace: Trace, equality: Equality) -> dict[str, Any]:
        """Return shares of right decisions before, between and on the chip."""
        return {
            "float_accuracy": right(equality.float_logits, self.labels),
            "quantised_accuracy": right(equality.quantised_logits, self.labels),
            "chip_accuracy": right(trace.logits, self.labels),
        }


def test_samples(given: Source, count: int) -> Samples:
    """Return ``count`` test samples by what the network was trained to say of them.

    Raises:
        InvalidArgumentError: as ``Source.test_images``, ``test_things`` and ``points.test_crops``.
        CorruptFileError: none can be read.
    """
    from compiler.commands import heads, points

    if given.front is not None:
        return heads.Heads(given.front, *given.test_things(count))
    if given.data.targets == "keypoints":
        console.print(points.NOTE, soft_wrap=False)
        return points.test_crops(given, count)
    return Labelled(*given.test_images(count))
