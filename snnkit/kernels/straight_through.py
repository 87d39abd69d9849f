"""Straight-through: values whose gradient is chosen, exactly and without rounding.

Writing ``x + (value − x).detach()`` does the same up to the rounding of two additions, which a spike must not have; and
whether the gradient of ``torch.clamp`` includes its bounds has changed between versions of torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from snnkit.surrogates.base import forward_mode


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


class _ThroughForward(_Through):
    """The same with forward-mode differentiation; apart, because Dynamo refuses functions that define it."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: Tensor | None) -> Tensor:
        return tangent.view_as(tangent)


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """Return ``value`` with the gradient of ``x``, both of one shape: ∂/∂x = 1, nothing reaches ``value``."""
    forward = forward_mode()
    if not forward and not (torch.is_grad_enabled() and x.requires_grad):
        return value
    return (_ThroughForward if forward else _Through).apply(x, value.detach())


def clip(x: Tensor, low: float, high: float, ends_pass: bool = True) -> Tensor:
    """Return ``x`` clipped to low … high; gradient 1 within, 0 outside, and at the bounds 1 if ``ends_pass``."""
    within = (x >= low) & (x <= high) if ends_pass else (x > low) & (x < high)
    return torch.where(within, x, x.detach().clamp(low, high))
