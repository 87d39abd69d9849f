"""Population encoding: each value is shown to P neurons with Gaussian receptive fields.

    a[d, i] = exp(−½ ((x[d] − μ[d, i]) / σ[d, i])²),   i = 0 … P − 1
    μ[d, i] = low + i·(high − low)/(P − 1),   σ = (high − low) / (1.5 (P − 1))   at the start

The activities a, in [0, 1], go through another encoder: ``Poisson`` (random spikes), ``Regular`` (evenly spaced ones),
``Latency`` (the nearest field fires first) or ``Direct`` (real values).

| symbol | unit | default |
|---|---|---|
| x | any | |
| μ ``mean``, σ ``std`` | that of x | evenly spaced; as above |
| D ``features``, P ``neurons`` | count | |

Source: Bohte, Kok & La Poutré, Neurocomputing 48 (2002), for the fields and their width; Tang et al. (PopSAN), arXiv
2010.09635, and SpikingJelly 2.0 ``encoding.PopSpikeEncoderDeterministic`` (here with ``Regular``),
``PopSpikeEncoderRandom`` (``Poisson``), ``PopEncoder`` (``Direct``) for the trainable form.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.encoders.checks import finite, floating, whole
from snnkit.errors import InvalidArgumentError


class Population(nn.Module):
    """Gaussian receptive fields, then an encoder: (B, …, D) → (T, B, …, D·P), feature by feature.

    ``mean`` and ``std`` are (D, P). The gradient reaches x, and the fields where they are trainable, through encoders
    that have one (``Direct``, ``Poisson``, ``Regular``).

    Args:
        encoder: turns activities (B, …, D·P) in [0, 1] into a sequence (T, B, …, D·P).
        features: D ≥ 1, size of the last axis of x.
        neurons: P ≥ 2, receptive fields of each feature.
        low: centre of the first field, in the unit of x.
        high: centre of the last field, above ``low``.
        std: width σ of the fields, > 0; None for the distance between centres divided by 1.5.
        trainable: learn ``mean`` and ``std``.

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    static = False

    def __init__(
        self,
        encoder: nn.Module,
        features: int,
        neurons: int,
        low: float = 0.0,
        high: float = 1.0,
        std: float | None = None,
        trainable: bool = False,
    ):
        super().__init__()
        if not isinstance(encoder, nn.Module) or not hasattr(encoder, "timesteps"):
            raise InvalidArgumentError(
                f"Population(encoder={encoder!r}): must be an encoder of values such as Poisson(timesteps=8)."
            )
        self.encoder, self.timesteps = encoder, encoder.timesteps
        self.features, self.neurons = whole(self, "features", features), whole(self, "neurons", neurons, 2)
        if not finite(self, "low", low) < finite(self, "high", high):
            raise InvalidArgumentError(f"Population(low={low!r}, high={high!r}): must be finite numbers, low < high.")
        std = (high - low) / (1.5 * (self.neurons - 1)) if std is None else finite(self, "std", std, 0.0)
        mean = torch.linspace(low, high, self.neurons).repeat(self.features, 1)
        for name, value in (("mean", mean), ("std", torch.full_like(mean, std))):
            if trainable:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    def activities(self, x: Tensor) -> Tensor:
        """Values (B, …, D) → activities (B, …, D·P) in [0, 1].

        Raises:
            InvalidArgumentError: not floating-point, or the last axis is not D long.
        """
        floating(self, x)
        if x.ndim < 2 or x.shape[-1] != self.features:
            raise InvalidArgumentError(
                f"Population(features={self.features}) takes (B, …, {self.features}), got shape {tuple(x.shape)}."
            )
        distance = (x.unsqueeze(-1) - self.mean.to(x.dtype)) / self.std.to(x.dtype)
        return torch.exp(-0.5 * distance.square()).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …, D) → (T, B, …, D·P) of the same dtype.

        Raises:
            InvalidArgumentError: as ``activities``.
        """
        return self.encoder(self.activities(x))

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"features={self.features}, neurons={self.neurons}"
