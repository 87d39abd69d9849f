"""Containers and step-mode layers under their old names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.importers.clock_driven import functional
from snnkit.importers.clock_driven.base import MemoryModule, StepModule, check_step_mode
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


class SynapseFilter(MemoryModule):
    """Synaptic current that jumps with a spike and decays without one: i − (1 − x)·i/τ + x.

    Args:
        tau: τ > 1, time steps.
        learnable: train w, 1/τ = σ(w).
        step_mode: "s" or "m".
    """

    def __init__(self, tau: float = 100.0, learnable: bool = False, step_mode: str = "s"):
        super().__init__()
        if not tau > 1:
            raise InvalidArgumentError(f"SynapseFilter(tau={tau!r}): must be > 1.")
        self.step_mode, self.learnable = step_mode, learnable
        if learnable:
            self.w = nn.Parameter(torch.as_tensor(-math.log(tau - 1.0)))
        else:
            self.tau = tau
        self.register_memory("out_i", 0.0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        share = self.w.sigmoid() if self.learnable else 1.0 / self.tau
        self.out_i = self.out_i - (1 - x) * self.out_i * share + x
        return self.out_i


class NeuNorm(MemoryModule):
    """Subtract a trace of what all channels sent (arXiv 1809.05793): (B, C, H, W) → (B, C, H, W).

    Args:
        in_channels, height, width: C, H, W.
        k: share of the trace that is left after a step.
        shared_across_channels: one weight for all channels.
        step_mode: "s" or "m".
    """

    def __init__(
        self, in_channels: int, height: int, width: int, k: float = 0.9, shared_across_channels: bool = False,
        step_mode: str = "s",
    ):  # fmt: skip
        super().__init__()
        self.step_mode = step_mode
        self.k0, self.k1 = k, (1.0 - k) / in_channels**2
        self.w = nn.Parameter(torch.empty(1 if shared_across_channels else in_channels, height, width))
        nn.init.kaiming_uniform_(self.w, a=math.sqrt(5))
        self.register_memory("x", 0.0)

    def single_step_forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        self.x = self.k0 * self.x + self.k1 * x.sum(1, keepdim=True)
        return x - self.w * self.x


class ElementWiseRecurrentContainer(MemoryModule):
    """A single-step module whose last output joins its next input: f(output, input).

    Args:
        sub_module: the module.
        element_wise_function: f.
        step_mode: "s" or "m".
    """

    def __init__(self, sub_module: nn.Module, element_wise_function: Callable[..., Tensor], step_mode: str = "s"):
        super().__init__()
        self.step_mode = step_mode
        self.sub_module, self.element_wise_function = sub_module, element_wise_function
        self.register_memory("y", None)

    def single_step_forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        last = torch.zeros_like(x) if self.y is None else self.y
        self.y = self.sub_module(self.element_wise_function(last, x))
        return self.y


class LinearRecurrentContainer(MemoryModule):
    """A single-step module fed by a linear layer ``rc`` of its input and its last output, side by side.

    Args:
        sub_module: the module, (B, in_features) → (B, out_features).
        in_features, out_features: sizes.
        bias: of the linear layer.
        step_mode: "s" or "m".
    """

    def __init__(
        self, sub_module: nn.Module, in_features: int, out_features: int, bias: bool = True, step_mode: str = "s"
    ):
        super().__init__()
        self.step_mode = step_mode
        self.sub_module_out_features = out_features
        self.rc = nn.Linear(in_features + out_features, in_features, bias)
        self.sub_module = sub_module
        self.register_memory("y", None)

    def single_step_forward(self, x: Tensor) -> Tensor:
        """(B, …, in_features) → (B, …, out_features)."""
        last = x.new_zeros(*x.shape[:-1], self.sub_module_out_features) if self.y is None else self.y
        self.y = self.sub_module(self.rc(torch.cat((x, last), -1)))
        return self.y


class Delay(MemoryModule):
    """Return what came ``delay_steps`` calls before, 0 until then."""

    def __init__(self, delay_steps: int, step_mode: str = "s"):
        super().__init__()
        if not isinstance(delay_steps, int) or delay_steps < 0:
            raise InvalidArgumentError(f"Delay(delay_steps={delay_steps!r}): must be a whole number ≥ 0.")
        self.delay_steps, self.step_mode = delay_steps, step_mode
        self.register_memory("queue", [])

    def single_step_forward(self, x: Tensor) -> Tensor:
        """(B, …) → (B, …)."""
        self.queue = [*self.queue, x]
        if len(self.queue) <= self.delay_steps:
            return torch.zeros_like(x)
        first, *self.queue = self.queue
        return first

    def detach(self) -> None:
        """Cut the backward graph at what waits."""
        self.queue = [x.detach() for x in self.queue]

    def __getstate__(self) -> dict[str, Any]:
        """A copy has what waits, without the graph it came from."""
        state = super().__getstate__()
        return {**state, "_memories": {"queue": [x.detach() for x in self.queue]}}


class VotingLayer(nn.Module, StepModule):
    """Mean of neighbouring features: (B, N) → (B, N / voting_size)."""

    def __init__(self, voting_size: int = 10, step_mode: str = "s"):
        super().__init__()
        self.voting_size, self.step_mode = voting_size, step_mode

    def single_step_forward(self, x: Tensor) -> Tensor:
        """(B, N) → (B, N / voting_size)."""
        return nn.functional.avg_pool1d(x.unsqueeze(1), self.voting_size, self.voting_size).squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """The same, of every step in multi-step mode."""
        once = self.single_step_forward
        return once(x) if self.step_mode == "s" else functional.seq_to_ann_forward(x, once)


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

    class Layer(layer, StepModule):  # type: ignore[misc,valid-type]
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
