"""Run something without recording, and again in the backward: there with recording, so that hooks may save memory.

Recomputing as in ``snnkit.layers.recompute``, but what the second run keeps can itself be compressed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from snnkit.layers.recompute import frozen_statistics


def recompute(
    module: nn.Module, run: Callable[..., tuple[Tensor, ...]], *inputs: Tensor, draws: bool = True
) -> tuple[Tensor, ...]:
    """Return ``run(*inputs)``, keeping ``inputs`` only; the backward runs it again.

    Equal to the plain call in outputs, gradients, running statistics and random numbers.

    Args:
        module: whose parameters ``run`` uses; they become inputs too, so that their gradients go the usual way.
        run: called without recording now, with recording later.
        inputs: all tensors that ``run`` depends on, parameters excepted.
        draws: whether it may draw random numbers, which the second run then draws again.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not torch.is_grad_enabled() or not (parameters or any(x.requires_grad for x in inputs)):
        return run(*inputs)
    return _Recompute.apply(run, module, draws, len(inputs), *inputs, *parameters)


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Any, module: nn.Module, draws: bool, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.run, ctx.module, ctx.count = run, module, count
        device = tensors[0].device
        draws = draws and not isinstance(tensors[0], FakeTensor)  # in a simulation there is nothing to draw
        ctx.autocast = (device.type, torch.get_autocast_dtype(device.type), torch.is_autocast_enabled(device.type))
        ctx.device, ctx.random = device, torch.get_rng_state() if draws else None
        ctx.random_there = torch.cuda.get_rng_state(device) if draws and device.type == "cuda" else None
        ctx.save_for_backward(*tensors)
        out = run(*tensors[:count])
        if draws and device.type == "cpu" and (ctx.random.numpy() == torch.get_rng_state().numpy()).all():
            ctx.random = None  # nothing was drawn: five kilobytes less
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[4:]
        given = [t.detach().requires_grad_(need) for t, need in zip(tensors, needed[: ctx.count], strict=False)]
        wanted = [*given, *tensors[ctx.count :]]
        del tensors
        with torch.enable_grad(), torch.autocast(*ctx.autocast), _as_before(ctx), frozen_statistics(ctx.module):
            outputs = ctx.run(*given)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None and o.requires_grad]
        del outputs
        ask = [w for w, need in zip(wanted, needed, strict=True) if need]
        values, weights = [o for o, _ in pairs], [g for _, g in pairs]
        del pairs, grads
        found = torch.autograd.grad(values, ask, weights, allow_unused=True) if values else [None] * len(ask)
        each = iter(found)
        return (None, None, None, None, *(next(each) if need else None for need in needed))


@contextmanager
def _as_before(ctx: Any) -> Iterator[None]:
    """Draw the random numbers of the first run."""
    if ctx.random is None:
        yield
        return
    there = ctx.random_there is not None
    with torch.random.fork_rng([ctx.device] if there else []):
        torch.set_rng_state(ctx.random)
        if there:
            torch.cuda.set_rng_state(ctx.random_there, ctx.device)
        yield
