"""Weighted phase encoding: the binary digits of a value, the most significant first, repeated every K steps.

    s[t] = digit k + 1 of x after the binary point,   k = t mod K,   weight of a spike w[t] = 2^−(1+k)
    Σ w[t]·s[t] over one period = ⌊x·2^K⌋ / 2^K,   at most 1 − 2^−K

| symbol | unit | default |
|---|---|---|
| x | dimensionless, in [0, 1]; 1 is sent as 1 − 2^−K | |
| K ``phases`` | time steps of a period, 1 … 52 | 8 |
| P ``periods`` | number of periods; T = P·K | 1 |

Source: Kim et al., "Deep neural networks with weighted spikes", Neurocomputing 311 (2018); SpikingJelly 2.0
``encoding.WeightedPhaseEncoder``, which takes x ≤ 1 − 2^−K only and sends spikes without their weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.encoders.checks import unit_interval, whole
from snnkit.errors import InvalidArgumentError


class Phase(nn.Module):
    """Binary digits as spikes: (B, …) in [0, 1] → (P·K, B, …). No gradient.

    Args:
        phases: K, digits of the code, 1 … 52.
        periods: P ≥ 1, how often the digits are sent.
        weighted: send w[t]·s[t] (powers of two) instead of s[t] in {0, 1}.

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    static = False

    def __init__(self, phases: int = 8, periods: int = 1, weighted: bool = False):
        super().__init__()
        self.phases, self.periods = whole(self, "phases", phases), whole(self, "periods", periods)
        if self.phases > 52:
            raise InvalidArgumentError(f"Phase(phases={phases}): at most 52, the digits of a float64.")
        self.weighted = bool(weighted)
        self.timesteps = self.phases * self.periods

    @property
    def weights(self) -> Tensor:
        """Weight of a spike at each step, float64 (T,): 2^−(1 + t mod K)."""
        return torch.pow(2.0, -1.0 - torch.arange(self.phases, dtype=torch.float64)).repeat(self.periods)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) in [0, 1] → (T, B, …) of the same dtype.

        Raises:
            InvalidArgumentError: a value outside [0, 1], or not floating-point.
        """
        unit_interval(self, x)
        # Multiplying by a power of two is exact in float64, so the digits are those of the value itself.
        levels = (x.detach().double() * 2.0**self.phases).long().clamp_(max=2**self.phases - 1)
        shifts = torch.arange(self.phases - 1, -1, -1, device=x.device).view(-1, *[1] * x.ndim)
        digits = ((levels.unsqueeze(0) >> shifts) & 1).to(x.dtype).repeat(self.periods, *[1] * x.ndim)
        if not self.weighted:
            return digits
        return digits * self.weights.to(x).view(-1, *[1] * x.ndim)

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        return f"phases={self.phases}, periods={self.periods}, weighted={self.weighted}"
