"""Encoders under their old names: one step of spikes a call, from ``snnkit.encoders`` where these know the code."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from snnkit import encoders
from snnkit.errors import InvalidArgumentError
from snnkit.importers.clock_driven.base import MemoryModule


class PoissonEncoder(nn.Module):
    """Draw spikes with probability x in [0, 1], anew in each call: (B, …) → (B, …)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return this step's spikes."""
        return torch.rand_like(x).le(x).to(x)


class StatefulEncoder(MemoryModule, ABC):
    """Encode the input of the first call for T steps; each call returns the next step, after the last the first.

    Args:
        T: number of steps.
    """

    def __init__(self, T: int):
        super().__init__()
        self.T = T
        self.register_memory("spike", None)
        self.register_memory("t", 0)

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Return the spikes of all steps, (T, B, …)."""

    def forward(self, x: Tensor | None = None) -> Tensor:
        """Return the spikes of the next step; ``x`` is read in the first call after ``reset`` only."""
        if self.spike is None:
            if x is None:
                raise InvalidArgumentError(f"{type(self).__name__}: the first call after reset needs the values.")
            self.spike = self.encode(x)
        now, self.t = self.t, (self.t + 1) % self.T
        return self.spike[now]


class PeriodicEncoder(StatefulEncoder):
    """Send given spikes (T, …) again and again."""

    def __init__(self, spike: Tensor):
        super().__init__(len(spike))
        self.spike = spike
        self.set_reset_value("spike", spike)

    def encode(self, x: Tensor) -> Tensor:
        """Return new spikes, as they are."""
        return x


class LatencyEncoder(StatefulEncoder):
    """One spike per value, the earlier the larger it is; ``enc_function`` "linear" or "log"."""

    def __init__(self, T: int, enc_function: str = "linear"):
        super().__init__(T)
        if enc_function not in ("linear", "log"):
            raise InvalidArgumentError(f"enc_function={enc_function!r}: must be 'linear' or 'log'.")
        self._encode = encoders.Latency(T, logarithmic=enc_function == "log")

    def encode(self, x: Tensor) -> Tensor:
        """Return (T, B, …) of values (B, …) in [0, 1]."""
        return self._encode(x)


class WeightedPhaseEncoder(StatefulEncoder):
    """The K binary digits of a value, the most significant first."""

    def __init__(self, K: int):
        super().__init__(K)
        self._encode = encoders.Phase(K)

    def encode(self, x: Tensor) -> Tensor:
        """Return (K, B, …) of values (B, …) in [0, 1]."""
        return self._encode(x)
