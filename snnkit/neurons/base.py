"""The interface of every neuron with one membrane, and the checks they share."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator
from snnkit.kernels.charge_fire_reset import scan
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import Surrogate, name_of


class Neuron(nn.Module, ABC):
    """A neuron over whole sequences. A subclass is final: it names its operator, its constants and its step.

    Args:
        surrogate: derivative used in the backward pass.
        kernel: ``"auto"`` or the name of one of the operator's kernels.
    """

    operator: Operator

    def __init__(self, surrogate: Surrogate, kernel: str):
        super().__init__()
        name_of(surrogate)
        self.operator.check_kernel(kernel)
        self.surrogate = surrogate
        self.kernel = kernel

    @abstractmethod
    def constants(self) -> Any:
        """Return the operator's frozen dataclass of constants."""

    @abstractmethod
    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One time step in plain torch: current (B, …), membrane (B, …) → (spike, membrane)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, …) for the current ``x`` (T, B, …), same dtype.

        Raises:
            InvalidArgumentError: ``x`` has no time axis, no time steps, or is not of floating-point type.
        """
        if x.ndim < 2 or x.shape[0] == 0:
            raise InvalidArgumentError(
                f"{type(self).__name__} takes a sequence (T, B, …) with T ≥ 1, got shape {tuple(x.shape)}."
            )
        if not x.is_floating_point():
            raise InvalidArgumentError(f"{type(self).__name__} takes floating-point currents, got {x.dtype}.")
        carry = active_carry()
        v = self.rest(x)
        if carry is None:
            return self.operator(x, v, self.constants(), self.surrogate, self.kernel)[0]
        key, v = carry.start(self, v)
        spikes, v_last = self.operator(x, v, self.constants(), self.surrogate, self.kernel)
        carry.leave(key, v_last)
        return spikes

    def rest(self, x: Tensor) -> Tensor:
        """Return the membrane at rest (B, …) for a sequence ``x`` (T, B, …): v_reset, or 0 with a soft reset."""
        v_reset = self.constants().v_reset
        return torch.full_like(x[0], 0.0 if v_reset is None else v_reset)

    def membranes(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """Return the membrane after each reset (T, B, …), from ``start`` (B, …) or from rest; slow, for looking."""
        return scan(self.step, x, self.rest(x) if start is None else start)[1]


def check_threshold_and_reset(neuron: str, v_threshold: float, v_reset: float | None) -> tuple[float, float | None]:
    """Return both as floats (ints are accepted).

    Raises:
        InvalidArgumentError: the threshold is not positive and finite, or the reset not below it.
    """
    v_threshold = float(v_threshold)
    if not (math.isfinite(v_threshold) and v_threshold > 0):
        raise InvalidArgumentError(f"{neuron}(v_threshold={v_threshold!r}): must be a finite number > 0.")
    if v_reset is None:
        return v_threshold, None
    v_reset = float(v_reset)
    if not v_reset < v_threshold:
        raise InvalidArgumentError(
            f"{neuron}(v_reset={v_reset!r}): must lie below v_threshold={v_threshold!r}, or be None for a soft reset."
        )
    return v_threshold, v_reset
