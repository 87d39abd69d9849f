"""Checks that encoders share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError


def whole(module: nn.Module, name: str, value: int, low: int = 1) -> int:
    """Return ``value`` as an int.

    Raises:
        InvalidArgumentError: it is not a whole number ≥ ``low``.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != value or number < low:
        raise InvalidArgumentError(f"{type(module).__name__}({name}={value!r}): must be a whole number ≥ {low}.")
    return number


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
