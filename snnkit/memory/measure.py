"""Measure the memory of a training step: the allocator's own record of what it gave out and got back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.memory.allocations import allocations, highest
from snnkit.memory.simulate import mean_square


def measure(
    model: nn.Module,
    example: Tensor,
    loss: Callable[[Any], Tensor] | None = None,
    gradients: bool = True,
) -> int:
    """Return the most bytes that were alive during one forward and backward, above what was there before.

    Every allocation of torch's allocator counts, the workspace of operators too.

    Args:
        model: is run once; running statistics of batch norm move, parameters do not. Gradients are removed.
        example: the input.
        loss: from the model's output to a number; the mean of squares if not given.
        gradients: whether the parameters' gradients count; if not they are there before.
    """
    loss = loss or mean_square
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.grad = None if gradients else torch.zeros_like(parameter)
    if example.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss(model(example)).backward()
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated() - before
    else:
        peak = highest(allocations(lambda: loss(model(example)).backward()))
    for parameter in parameters:
        parameter.grad = None
    return peak
