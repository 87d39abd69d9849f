"""Running modules that were written for one time step over a whole sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from snnkit.importers.memory import Memory, stepping
from snnkit.neurons.carry import active_carry


class OneStep(nn.Module):
    """A module on sequences, called with one step (B, …): for neurons inside a network that loops over time itself."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        return self.module(x.unsqueeze(0)).squeeze(0)

    def reset(self) -> None:
        """Start at rest with the next step, for networks that ask for that in the middle of their forward."""
        carry = active_carry()
        if isinstance(carry, Memory):
            carry.forget(self.module)


class OverSteps(nn.Module):
    """A network written for one step, on a sequence: (T, B, …) → (T, B, …), from rest at every call.

    Inside of it neurons (``OneStep``) carry their state from step to step, and in a stream from call to call.

    Args:
        module: the network.
        kept: foreign modules in it that hold their state themselves.
    """

    def __init__(self, module: nn.Module, kept: Sequence[nn.Module] = ()):
        super().__init__()
        self.module = module
        self.__dict__["kept"] = tuple(kept)  # they are modules of the network already

    def forward(self, x: Tensor) -> Tensor:
        """Call the module once per step."""
        return over_steps(self.module, x, self.kept)


class SequentialOverSteps(nn.Sequential):
    """The same for layers in a row, whose state_dict keys stay those of ``nn.Sequential``."""

    def forward(self, x: Tensor) -> Tensor:
        """Call the layers once per step."""
        return over_steps(super().forward, x)


class HeldDropout(nn.Module):
    """Dropout of one step (B, …) whose mask is drawn in the first step and stays for the sequence.

    Args:
        p: share that is silenced.
        channels: silence whole channels (axis 1).
    """

    def __init__(self, p: float, channels: bool = False):
        super().__init__()
        self.p, self.channels = p, channels

    def forward(self, x: Tensor) -> Tensor:
        """Scale by the mask while training."""
        if not self.training:
            return x
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x.unsqueeze(0))
        draw = nn.functional.dropout2d if self.channels else nn.functional.dropout
        mask = state[0] if state else draw(torch.ones_like(x), self.p)
        if carry is not None:
            carry.leave(key, (mask,))
        return x * mask

    def extra_repr(self) -> str:
        """Show the share."""
        return f"p={self.p}" + (", channels=True" if self.channels else "")


def over_steps(run: Callable[[Tensor], Tensor], x: Tensor, kept: Sequence[nn.Module] = ()) -> Tensor:
    """Return the outputs (T, B, …) of ``run``, called once for each step of ``x`` (T, B, …)."""
    outputs = []
    with stepping(kept) as memory:
        for x_t in x:
            outputs.append(run(x_t))
            memory.steps += 1  # whoever records a step sees where one ends
    return torch.stack(outputs)
