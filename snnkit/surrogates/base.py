"""What a surrogate is, the spike that uses it, and the checks its parameters share."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from snnkit.errors import InvalidArgumentError


class Surrogate(Protocol):
    """What a kernel needs of a surrogate. Instances are frozen dataclasses whose fields are floats.

    Attributes:
        name: under which the class is listed in ``SURROGATES``.
    """

    name: ClassVar[str]

    def derivative(self, x: Tensor) -> Tensor:
        """Return ds/dx at ``x`` (distance of the membrane to the threshold), elementwise."""
        ...


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, surrogate: Surrogate) -> Tensor:
        return (x >= 0).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Surrogate], output: Tensor) -> None:
        x, ctx.surrogate = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * ctx.surrogate.derivative(x), None


class _SpikeForward(_Spike):
    """The same with forward-mode differentiation; apart, because Dynamo refuses functions that define it."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        (x,) = ctx.saved_tensors
        return tangent * ctx.surrogate.derivative(x)


def spike(x: Tensor, surrogate: Surrogate) -> Tensor:
    """Return ``H(x)`` (1 where ``x >= 0``) whose gradient is the surrogate's; any shape, same dtype."""
    return (_SpikeForward if forward_mode() else _Spike).apply(x, surrogate)


def forward_mode() -> bool:
    """Return whether tangents may be on their way: ``torch.func.jvp``, ``jacfwd`` or ``torch.autograd.forward_ad``."""
    return forward_ad._current_level >= 0


def positive(surrogate: Any, *names: str, above: float = 0.0) -> None:
    """Raise InvalidArgumentError unless the named fields are > ``above``."""
    for name in names:
        value = getattr(surrogate, name)
        if not isinstance(value, Real) or not math.isfinite(value) or not value > above:
            raise InvalidArgumentError(
                f"{type(surrogate).__name__}({name}={value!r}): {name} must be > {above:g} and finite."
            )


def number(surrogate: Any, *names: str, low: float = -math.inf) -> None:
    """Raise InvalidArgumentError unless the named fields are finite numbers ≥ ``low``."""
    for name in names:
        value = getattr(surrogate, name)
        if not isinstance(value, Real) or not math.isfinite(value) or value < low:
            bound = f" ≥ {low:g}" if low > -math.inf else ""
            raise InvalidArgumentError(
                f"{type(surrogate).__name__}({name}={value!r}): {name} must be a finite number{bound}."
            )


def is_symmetric(surrogate: Surrogate) -> bool:
    """Whether the derivative is even, so that the smooth step it belongs to is odd about (0, ½)."""
    x = torch.linspace(0.01, 4.0, 57, dtype=torch.float64)
    return torch.allclose(surrogate.derivative(x), surrogate.derivative(-x), rtol=1e-9, atol=1e-12)


def require_symmetric(who: str, surrogate: Surrogate) -> None:
    """Raise InvalidArgumentError unless the surrogate looks the same from both sides of the threshold."""
    if not is_symmetric(surrogate):
        raise InvalidArgumentError(
            f"{who}(surrogate={surrogate!r}): its derivative differs at +x and −x, but {who} fires on both sides of "
            "zero and needs a symmetric one, such as Sigmoid, ATan or Rect."
        )
