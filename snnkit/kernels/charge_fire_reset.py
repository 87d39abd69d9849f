"""Charge, fire, reset: what every point neuron with one membrane has in common.

For each time step t, with membrane v, input x, threshold θ and a charge function that is linear in (v, x):

    h[t] = charge(x[t], v[t-1])                          charge
    s[t] = H(h[t] − θ),  H(0) = 1                        fire
    v[t] = s[t]·v_reset + (1 − s[t])·h[t]                hard reset (v_reset is a number)
    v[t] = h[t] − θ·s[t]                                 soft reset (v_reset is None)

The backward pass is written out. With σ' the surrogate's derivative at h − θ, a = ∂h/∂v, b = ∂h/∂x:

    ∂v/∂h = (1 − s) + (v_reset − h)·σ'   or   1 − θ·σ'   (the σ' term drops out when the reset is detached)
    gh = gs·σ' + gv·∂v/∂h,   gx = b·gh,   gv[t−1] = a·gh

Shapes: x (T, B, …), v (B, …), everything else alike. Equation and order of operations: SpikingJelly 2.0
``activation_based.neuron.BaseNode``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.surrogates import Surrogate, spike

Charge = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Slopes:
    """Derivatives of a linear charge: ``membrane`` = ∂h/∂v, ``input`` = ∂h/∂x."""

    membrane: float
    input: float


def fire_and_reset(
    h: Tensor, v_threshold: float, v_reset: float | None, surrogate: Surrogate, detach_reset: bool
) -> tuple[Tensor, Tensor]:
    """One step after the charge: return (spike, membrane after reset), differentiable by plain autograd."""
    s = spike(h - v_threshold, surrogate)
    r = s.detach() if detach_reset else s
    v = h - v_threshold * r if v_reset is None else v_reset * r + (1.0 - r) * h
    return s, v


def scan(step: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Run ``step`` over time; return spikes (T, B, …) and the membrane after each reset (T, B, …)."""
    spikes, membranes = torch.empty_like(x), torch.empty_like(x)
    for t in range(x.shape[0]):
        s, v = step(x[t], v)
        spikes[t], membranes[t] = s, v
    return spikes, membranes


def forward(
    charge: Charge, x: Tensor, v: Tensor, v_threshold: float, v_reset: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (spikes, last membrane, charged membranes h), each step computed in place where it can be."""
    spikes, charged, v_last = torch.empty_like(x), torch.empty_like(x), torch.empty_like(v)
    for t in range(x.shape[0]):
        h = charge(x[t], v)
        charged[t] = h
        s = torch.ge(h, v_threshold, out=torch.empty_like(h, dtype=torch.bool))
        spikes[t] = s
        v = torch.where(s, h - v_threshold, h) if v_reset is None else torch.where(s, v_reset, h)
    return spikes, v_last.copy_(v), charged


def backward(
    charged: Tensor,
    spikes: Tensor,
    grad_spikes: Tensor,
    grad_v: Tensor,
    slopes: Slopes,
    v_threshold: float,
    v_reset: float | None,
    surrogate: Surrogate,
    detach_reset: bool,
) -> tuple[Tensor, Tensor]:
    """Return (∂L/∂x of shape (T, B, …), ∂L/∂v0 of shape (B, …)) by the equations above."""
    grad_x, grad_v0 = torch.empty_like(charged), torch.empty_like(grad_v)
    for t in range(charged.shape[0] - 1, -1, -1):
        h, s = charged[t], spikes[t]
        slope = surrogate.derivative(h - v_threshold)
        through_reset = torch.ones_like(s) if v_reset is None else 1.0 - s
        if not detach_reset:
            through_reset = through_reset + ((v_reset - h) if v_reset is not None else -v_threshold) * slope
        grad_h = grad_spikes[t] * slope + grad_v * through_reset
        torch.mul(grad_h, slopes.input, out=grad_x[t])
        grad_v = grad_h * slopes.membrane
    return grad_x, grad_v0.copy_(grad_v)
