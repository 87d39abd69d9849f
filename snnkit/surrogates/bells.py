"""Surrogates whose derivative is symmetric about the threshold: bells and plateaus.

With x the distance of the membrane to the threshold, in the membrane's unit. Where a class is SpikingJelly's, its name,
fields and defaults are those of SpikingJelly 2.0 ``activation_based.surrogate``; others name their source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.surrogates.base import number, positive


@dataclass(frozen=True)
class Sigmoid:
    """``ds/dx = α σ(αx)(1 − σ(αx))``; steepness α > 0."""

    name = "sigmoid"
    alpha: float = 4.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return α σ(αx)(1 − σ(αx))."""
        sigma = torch.sigmoid(self.alpha * x)
        return sigma * (1.0 - sigma) * self.alpha


@dataclass(frozen=True)
class ATan:
    """``ds/dx = (α/2) / (1 + (παx/2)²)``; steepness α > 0."""

    name = "atan"
    alpha: float = 2.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return (α/2) / (1 + (παx/2)²)."""
        return (self.alpha / 2.0) / (1.0 + (x * (math.pi / 2.0 * self.alpha)).square())


@dataclass(frozen=True)
class PiecewiseQuadratic:
    """``ds/dx = max(0, α − α²|x|)``, a triangle of unit area; steepness α > 0."""

    name = "piecewise_quadratic"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return max(0, α − α²|x|)."""
        return (self.alpha - self.alpha**2 * x.abs()).clamp_min(0.0)


@dataclass(frozen=True)
class PiecewiseExp:
    """``ds/dx = (α/2) e^(−α|x|)``; steepness α > 0."""

    name = "piecewise_exp"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return (α/2) e^(−α|x|)."""
        return (self.alpha / 2.0) * torch.exp(-self.alpha * x.abs())


@dataclass(frozen=True)
class SoftSign:
    """``ds/dx = 1 / (2α (1/α + |x|)²)``; steepness α > 0."""

    name = "soft_sign"
    alpha: float = 2.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1 / (2α (1/α + |x|)²)."""
        return 1.0 / (2.0 * self.alpha * (1.0 / self.alpha + x.abs()).square())


@dataclass(frozen=True)
class SuperSpike:
    """``ds/dx = α / (1 + |x|)²``; height α > 0. Norse 1.1 ``super``: α = 1, whatever it was given.

    Zenke and Ganguli 2018 put the steepness inside: ``FastSigmoid``.
    """

    name = "super_spike"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return α / (1 + |x|)²."""
        return self.alpha / (1.0 + x.abs()).square()


@dataclass(frozen=True)
class FastSigmoid:
    """``ds/dx = 1 / (1 + k|x|)²``; slope k > 0. snnTorch ``fast_sigmoid``; Norse documents its ``super`` so."""

    name = "fast_sigmoid"
    slope: float = 25.0

    def __post_init__(self) -> None:
        positive(self, "slope")

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1 / (1 + k|x|)²."""
        return 1.0 / (self.slope * x.abs() + 1.0).square()


@dataclass(frozen=True)
class Erf:
    """``ds/dx = (α/√π) e^(−α²x²)``; steepness α > 0."""

    name = "erf"
    alpha: float = 2.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return (α/√π) e^(−α²x²)."""
        return (self.alpha / math.sqrt(math.pi)) * torch.exp(-((self.alpha * x).square()))


@dataclass(frozen=True)
class Erfc:
    """``ds/dx = (2/√π) e^(−k²x²)``; k > 0. Norse ``heavi_erfc``: of height 2/√π for every k."""

    name = "erfc"
    k: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "k")

    def derivative(self, x: Tensor) -> Tensor:
        """Return (2/√π) e^(−k²x²)."""
        return (2.0 / math.sqrt(math.pi)) * torch.exp(-((self.k * x).square()))


@dataclass(frozen=True)
class Tanh:
    """``ds/dx = 1 − tanh²(kx)``; k > 0. Norse ``tanh``; its ``logistic`` has the same gradient and samples."""

    name = "tanh"
    k: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "k")

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1 − tanh²(kx)."""
        return 1.0 - torch.tanh(self.k * x).square()


@dataclass(frozen=True)
class Circ:
    """``ds/dx = α³ / (α² + x²)^(3/2)``; width α > 0. Norse ``circ``; its ``circ_dist`` samples."""

    name = "circ"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return α³ / (α² + x²)^(3/2)."""
        return self.alpha**3 / (self.alpha**2 + x.square()).pow(1.5)


@dataclass(frozen=True)
class Triangle:
    """``ds/dx = α max(0, 1 − |x|)``; height α > 0. Norse ``triangle``; Esser et al. 2016, Bellec et al. 2020."""

    name = "triangle"
    alpha: float = 0.3

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return α max(0, 1 − |x|)."""
        return self.alpha * (1.0 - x.abs()).clamp_min(0.0)


@dataclass(frozen=True)
class Gaussian:
    """``ds/dx = scale · N(x; 0, σ²)``; σ > 0. sinabs ``Gaussian`` with mean 0."""

    name = "gaussian"
    sigma: float = 0.5
    scale: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "sigma", "scale")

    def derivative(self, x: Tensor) -> Tensor:
        """Return scale · N(x; 0, σ²)."""
        return self.scale * _normal(x, 0.0, self.sigma)


@dataclass(frozen=True)
class MultiGaussian:
    """``ds/dx = scale·((1+h)N(x; 0, σ²) − h N(x; σ, (wσ)²) − h N(x; −σ, (wσ)²))``: negative away from the threshold.

    Yin et al., Nature Machine Intelligence 3, 2021; sinabs ``MultiGaussian``.
    """

    name = "multi_gaussian"
    sigma: float = 0.5
    h: float = 0.15
    w: float = 6.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "sigma", "w", "scale")
        number(self, "h")

    def derivative(self, x: Tensor) -> Tensor:
        """Return the sum of three normal densities."""
        wide = self.w * self.sigma
        sides = _normal(x, self.sigma, wide) + _normal(x, -self.sigma, wide)
        return self.scale * ((1.0 + self.h) * _normal(x, 0.0, self.sigma) - self.h * sides)


@dataclass(frozen=True)
class SingleExponential:
    """``ds/dx = scale · e^(−|x|/width)``; width > 0. sinabs' default, with threshold 1."""

    name = "single_exponential"
    width: float = 0.5
    scale: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "width", "scale")

    def derivative(self, x: Tensor) -> Tensor:
        """Return scale · e^(−|x|/width)."""
        return self.scale * torch.exp(-x.abs() / self.width)


@dataclass(frozen=True)
class NonzeroSignLogAbs:
    """``ds/dx = 1 / (1/α + |x|)``; α > 0."""

    name = "nonzero_sign_log_abs"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1 / (1/α + |x|)."""
        return 1.0 / (1.0 / self.alpha + x.abs())


@dataclass(frozen=True)
class QPseudoSpike:
    """``ds/dx = (1 + 2|x|/(α−1))^(−α)``; tail index α > 1. Herranz-Celotti and Rouat 2022."""

    name = "q_pseudo_spike"
    alpha: float = 2.0

    def __post_init__(self) -> None:
        positive(self, "alpha", above=1.0)

    def derivative(self, x: Tensor) -> Tensor:
        """Return (1 + 2|x|/(α−1))^(−α)."""
        return (1.0 + 2.0 / (self.alpha - 1.0) * x.abs()).pow(-self.alpha)


@dataclass(frozen=True)
class SquarewaveFourierSeries:
    """``ds/dx = (4/T) Σᵢ cos((2i − 1)·2πx/T)``, i = 1 … n − 1, of a square wave of period T; n ≥ 2.

    The sum ends at n − 1 because SpikingJelly's does.
    """

    name = "squarewave_fourier_series"
    n: float = 2.0
    T_period: float = 8.0

    def __post_init__(self) -> None:
        positive(self, "n", above=1.0)
        positive(self, "T_period")

    def derivative(self, x: Tensor) -> Tensor:
        """Return (4/T) Σᵢ cos((2i − 1)·2πx/T)."""
        angle = x * (2.0 * math.pi / self.T_period)
        terms = [torch.cos((2 * i - 1) * angle) for i in range(1, int(self.n))]
        return torch.stack(terms).sum(0) * (4.0 / self.T_period)


@dataclass(frozen=True)
class Rect:
    """``ds/dx = α where |x| < 1/(2α), else 0``: a box of unit area; α > 0. sinabs ``Heaviside(window)``: α = 1/(2w)."""

    name = "rect"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return α where |x| < 1/(2α), else 0."""
        return (x.abs() < 0.5 / self.alpha).to(x.dtype) * self.alpha


@dataclass(frozen=True)
class PiecewiseLeakyReLU:
    """``ds/dx = 1/(2w) where |x| < w, else c``; half width w > 0, leak c ≥ 0."""

    name = "piecewise_leaky_relu"
    w: float = 1.0
    c: float = 0.01

    def __post_init__(self) -> None:
        positive(self, "w")
        number(self, "c", low=0.0)

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1/(2w) where |x| < w, else c."""
        return torch.where(x.abs() < self.w, 0.5 / self.w, self.c).to(x.dtype)


@dataclass(frozen=True)
class FakeNumericalGradient:
    """``ds/dx = min(1/|x|, α)``: the step divided by the distance it was taken over; α > 0."""

    name = "fake_numerical_gradient"
    alpha: float = 0.3

    def __post_init__(self) -> None:
        positive(self, "alpha")

    def derivative(self, x: Tensor) -> Tensor:
        """Return min(1/|x|, α)."""
        return (1.0 / x.abs()).clamp_max(self.alpha)


@dataclass(frozen=True)
class StraightThrough:
    """``ds/dx = 1`` everywhere. SpikingJelly ``DeterministicPass``, snnTorch ``straight_through_estimator``."""

    name = "straight_through"

    def derivative(self, x: Tensor) -> Tensor:
        """Return 1."""
        return torch.ones_like(x)


def _normal(x: Tensor, mean: float, sigma: float) -> Tensor:
    return torch.exp(-0.5 * ((x - mean) / sigma).square()) / (sigma * math.sqrt(2.0 * math.pi))
