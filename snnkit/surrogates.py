"""Surrogates: the derivative used in the backward pass in place of the step function's.

The spike is ``s = H(x)`` with ``H(0) = 1`` and ``x = h - v_threshold``; its derivative is zero or undefined, so
training replaces ``ds/dx`` by one of the smooth functions below. Formulas and defaults are those of SpikingJelly 2.0
(``spikingjelly.activation_based.surrogate``).

To add one: a frozen dataclass with a ``derivative``, and its line in ``SURROGATES``.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import Protocol

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError, unknown_name


class Surrogate(Protocol):
    """What a kernel needs of a surrogate. Instances are frozen dataclasses whose fields are floats."""

    def derivative(self, x: Tensor) -> Tensor:
        """Return ds/dx at ``x`` (distance of the membrane to the threshold), elementwise."""
        ...


@dataclass(frozen=True)
class Sigmoid:
    """``ds/dx = α σ(αx) (1 − σ(αx))``; α is the steepness (dimensionless, > 0), 4 by default."""

    alpha: float = 4.0

    def __post_init__(self) -> None:
        _require_positive("Sigmoid", self.alpha)

    def derivative(self, x: Tensor) -> Tensor:
        """Return α σ(αx)(1 − σ(αx))."""
        sigma = torch.sigmoid(self.alpha * x)
        return sigma * (1.0 - sigma) * self.alpha


@dataclass(frozen=True)
class ATan:
    """``ds/dx = (α/2) / (1 + (π α x / 2)²)``; α is the steepness (dimensionless, > 0), 2 by default."""

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _require_positive("ATan", self.alpha)

    def derivative(self, x: Tensor) -> Tensor:
        """Return (α/2) / (1 + (παx/2)²)."""
        return (self.alpha / 2.0) / (1.0 + (x * (math.pi / 2.0 * self.alpha)).square())


SURROGATES: dict[str, type] = {
    "sigmoid": Sigmoid,
    "atan": ATan,
}


def name_of(surrogate: Surrogate) -> str:
    """Return the name under which a surrogate's class is listed; the operators carry it as text."""
    for name, cls in SURROGATES.items():
        if type(surrogate) is cls:
            return name
    raise InvalidArgumentError(
        f"surrogate must be one of {', '.join(cls.__name__ for cls in SURROGATES.values())}, got {surrogate!r}."
    )


def parameters_of(surrogate: Surrogate) -> list[float]:
    """Return the surrogate's fields in order, for the operators' schema."""
    return [float(value) for value in astuple(surrogate)]  # type: ignore[call-overload]


def build(name: str, parameters: list[float]) -> Surrogate:
    """Make the surrogate that ``name_of`` and ``parameters_of`` described."""
    if name not in SURROGATES:
        raise unknown_name("surrogate", name, SURROGATES)
    return SURROGATES[name](*parameters)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (x,) = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(x), None


def spike(x: Tensor, surrogate: Surrogate) -> Tensor:
    """Return ``H(x)`` (1 where ``x >= 0``) whose gradient is the surrogate's; any shape, same dtype."""
    return _Spike.apply(x, surrogate)


def _require_positive(name: str, alpha: float) -> None:
    if not alpha > 0:
        raise InvalidArgumentError(f"{name}(alpha={alpha!r}): alpha must be > 0.")
