"""Units of events, and counts of them that autograd can follow.

An event of level k is k units, a power of two is one (it is one shift and one accumulate). As functions of what was
sent, x = scale · level:

    units(x)    = |x| / scale         gradient sign(x) / scale; 1 / scale at 0 where nothing below 0 is sent
    messages(x) = 1 where x ≠ 0       gradient that of min(units, 1): a second level costs no second packet

A power of two is 1 where x ≠ 0, with the gradient of ln |x|, which does not hang on the scale, and 0 at 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snnkit.signals import SignalType


def units(x: Tensor, kind: SignalType) -> Tensor:
    """Return the units of every value of an event signal, shape kept."""
    if kind.kind == "pow2":
        size = x.abs()
        return torch.where(x == 0, torch.zeros_like(x), size / size.detach())
    positive = x.abs() if kind.low < 0 else x
    return positive if kind.scale == 1 else positive / float(kind.scale)


def messages(x: Tensor, kind: SignalType) -> Tensor:
    """Return 1 for every value of an event signal that is not 0, shape kept."""
    return units(x, kind).clamp(max=1.0)


def counted(evaluate: Callable[..., Tensor], *values: Tensor) -> Tensor:
    """Return the scalar ``evaluate(*values)``, a sum that is linear in the units of each value.

    Its gradients are found at once and kept, most of them as one number or one map that repeats. Nothing is saved the
    way autograd does it, so blocks that are computed again in the backward (activation checkpointing) stay as they are.
    """
    if torch.is_grad_enabled() and any(value.requires_grad for value in values):
        total: Tensor = _Counted.apply(evaluate, *values)
        return total
    with torch.no_grad(), torch.autocast(values[0].device.type, enabled=False):
        return evaluate(*values)


class _Counted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, evaluate: Callable[..., Tensor], *values: Tensor) -> Tensor:
        leaves = [value.detach().requires_grad_() for value in values]
        # Hooks of whoever saves activations in his own way are not for these.
        plain = torch.autograd.graph.saved_tensors_hooks(_as_it_is, _as_it_is)
        with torch.enable_grad(), plain, torch.autocast(values[0].device.type, enabled=False):
            total = evaluate(*leaves)
            grads = torch.autograd.grad(total, leaves)
        ctx.grads = [_folded(grad) for grad in grads]
        return total.detach()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, *((small * grad).to(small.dtype).expand(shape) for small, shape in ctx.grads)


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _folded(grad: Tensor) -> tuple[Tensor, torch.Size]:
    """Return the part of a gradient that is repeated along the axes without a stride, and the whole shape."""
    once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in grad.stride())
    return grad[once], grad.shape
