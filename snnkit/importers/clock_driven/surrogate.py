"""Surrogates under their old names, as modules: ``ATan(alpha=2.0, spiking=True)(x)``, and ``atan.apply(x, 2.0)``.

Their gradients are those of ``snnkit.surrogates``. A subclass of ``SurrogateFunctionBase``, or any other function, is a
surrogate too; neurons with one run in plain torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from snnkit import surrogates
from snnkit.errors import InvalidArgumentError

_KINDS = {cls.__name__: cls for cls in surrogates.SURROGATES.values()}
_KINDS |= {"DeterministicPass": surrogates.StraightThrough}
del _KINDS["PiecewiseLeakyReLU"]  # its gradient was another one
_PRIMITIVE: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Sigmoid": lambda x, alpha: torch.sigmoid(alpha * x),
    "ATan": lambda x, alpha: torch.atan(math.pi / 2 * alpha * x) / math.pi + 0.5,
    "SoftSign": lambda x, alpha: nn.functional.softsign(alpha * x) / 2 + 0.5,
    "Erf": lambda x, alpha: torch.erfc(-alpha * x) / 2,
}


def heaviside(x: Tensor) -> Tensor:
    """Return 1 where ``x`` ≥ 0, else 0, of the same type; no gradient."""
    return (x >= 0).to(x)


class _Base(nn.Module):
    """What both bases share."""

    spiking: bool

    def set_spiking_mode(self, spiking: bool) -> None:
        """Return spikes (True), or the smooth function whose derivative is the surrogate (False)."""
        self.spiking = spiking


class SurrogateFunctionBase(_Base):
    """A surrogate of one number; subclasses have the two functions as static methods of (x, alpha).

    Args:
        alpha: its number.
        spiking: return spikes, or the smooth function.
    """

    def __init__(self, alpha: float, spiking: bool = True):
        super().__init__()
        self.alpha, self.spiking = alpha, spiking

    @staticmethod
    def spiking_function(x: Tensor, alpha: float) -> Tensor:
        """Return spikes."""
        raise NotImplementedError

    @staticmethod
    def primitive_function(x: Tensor, alpha: float) -> Tensor:
        """Return the smooth function."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes, or the smooth function."""
        return (self.spiking_function if self.spiking else self.primitive_function)(x, self.alpha)

    def extra_repr(self) -> str:
        """Show the number."""
        return f"alpha={self.alpha}, spiking={self.spiking}"


class MultiArgsSurrogateFunctionBase(_Base):
    """A surrogate of several numbers; subclasses define ``forward`` or the two functions of ``x``.

    Args:
        spiking: return spikes, or the smooth function.
    """

    def __init__(self, spiking: bool, *arguments: Any, **named: Any):
        super().__init__()
        self.spiking = spiking

    def spiking_function(self, x: Tensor) -> Tensor:
        """Return spikes."""
        raise NotImplementedError

    def primitive_function(self, x: Tensor) -> Tensor:
        """Return the smooth function."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes, or the smooth function."""
        return self.spiking_function(x) if self.spiking else self.primitive_function(x)


class _Known:
    """Mixin of the surrogates that ``snnkit.surrogates`` has."""

    kind: ClassVar[type[surrogates.Surrogate]]

    def __init__(self, *numbers: Any, spiking: bool = True, **named: Any):
        nn.Module.__init__(self)  # type: ignore[arg-type]
        fields = list(self.kind.__dataclass_fields__)
        if len(numbers) == len(fields) + 1:
            *numbers, spiking = numbers  # type: ignore[assignment]
        made = self.kind(*map(float, numbers), **{key: float(value) for key, value in named.items()})
        for name in fields:
            setattr(self, name, getattr(made, name))
        self.spiking = bool(spiking)
        if not self.spiking:
            _primitive(type(self).__name__)

    def kernel_form(self) -> surrogates.Surrogate:
        """Return it as snnkit's kernels want it, with the numbers as they are now."""
        numbers = {name: getattr(self, name) for name in self.kind.__dataclass_fields__}
        for name, value in numbers.items():
            if isinstance(value, Tensor) and value.requires_grad:
                raise InvalidArgumentError(
                    f"{type(self).__name__}({name}=…) is trained: its gradient would be lost. Write the surrogate as a "
                    "subclass of SurrogateFunctionBase."
                )
        return self.kind(**{name: float(value) for name, value in numbers.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes, or the smooth function."""
        form = self.kernel_form()
        if self.spiking:
            return surrogates.spike(x, form)
        return _primitive(type(self).__name__)(x, *(getattr(form, name) for name in form.__dataclass_fields__))

    def extra_repr(self) -> str:
        """Show the numbers."""
        shown = [f"{name}={getattr(self, name)}" for name in self.kind.__dataclass_fields__]
        return ", ".join([*shown, f"spiking={self.spiking}"])


def _primitive(name: str) -> Callable[..., Tensor]:
    if name not in _PRIMITIVE:
        raise InvalidArgumentError(
            f"{name}(spiking=False): the smooth function is known for {', '.join(sorted(_PRIMITIVE))}; write this one "
            "as a subclass of SurrogateFunctionBase."
        )
    return _PRIMITIVE[name]


def _named(name: str, kind: type[surrogates.Surrogate]) -> tuple[type, type]:
    """Make the module class and the one with ``apply``."""
    base = SurrogateFunctionBase if list(kind.__dataclass_fields__) == ["alpha"] else MultiArgsSurrogateFunctionBase
    here = {"kind": kind, "__module__": __name__, "__doc__": f"``snnkit.surrogates.{kind.__name__}`` as a module."}

    def spiking_function(x: Tensor, *numbers: float) -> Tensor:
        return surrogates.spike(x, kind(*map(float, numbers)))

    made = type(name, (_Known, base), {**here, "spiking_function": staticmethod(spiking_function)})
    if name in _PRIMITIVE:
        made.primitive_function = staticmethod(_PRIMITIVE[name])
    function = {"apply": staticmethod(spiking_function), "__doc__": f"``apply(x, …)``: the spikes of ``{name}``."}
    return made, type(_snake(name), (), {**function, "__module__": __name__})


def _snake(name: str) -> str:
    short = {"ATan": "atan", "S2NN": "s2nn", "LeakyKReLU": "leaky_k_relu", "LogTailedReLU": "log_tailed_relu"}
    plain = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")
    return short.get(name, plain)


for _name, _kind in _KINDS.items():
    globals()[_name], globals()[_snake(_name)] = _named(_name, _kind)


class piecewise_leaky_relu(torch.autograd.Function):  # noqa: N801 (its old name)
    """``apply(x, w, c)``: spikes; the gradient is 1/w within −w … w and c outside. Later versions have half of 1/w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: float = 1.0, c: float = 0.01) -> Tensor:
        """Return spikes."""
        ctx.save_for_backward(x)
        ctx.numbers = w, c
        return heaviside(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient."""
        (x,), (w, c) = ctx.saved_tensors, ctx.numbers
        return grad * torch.where(x.abs() < w, 1.0 / w, c).to(grad.dtype), None, None


class PiecewiseLeakyReLU(MultiArgsSurrogateFunctionBase):
    """``piecewise_leaky_relu`` as a module; nodes with it run in plain torch."""

    def __init__(self, w: float = 1.0, c: float = 0.01, spiking: bool = True):
        super().__init__(spiking)
        self.w, self.c = w, c
        if not spiking:
            _primitive("PiecewiseLeakyReLU")

    def spiking_function(self, x: Tensor) -> Tensor:
        """Return spikes."""
        return piecewise_leaky_relu.apply(x, self.w, self.c)

    def primitive_function(self, x: Tensor) -> Tensor:
        """Refuse."""
        return _primitive("PiecewiseLeakyReLU")(x, self.w, self.c)

    def extra_repr(self) -> str:
        """Show the numbers."""
        return f"w={self.w}, c={self.c}, spiking={self.spiking}"


def __getattr__(name: str) -> Any:
    """Say which surrogates there are."""
    raise AttributeError(f"no surrogate {name!r}; known: {', '.join(sorted([*_KINDS, 'PiecewiseLeakyReLU']))}")
