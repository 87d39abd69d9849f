"""Decisions: what a network says of a sample, or of every pixel of it, beside what is true.

Letters: B samples, K classes, h and w places of a coarse map, H and W pixels.
"""

from __future__ import annotations

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


def compact(classes: Tensor) -> Tensor:
    """Return decisions in two bytes each, for those that are kept for every step."""
    return classes.to(torch.int16)
