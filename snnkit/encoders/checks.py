"""Checks that encoders share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.checks import finite, whole
from snnkit.errors import InvalidArgumentError

__all__ = ["finite", "floating", "unit_interval", "whole"]


def floating(module: nn.Module, x: Tensor) -> None:
    """Raise InvalidArgumentError unless ``x`` is a floating-point batch (B, …)."""
    if not isinstance(x, Tensor) or x.ndim < 1 or not x.is_floating_point():
        given = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise InvalidArgumentError(
            f"{type(module).__name__} takes floating-point values (B, …), got {given}. Convert them, such as x.float()."
        )


def unit_interval(module: nn.Module, x: Tensor) -> None:
    """Raise InvalidArgumentError unless ``x`` is floating-point with all values in [0, 1]; NaN is outside.

    Reads the values, so on a GPU it waits for them; while torch traces there are no values and only the type is looked
    at.
    """
    floating(module, x)
    if torch.compiler.is_compiling() or x.numel() == 0:
        return
    low, high = (float(value) for value in x.detach().aminmax())
    if not (low >= 0.0 and high <= 1.0):
        raise InvalidArgumentError(
            f"{type(module).__name__} takes values in [0, 1], got {low:g} … {high:g}. Scale them first, such as "
            "(x − x.min()) / (x.max() − x.min())."
        )
