"""Latency encoding: one spike per value, the earlier the larger the value.

    t(x) = round((T − 1)·(1 − x))                                      linear
    t(x) = round((T − 1) − ln(α·x + 1)),   α = e^(T−1) − 1             logarithmic
    s[t] = 1 at t = t(x), else 0;   no spike at all for x < θ

Both laws send x = 1 at t = 0 and x = 0 at t = T − 1; rounding goes to the nearest step, halves to the even one.

| symbol | unit | default |
|---|---|---|
| x | dimensionless, in [0, 1] | |
| t(x) | time steps, 0 … T − 1 | |
| T ``timesteps`` | time steps | |
| θ ``threshold`` | that of x, in [0, 1] | 0: every value sends its spike |

Source: SpikingJelly 2.0 ``encoding.LatencyEncoder`` (both laws). The linear one with a threshold is snnTorch's
``spikegen.latency(normalize=True, linear=True, clip=True)``. snnTorch's logarithmic law is another one: the charging
time of an RC circuit, divided by the largest of the batch, so that a value's time depends on its neighbours'.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.encoders.checks import finite, unit_interval, whole
from snnkit.errors import InvalidArgumentError


class Latency(nn.Module):
    """Time to first spike: (B, …) in [0, 1] → (T, B, …) in {0, 1} with at most one spike per value. No gradient.

    Args:
        timesteps: T ≥ 1.
        logarithmic: the logarithmic law instead of the linear one; it spreads small values over more steps.
        threshold: values below it stay silent, in [0, 1].

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    static = False

    def __init__(self, timesteps: int, logarithmic: bool = False, threshold: float = 0.0):
        super().__init__()
        self.timesteps = whole(self, "timesteps", timesteps)
        if not 0.0 <= finite(self, "threshold", threshold) <= 1.0:
            raise InvalidArgumentError(f"Latency(threshold={threshold!r}): must be in [0, 1].")
        self.logarithmic, self.threshold = bool(logarithmic), float(threshold)

    def times(self, x: Tensor) -> Tensor:
        """Spike times in steps, int64 (B, …) in 0 … T − 1, of values (B, …) in [0, 1], the threshold left aside."""
        x = x.detach().to(torch.float32 if x.dtype.itemsize < 4 else x.dtype)
        last = self.timesteps - 1.0
        # α·x + 1 = e^(T−1)·x + (1 − x), summed in the logarithm: α itself would overflow at T = 90.
        early = torch.logaddexp(last + torch.log(x), torch.log1p(-x)) if self.logarithmic else None
        time = last * (1.0 - x) if early is None else last - early
        return time.round().long().clamp_(0, self.timesteps - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) in [0, 1] → spikes (T, B, …) of the same dtype.

        Raises:
            InvalidArgumentError: a value outside [0, 1], or not floating-point.
        """
        unit_interval(self, x)
        fires = (x.detach() >= self.threshold).to(x.dtype).unsqueeze(0)
        spikes = torch.zeros(self.timesteps, *x.shape, dtype=x.dtype, device=x.device)
        return spikes.scatter_(0, self.times(x).unsqueeze(0), fires)

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        return f"timesteps={self.timesteps}, logarithmic={self.logarithmic}, threshold={self.threshold:g}"
