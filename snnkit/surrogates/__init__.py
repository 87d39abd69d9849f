"""Surrogates: the derivative used in the backward pass in place of the step function's.

The spike is ``s = H(x)`` with ``H(0) = 1`` and ``x = h − v_threshold``; its derivative is zero or undefined, so
training replaces ``ds/dx`` by another function: ``bells`` are symmetric about the threshold, ``one_sided`` are not, and
``from_function`` makes one of your own.

To add one: a frozen dataclass with a ``name`` and a ``derivative``, imported below, and its line in the first list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple

from torch import Tensor

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.surrogates import custom
from snnkit.surrogates.base import Surrogate, is_symmetric, require_symmetric, spike
from snnkit.surrogates.bells import (
    ATan,
    Circ,
    Erf,
    Erfc,
    FakeNumericalGradient,
    FastSigmoid,
    Gaussian,
    MultiGaussian,
    NonzeroSignLogAbs,
    PiecewiseExp,
    PiecewiseLeakyReLU,
    PiecewiseQuadratic,
    QPseudoSpike,
    Rect,
    Sigmoid,
    SingleExponential,
    SoftSign,
    SquarewaveFourierSeries,
    StraightThrough,
    SuperSpike,
    Tanh,
    Triangle,
)
from snnkit.surrogates.one_sided import (
    S2NN,
    LeakyKReLU,
    LogTailedReLU,
    PeriodicExponential,
    SparseFastSigmoid,
    SpikeRateEscape,
    StochasticSpikeOperator,
    Triangular,
)
from snnkit.surrogates.sampled import sample

__all__ = [
    "S2NN",
    "ATan",
    "Circ",
    "Erf",
    "Erfc",
    "FakeNumericalGradient",
    "FastSigmoid",
    "Gaussian",
    "LeakyKReLU",
    "LogTailedReLU",
    "MultiGaussian",
    "NonzeroSignLogAbs",
    "PeriodicExponential",
    "PiecewiseExp",
    "PiecewiseLeakyReLU",
    "PiecewiseQuadratic",
    "QPseudoSpike",
    "Rect",
    "Sigmoid",
    "SingleExponential",
    "SoftSign",
    "SparseFastSigmoid",
    "SpikeRateEscape",
    "SquarewaveFourierSeries",
    "StochasticSpikeOperator",
    "StraightThrough",
    "SuperSpike",
    "Tanh",
    "Triangle",
    "Triangular",
]

SURROGATES: dict[str, type] = {made.name: made for made in (globals()[name] for name in __all__)}

_NAMES: dict[type, str] = {cls: name for name, cls in SURROGATES.items()}


def from_function(name: str, derivative: Callable[..., Tensor], **numbers: float) -> Surrogate:
    """Return a surrogate whose derivative is ``derivative(x, *numbers)``, elementwise on x of any shape.

    It is known under ``name`` to everything in this process, compiled and exported networks included. Another process
    that loads a pickle or an exported program with it calls this first.

    Args:
        name: an identifier that no built-in surrogate has; the same name again replaces your earlier one.
        derivative: written in torch operations.
        numbers: further arguments of ``derivative`` with their values, in its order.

    Raises:
        InvalidArgumentError: the name is taken or no identifier, or another argument of the wrong kind.
    """
    known = SURROGATES.get(name)
    if known is not None and known.__module__.startswith("snnkit.") and "__reduce__" not in vars(known):
        raise InvalidArgumentError(f"from_function({name!r}, …): that is a built-in surrogate; take another name.")
    made = custom.make(name, derivative, numbers, build)
    SURROGATES[name], _NAMES[made] = made, name
    return made()


def name_of(surrogate: Surrogate) -> str:
    """Return the name under which a surrogate's class is listed; the operators carry it as text."""
    name = _NAMES.get(type(surrogate))
    if name is None:
        raise InvalidArgumentError(
            f"surrogate must be one of {', '.join(cls.__name__ for cls in SURROGATES.values())}, or made by "
            f"surrogates.from_function, got {surrogate!r}."
        )
    return name


def parameters_of(surrogate: Surrogate) -> list[float]:
    """Return the surrogate's fields in order, for the operators' schema."""
    return [float(value) for value in astuple(surrogate)]  # type: ignore[call-overload]


def build(name: str, parameters: list[float]) -> Surrogate:
    """Make the surrogate that ``name_of`` and ``parameters_of`` described."""
    if name not in SURROGATES:
        raise unknown_name("surrogate", name, SURROGATES)
    return SURROGATES[name](*parameters)


__all__ += [
    "SURROGATES",
    "Surrogate",
    "build",
    "from_function",
    "is_symmetric",
    "name_of",
    "parameters_of",
    "require_symmetric",
    "sample",
    "spike",
]
