"""Whether samples are what a graph says of its input: a count of anything else would be a number without a meaning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compiler.graph import Graph, SignalType
from snnkit.errors import InvalidArgumentError, NonFiniteError

_ROUNDING = 1e-5
"""Of levels, relative: float32 keeps seven digits."""


def misfit(kind: SignalType, x: Tensor) -> str:
    """Say what samples hold that a type does not allow, as "hold fractions"; "" if nothing."""
    if not kind.is_event or not x.numel():
        return ""
    given = x.double() / float(kind.scale)
    levels = given.round()
    # A level times a fraction such as 1/9 is rounded where it is kept.
    fractions = bool(((given - levels).abs() > _ROUNDING * levels.abs().clamp(min=1)).any())
    if fractions:
        levels = given
    low, high = float(levels.min()), float(levels.max())
    if low < kind.low or high > kind.high:
        return f"hold values from {low:g} to {high:g}"
    return "hold fractions" if fractions else ""


def fitted(graph: Graph, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return inputs of a graph in its precision: spikes and pixels kept as whole numbers or booleans are converted.

    Raises:
        InvalidArgumentError: another precision than the weights', or values that the input's type does not allow.
        NonFiniteError: values that are not finite.
    """
    wanted = _precision(graph)
    made = []
    for name, x in zip(graph.inputs, tensors, strict=True):
        if not x.dtype.is_floating_point and not x.dtype.is_complex:
            x = x.to(wanted or torch.get_default_dtype())
        if x.dtype.is_complex or (wanted is not None and x.dtype != wanted):
            raise InvalidArgumentError(
                f"the weights of {graph.name!r} are {_word(wanted)} and its samples {_word(x.dtype)}; convert one of "
                "them."
            )
        if not bool(torch.isfinite(x).all()):
            raise NonFiniteError(f"the samples for {name!r} of {graph.name!r} hold values that are not finite.")
        wrong = misfit(graph.type(name), x)
        if wrong:
            raise InvalidArgumentError(f"{name!r} of {graph.name!r} is {graph.type(name)}; the samples {wrong}.")
        made.append(x)
    return tuple(made)


def _precision(graph: Graph) -> torch.dtype | None:
    found = (p.dtype for node in graph for p in node.parameters.values() if p.dtype.is_floating_point)
    return next(found, None)


def _word(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
