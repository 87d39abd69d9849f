"""Containers and step-mode layers under their old names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from snnkit.importers.clock_driven import functional
from snnkit.importers.clock_driven.base import MemoryModule, check_step_mode
from snnkit.layers import sequence


class SeqToANNContainer(nn.Sequential):
    """Modules without state on a sequence: time is folded into the batch."""

    def forward(self, x_seq: Tensor) -> Tensor:
        """(T, B, …) → (T, B, …)."""
        return functional.seq_to_ann_forward(x_seq, super().forward)


class MultiStepContainer(nn.Sequential):
    """Single-step modules on a sequence, called once per step."""

    def forward(self, x_seq: Tensor) -> Tensor:
        """(T, B, …) → (T, B, …)."""
        return torch.stack([super(MultiStepContainer, self).forward(x_t) for x_t in x_seq])


class _Dropout(MemoryModule):
    """One mask until ``reset``, for single steps; for sequences one mask per call, kept as well."""

    draw = staticmethod(nn.functional.dropout)

    def __init__(self, p: float = 0.5, step_mode: str = "s"):
        super().__init__()
        self.p, self.step_mode = p, check_step_mode(step_mode)
        self.register_memory("mask", None)

    def forward(self, x: Tensor) -> Tensor:
        """Scale by the mask while training."""
        if not self.training:
            return x
        like = x[0] if self.step_mode == "m" else x
        if self.mask is None:
            self.mask = self.draw(torch.ones_like(like), self.p, training=True)
        return x * self.mask


class Dropout(_Dropout):
    """Element-wise dropout."""


class Dropout2d(_Dropout):
    """Dropout of whole channels."""

    draw = staticmethod(nn.functional.dropout2d)


class MultiStepDropout(Dropout):
    """0.0.0.0.12's dropout on sequences."""

    def __init__(self, p: float = 0.5):
        super().__init__(p, step_mode="m")


class MultiStepDropout2d(Dropout2d):
    """0.0.0.0.12's dropout of channels on sequences."""

    def __init__(self, p: float = 0.2):
        super().__init__(p, step_mode="m")


def _stepped(layer: type[nn.Module]) -> type[nn.Module]:
    """Make 0.0.0.0.13's layer: torch's arguments and a step mode."""

    class Layer(layer):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any, step_mode: str = "s", **named: Any):
            super().__init__(*arguments, **named)
            self.step_mode = check_step_mode(step_mode)

        def forward(self, x: Tensor) -> Tensor:
            if self.step_mode == "s":
                return super().forward(x)
            return functional.seq_to_ann_forward(x, super().forward)

    Layer.__name__ = Layer.__qualname__ = layer.__name__
    Layer.__doc__ = f"``torch.nn.{layer.__name__}`` with a ``step_mode``."
    return Layer


for _layer in sequence.SEQUENCE_LAYERS:
    globals()[_layer.__name__] = _stepped(getattr(nn, _layer.__name__))
