"""Spikes that are drawn: the stochastic counterparts of the step function."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, p: Tensor, generator: torch.Generator | None) -> Tensor:
        return torch.bernoulli(p.clamp(0.0, 1.0), generator=generator)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def sample(p: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return 1 with probability ``p`` (clipped to 0 … 1), else 0; the gradient passes to ``p`` unchanged.

    SpikingJelly ``PoissonPass``. Norse's ``logistic`` is ``sample(sigmoid(2 * k * x))``, its ``circ_dist`` the same
    with ½ + x/(2√(x² + α²)), but for constant factors in their gradients.
    """
    return _Sample.apply(p, generator)
