"""Regular (deterministic rate) encoding: evenly spaced spikes whose number is proportional to the value.

An integrate-and-fire neuron with soft reset receives x at every step:

    h[t] = v[t-1] + x,   s[t] = H(h[t] − θ),   v[t] = h[t] − θ·s[t],   v[-1] = 0
    ∂s[t]/∂x := 1                                  the derivative of the mean rate, x/θ, up to 1/θ ≈ 1

| symbol | unit | default |
|---|---|---|
| x | dimensionless, in [0, 1] | |
| θ ``v_threshold`` | that of x, in (0, 1] | 0.999 |
| T ``timesteps`` | time steps | |

The number of spikes is ⌊T·x/θ⌋ for x ≤ θ, and T above. A threshold a little below 1 keeps rounding errors from
swallowing the last spike. Source: SpikingJelly 2.0 ``encoding.PopSpikeEncoderDeterministic`` (the same neuron; its
backward pass also counts the membrane's memory, ∂s[t]/∂x = t + 1), after Tang et al., arXiv 2010.09635.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.encoders.checks import finite, unit_interval, whole
from snnkit.errors import InvalidArgumentError
from snnkit.neurons.carry import Carry
from snnkit.neurons.integrate_fire import IF


class Regular(nn.Module):
    """Evenly spaced spikes at a rate equal to the value: (B, …) in [0, 1] → (T, B, …) in {0, 1}.

    Args:
        timesteps: T ≥ 1.
        v_threshold: θ, in (0, 1].

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    static = False

    def __init__(self, timesteps: int, v_threshold: float = 0.999):
        super().__init__()
        self.timesteps = whole(self, "timesteps", timesteps)
        if not 0.0 < finite(self, "v_threshold", v_threshold) <= 1.0:
            raise InvalidArgumentError(f"Regular(v_threshold={v_threshold!r}): must be in (0, 1].")
        self.v_threshold = float(v_threshold)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) in [0, 1] → spikes (T, B, …) of the same dtype.

        Raises:
            InvalidArgumentError: a value outside [0, 1], or not floating-point.
        """
        unit_interval(self, x)
        spikes = self._trains(x.detach())
        return spikes + (x - x.detach()) if x.requires_grad else spikes

    @torch.compiler.disable
    def _trains(self, x: Tensor) -> Tensor:
        # A carry of its own: the train of one value starts at rest, even where the model runs in a stream.
        with torch.no_grad(), Carry().active():
            return IF(self.v_threshold, v_reset=None)(x.expand(self.timesteps, *x.shape).contiguous())

    def extra_repr(self) -> str:
        """Show the arguments in ``print(model)``."""
        return f"timesteps={self.timesteps}, v_threshold={self.v_threshold:g}"
