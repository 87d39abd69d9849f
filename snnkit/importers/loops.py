"""Running modules that were written for one time step over a whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.neurons.carry import Carry


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

    Inside of it neurons (``OneStep``) carry their state from step to step.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Call the module once per step."""
        carry, outputs = Carry(), []
        for x_t in x:
            with carry.active():
                outputs.append(self.module(x_t))
        return torch.stack(outputs)


class SequentialOverSteps(nn.Sequential):
    """The same for layers in a row, whose state_dict keys stay those of ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        """Call the layers once per step."""
        carry, outputs = Carry(), []
        for x_t in x:
            with carry.active():
                outputs.append(super().forward(x_t))
        return torch.stack(outputs)
