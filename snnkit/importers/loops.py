"""Running modules that were written for one time step over a whole sequence."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snnkit.neurons.carry import within


class OneStep(nn.Module):
    """A module on sequences, called with one step (B, …): for neurons inside a network that loops over time itself."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        return self.module(x.unsqueeze(0)).squeeze(0)


class OverSteps(nn.Module):
    """A network written for one step, on a sequence: (T, B, …) → (T, B, …), from rest at every call.

    Inside of it neurons (``OneStep``) carry their state from step to step, and in a stream from call to call.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Call the module once per step."""
        return over_steps(self.module, x)


class SequentialOverSteps(nn.Sequential):
    """The same for layers in a row, whose state_dict keys stay those of ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        """Call the layers once per step."""
        return over_steps(super().forward, x)


def over_steps(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Return the outputs (T, B, …) of ``run``, called once for each step of ``x`` (T, B, …)."""
    outputs = []
    with within() as carry:
        for x_t in x:
            with carry.active():
                outputs.append(run(x_t))
    return torch.stack(outputs)
