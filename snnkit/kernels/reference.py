"""The reference kernel of any dynamics, made from its ``step``: a loop over time, differentiated by plain autograd.

Nothing is kept by the forward but its input: the backward runs the loop again with autograd on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from snnkit.kernels.call import Call, Gradients, Result, state_dtype
from snnkit.surrogates import Surrogate

Step = Callable[[Tensor, tuple[Tensor, ...], Any, Surrogate], tuple[Tensor, tuple[Tensor, ...]]]


def scan(step: Step, x: Tensor, state: tuple[Tensor, ...], p: Any, surrogate: Surrogate) -> tuple[Tensor, tuple]:
    """Run ``step`` over time: (T, B, …) → (outputs (T, B, …), last state); differentiable."""
    outputs = []
    for x_t in x.to(state_dtype(x)):
        out, state = step(x_t, state, p, surrogate)
        outputs.append(out)
    return torch.stack(outputs).to(x.dtype), state


def _autograd_again() -> AbstractContextManager:
    """Let autograd record inside a registered operator, below which the dispatcher has switched it off."""
    included, excluded = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    return torch._C._ForceDispatchKeyGuard(included, excluded - excluded)


class ReferenceKernel:
    """The truth about a dynamics; runs anywhere, saves nothing but ``x``."""

    def __init__(self, step: Step):
        self.step = step

    def supports(self, call: Call) -> tuple[bool, str]:
        """Everything but the approximate save tiers."""
        if call.training and call.save != "exact":
            return False, f"the reference kernel saves exactly, not {call.save!r}."
        return True, ""

    def forward(self, call: Call) -> Result:
        """Run all time steps without recording."""
        with torch.no_grad():
            out, state = scan(self.step, call.x, call.start(), call.p, call.surrogate)
        return Result(out, state if call.keep_state else None)

    def backward(
        self, call: Call, saved: Tensor | None, grad_out: Tensor, grad_state: tuple[Tensor | None, ...]
    ) -> Gradients:
        """Run forward again with autograd on, and differentiate."""
        with _autograd_again(), torch.enable_grad():
            x = call.x.detach().requires_grad_()
            start = tuple(v.detach().requires_grad_() for v in call.start())
            tensors = tuple(getattr(call.p, name).detach().requires_grad_() for name in call.tensors)
            p = replace(call.p, **dict(zip(call.tensors, tensors, strict=True))) if tensors else call.p
            out, state = scan(self.step, x, start, p, call.surrogate)
        pairs = [(out, grad_out), *((v, g) for v, g in zip(state, grad_state, strict=True) if g is not None)]
        pairs = [(v, g) for v, g in pairs if v.requires_grad]
        wanted = (x, *start, *tensors)
        grads = torch.autograd.grad([v for v, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True)
        grads = tuple(torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads, strict=True))
        return Gradients(grads[0], grads[1 : 1 + len(start)], grads[1 + len(start) :])
