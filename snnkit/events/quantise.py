"""Weights as 8-bit integers with one scale per output: w ≈ q · scale, q from −127 to 127, zero stays zero."""

from __future__ import annotations

import torch
from torch import Tensor

from snnkit.errors import NonFiniteError

_LARGEST = 127


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return (q, scale): q int8 in shape and memory format of ``weight`` (N, …), scale (N,) float32.

    The scale is the largest |w| of its output / 127; an output whose weights are all zero gets the scale 1. The error
    is at most half a scale per weight.

    Raises:
        NonFiniteError: a weight is NaN or infinite.
    """
    rows = weight.detach().flatten(1).to(torch.float32)
    if not bool(rows.isfinite().all()):
        raise NonFiniteError("weights with NaN or infinity cannot be quantised to int8.")
    largest = rows.abs().amax(dim=1) if rows.shape[1] else rows.new_zeros(len(rows))
    scale = torch.where(largest > 0, largest / _LARGEST, 1.0)
    q = torch.empty_like(weight, dtype=torch.int8, requires_grad=False)
    return q.copy_((rows / scale.unsqueeze(1)).round().clamp(-_LARGEST, _LARGEST).view(weight.shape)), scale
