"""Surrogates whose derivative differs above and below the threshold.

With x the distance of the membrane to the threshold, in the membrane's unit. They cannot serve neurons that fire on
both sides of zero (``require_symmetric``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.surrogates.base import number, positive


@dataclass(frozen=True)
class LeakyKReLU:
    """``ds/dx = leak where x < 0, k where x ≥ 0``. SpikingJelly; snnTorch ``LSO`` (0.1, 1) and ``heaviside`` (0, 1)."""

    name = "leaky_k_relu"
    leak: float = 0.0
    k: float = 1.0

    def __post_init__(self) -> None:
        number(self, "leak", "k")

    def derivative(self, x: Tensor) -> Tensor:
        """Return leak below and k from the threshold on."""
        return torch.where(x >= 0, self.k, self.leak).to(x.dtype)


@dataclass(frozen=True)
class LogTailedReLU:
    """``ds/dx = α where x ≤ 0, 1 where 0 < x ≤ 1, 1/x beyond``. SpikingJelly; Cai et al., CVPR 2017."""

    name = "log_tailed_relu"
    alpha: float = 0.0

    def __post_init__(self) -> None:
        number(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return α, 1 or 1/x."""
        return torch.where(x <= 0, self.alpha, 1.0 / x.clamp_min(1.0)).to(x.dtype)


@dataclass(frozen=True)
class S2NN:
    """``ds/dx = ασ(αx)(1 − σ(αx)) where x < 0, β/(x + 1) where x ≥ 0``; α, β > 0. SpikingJelly; Suetake et al. 2022."""

    name = "s2nn"
    alpha: float = 4.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "alpha", "beta")

    def derivative(self, x: Tensor) -> Tensor:
        """Return the sigmoid's slope below and β/(x + 1) from the threshold on."""
        sigma = torch.sigmoid(self.alpha * x)
        return torch.where(x < 0, self.alpha * sigma * (1.0 - sigma), self.beta / (x.clamp_min(0.0) + 1.0))


@dataclass(frozen=True)
class Triangular:
    """``ds/dx = θ where x < 0, −θ where x ≥ 0``; θ > 0. snnTorch ``triangular``, whose sign turns at the threshold.

    For the bell that is usually called triangular see ``Triangle`` and ``PiecewiseQuadratic``.
    """

    name = "triangular"
    threshold: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "threshold")

    def derivative(self, x: Tensor) -> Tensor:
        """Return θ below and −θ from the threshold on."""
        return torch.where(x >= 0, -self.threshold, self.threshold).to(x.dtype)


@dataclass(frozen=True)
class SpikeRateEscape:
    """``ds/dx = k e^(−β|x − 1|)``: an escape rate, largest one unit above the threshold; β, k > 0. snnTorch."""

    name = "spike_rate_escape"
    beta: float = 1.0
    slope: float = 25.0

    def __post_init__(self) -> None:
        positive(self, "beta", "slope")

    def derivative(self, x: Tensor) -> Tensor:
        """Return k e^(−β|x − 1|)."""
        return self.slope * torch.exp(-self.beta * (x - 1.0).abs())


@dataclass(frozen=True)
class StochasticSpikeOperator:
    """``ds/dx = 1 where x ≥ 0, variance·(U + mean) below``, U uniform in −½ … ½, drawn at every backward. snnTorch."""

    name = "stochastic_spike_operator"
    mean: float = 0.0
    variance: float = 0.2

    def __post_init__(self) -> None:
        number(self, "mean", "variance")

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1 from the threshold on and noise below."""
        noise = (torch.rand_like(x) - 0.5 + self.mean) * self.variance
        return torch.where(x >= 0, torch.ones_like(x), noise)


@dataclass(frozen=True)
class SparseFastSigmoid:
    """``ds/dx = 1/(1 + k|x|)² where x > B, else 0``; slope k > 0. snnTorch ``SFS``; Perez-Nieves and Goodman 2021."""

    name = "sparse_fast_sigmoid"
    slope: float = 25.0
    B: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "slope")
        number(self, "B")

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1/(1 + k|x|)² where x > B, else 0."""
        return (x > self.B).to(x.dtype) / (self.slope * x.abs() + 1.0).square()


@dataclass(frozen=True)
class PeriodicExponential:
    """``ds/dx = scale·e^(−d/width)``, d the distance to the nearest threshold of a neuron that fires several at once.

    Thresholds lie ``period`` apart from x = 0 upwards. sinabs, rockpool.
    """

    name = "periodic_exponential"
    width: float = 0.5
    scale: float = 1.0
    period: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "width", "scale", "period")

    def derivative(self, x: Tensor) -> Tensor:
        """Return scale·e^(−d/width)."""
        above = torch.remainder(x + 0.5 * self.period, self.period) - 0.5 * self.period
        return self.scale * torch.exp(-torch.where(x >= 0, above, x).abs() / self.width)
