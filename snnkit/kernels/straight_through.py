"""Straight-through: values whose gradient is chosen, exactly and without rounding.

Writing ``x + (value − x).detach()`` does the same up to the rounding of two additions, which a spike must not have; and
whether the gradient of ``torch.clamp`` includes its bounds has changed between versions of torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Through(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """Return ``value`` with the gradient of ``x``, both of one shape: ∂/∂x = 1, nothing reaches ``value``."""
    if not (torch.is_grad_enabled() and x.requires_grad):
        return value
    return _Through.apply(x, value.detach())


def clip(x: Tensor, low: float, high: float, ends_pass: bool = True) -> Tensor:
    """Return ``x`` clipped to low … high; gradient 1 within, 0 outside, and at the bounds 1 if ``ends_pass``."""
    within = (x >= low) & (x <= high) if ends_pass else (x > low) & (x < high)
    return torch.where(within, x, x.detach().clamp(low, high))
