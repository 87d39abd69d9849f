"""Poisson (rate) encoding: independent spikes whose probability is the value.

    s[t] = 1 with probability p = r·x, else 0            independently for every t and every element
    ∂s[t]/∂x := r                                        the derivative of the expectation E[s] = r·x

| symbol | unit | default |
|---|---|---|
| x | dimensionless, in [0, 1] | |
| r ``max_rate`` | spikes per time step at x = 1, in (0, 1] | 1 |
| T ``timesteps`` | time steps | |

Counts over T steps are binomial: mean T·p, variance T·p·(1 − p). x = 0 never fires, and x = 1 at r = 1 always does.
Source: SpikingJelly 2.0 ``encoding.PoissonEncoder``, snnTorch ``spikegen.rate``; the backward pass is that of
SpikingJelly's ``surrogate.poisson_pass``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.encoders.checks import finite, unit_interval, whole
from snnkit.errors import InvalidArgumentError


class Poisson(nn.Module):
    """Independent random spikes with rate proportional to the value: (B, …) in [0, 1] → (T, B, …) in {0, 1}.

    Args:
        timesteps: T ≥ 1.
        max_rate: spikes per time step at x = 1, in (0, 1].
        generator: where the random numbers come from, on the device of the input; torch's global one if None.

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    static = False

    def __init__(self, timesteps: int, max_rate: float = 1.0, generator: torch.Generator | None = None):
        super().__init__()
        self.timesteps = whole(self, "timesteps", timesteps)
        if not 0.0 < finite(self, "max_rate", max_rate) <= 1.0:
            raise InvalidArgumentError(
                f"Poisson(max_rate={max_rate!r}): must be in (0, 1], as a step holds one spike at most."
            )
        self.max_rate = float(max_rate)
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) in [0, 1] → spikes (T, B, …) of the same dtype.

        Raises:
            InvalidArgumentError: a value outside [0, 1], or not floating-point.
        """
        unit_interval(self, x)
        probability = x * self.max_rate
        # Half formats have too few random values: drawing them there would distort small probabilities.
        dtype = torch.float32 if x.dtype.itemsize < 4 else x.dtype
        shape = (self.timesteps, *x.shape)
        drawn = torch.rand(shape, dtype=dtype, device=x.device, generator=self.generator)
        spikes = (drawn < probability.detach()).to(x.dtype)
        return spikes + (probability - probability.detach()) if probability.requires_grad else spikes

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        return f"timesteps={self.timesteps}, max_rate={self.max_rate:g}"
