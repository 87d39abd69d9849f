"""Burst encoding: a burst at the start of the window; a larger value sends more spikes, closer together.

    N(x) = ⌈N_max·x⌉                                    spikes of the burst
    I(x) = ⌈I_max − (I_max − I_min)·x⌉  where N > 1      steps from one spike to the next
    s[t] = 1 at t = 0, I, 2I, …, (N − 1)·I, else 0

| symbol | unit | default |
|---|---|---|
| x | dimensionless, in [0, 1] | |
| T ``timesteps`` | time steps | |
| N_max ``max_spikes`` | spikes | 5 |
| I_min ``min_interval`` | time steps, ≥ 1 | 2 |
| I_max ``max_interval`` | time steps, ≥ I_min | the longest with which every burst fits in T |

Source: Guo et al., "Neural Coding in Spiking Neural Networks: A Comparative Study for Robust Neuromorphic Systems",
Front. Neurosci. 15 (2021) 638474 (N_max = 5, I_min = 2). There I is a duration in a fixed window; here it is the whole
number of steps between neighbouring spikes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.encoders.checks import unit_interval, whole
from snnkit.errors import InvalidArgumentError


class Burst(nn.Module):
    """Bursts of spikes: (B, …) in [0, 1] → (T, B, …) in {0, 1}. No gradient.

    Args:
        timesteps: T ≥ 1.
        max_spikes: spikes of the burst at x = 1, ≥ 1.
        min_interval: steps between its spikes at x = 1, ≥ 1.
        max_interval: steps between spikes towards x = 0, ≥ ``min_interval``; None for the longest that fits.

    Raises:
        InvalidArgumentError: an argument outside its range, or a burst that would not fit in the window.
    """

    static = False

    def __init__(self, timesteps: int, max_spikes: int = 5, min_interval: int = 2, max_interval: int | None = None):
        super().__init__()
        self.timesteps = whole(self, "timesteps", timesteps)
        self.max_spikes = whole(self, "max_spikes", max_spikes)
        self.min_interval = whole(self, "min_interval", min_interval)
        needed = _longest(self.max_spikes, self.min_interval, self.min_interval)
        if needed > self.timesteps:
            raise InvalidArgumentError(
                f"Burst: {max_spikes} spikes every {min_interval} steps take {needed} steps, timesteps={timesteps}. "
                "Raise timesteps, or lower max_spikes or min_interval."
            )
        if max_interval is None:
            # Longer than the window makes no sense even for two spikes.
            options = range(self.min_interval, max(self.min_interval, self.timesteps) + 1)
            fits = (i for i in options if _longest(self.max_spikes, self.min_interval, i) <= self.timesteps)
            max_interval = max(fits)
        self.max_interval = whole(self, "max_interval", max_interval, self.min_interval)
        needed = _longest(self.max_spikes, self.min_interval, self.max_interval)
        if needed > self.timesteps:
            raise InvalidArgumentError(
                f"Burst(max_interval={max_interval}): the longest burst takes {needed} steps, timesteps={timesteps}. "
                "Raise timesteps, or leave max_interval out."
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) in [0, 1] → spikes (T, B, …) of the same dtype.

        Raises:
            InvalidArgumentError: a value outside [0, 1], or not floating-point.
        """
        unit_interval(self, x)
        values = x.detach().to(torch.float32 if x.dtype.itemsize < 4 else x.dtype)
        spikes = torch.ceil(self.max_spikes * values).long()
        interval = torch.ceil(self.max_interval - (self.max_interval - self.min_interval) * values).long()
        time = torch.arange(self.timesteps, device=x.device).view(-1, *[1] * x.ndim)
        return ((time % interval == 0) & (time // interval < spikes)).to(x.dtype)

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        return (
            f"timesteps={self.timesteps}, max_spikes={self.max_spikes}, min_interval={self.min_interval}, "
            f"max_interval={self.max_interval}"
        )


def _longest(spikes: int, shortest: int, longest: int) -> int:
    """Steps of the longest burst over all values: within one number n of spikes the smallest value is the slowest."""
    # x just above (n − 1)/N sends n spikes; ⌈…⌉ of an interval just below a number is that number where it is whole.
    intervals = (-(-(longest * spikes - (longest - shortest) * (n - 1)) // spikes) for n in range(2, spikes + 1))
    return max(((n - 1) * interval + 1 for n, interval in enumerate(intervals, start=2)), default=1)
