"""Decisions: what a network says of a sample, or of every pixel of it, beside what is true.

Letters: B samples, K classes, h and w places of a coarse map, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from snnkit.data.dense import IGNORED
from snnkit.errors import InvalidArgumentError

MEASURES = "accuracy", "pixel accuracy"
"""Names of the share of right decisions: of samples, and of pixels."""


def decided(logits: Tensor, truth: Tensor | None = None) -> Tensor:
    """Return the classes (N,) that are decided for, in the order of ``known(truth)``.

    Args:
        logits: (B, K), one decision a sample; or (B, K, h, w), one a place.
        truth: (B,); or (B, H, W), to whose size maps of logits are enlarged first, as segmentation is tested. Pixels
            where it is 255 are nobody's class and left out.

    Raises:
        InvalidArgumentError: maps of logits and one class a sample, or the other way round.
    """
    if truth is not None and logits.ndim != truth.ndim + 1:
        said, asked = ("a sample", "every pixel") if logits.ndim == 2 else ("every place of a map", "a sample")
        raise InvalidArgumentError(
            f"outputs of shape {tuple(logits.shape[1:])} decide for {said}, and the class of {asked} is known: "
            "they cannot be compared."
        )
    if logits.ndim == 2:
        return logits.argmax(1)
    if truth is None:
        return logits.argmax(1).flatten()
    maps = F.interpolate(logits, truth.shape[-2:], mode="bilinear", align_corners=False).argmax(1)
    return maps[truth != IGNORED]


def known(truth: Tensor) -> Tensor:
    """Return the classes (N,) that are known, of samples (B,) or of pixels (B, H, W)."""
    return truth if truth.ndim == 1 else truth[truth != IGNORED]


def right(logits: Tensor, truth: Tensor) -> float:
    """Return the share of right decisions."""
    return float((decided(logits, truth) == known(truth)).double().mean())


class Judge(Protocol):
    """What a network decides, batch by batch, and how good that is."""

    every_step: bool
    """Whether the decisions after every step are wanted, and not only those after a few."""

    def decide(self, outputs: Tensor, x: Tensor, truth: Any) -> Any:
        """Return the decisions of a batch by its outputs (B, …), its inputs and what is true of it."""

    def score(self, said: Sequence[Any], truth: Sequence[Any]) -> float:
        """Return how good the decisions of all batches are, 0 … 1."""

    def agreement(self, said: Sequence[Any], other: Sequence[Any]) -> float:
        """Return how far the decisions of all batches are those of another network, 0 … 1."""


class Classes:
    """The judge of networks that decide for classes, of samples or of pixels: shares of equal decisions."""

    every_step = True

    def decide(self, outputs: Tensor, x: Tensor, truth: Tensor | None) -> Tensor:
        """Return classes (N,) as ``decided`` does, in two bytes each: they are kept for every step."""
        return decided(outputs, truth).to(torch.int16)

    def score(self, said: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
        """Return the share of right decisions."""
        return self.agreement(said, [known(one) for one in truth])

    def agreement(self, said: Sequence[Tensor], other: Sequence[Tensor]) -> float:
        """Return the share of equal decisions."""
        return float((torch.cat(list(said)) == torch.cat(list(other))).double().mean())
