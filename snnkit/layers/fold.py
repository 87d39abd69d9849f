"""Layers without memory, applied to sequences: fold time into the batch, apply, unfold."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def over_time(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Apply ``layer`` ((N, …) → (N, …)) to a sequence (T, B, …) with N = T·B; returns (T, B, …)."""
    timesteps, batch = x.shape[:2]
    y = layer(x.flatten(0, 1))
    return y.unflatten(0, (timesteps, batch))
