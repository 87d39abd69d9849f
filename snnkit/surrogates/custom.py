"""A surrogate from a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, make_dataclass
from numbers import Real
from typing import Any

from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.surrogates.base import Surrogate


def make(name: str, derivative: Callable[..., Tensor], numbers: dict[str, float], rebuild: Callable) -> type[Surrogate]:
    """Return a frozen dataclass with the fields ``numbers`` and the given derivative.

    ``rebuild(name, values)`` makes it again where an instance is unpickled.
    """
    if not name.isidentifier():
        raise InvalidArgumentError(f"from_function({name!r}, …): the name must be an identifier, such as 'my_bell'.")

    if not callable(derivative):
        raise InvalidArgumentError(f"from_function({name!r}, {derivative!r}): must be a function of the distance x.")
    for key, value in numbers.items():
        if not isinstance(value, Real):
            raise InvalidArgumentError(f"from_function({name!r}, …, {key}={value!r}): must be a number.")

    def evaluate(self: Any, x: Tensor) -> Tensor:
        """Return ds/dx at ``x``, elementwise."""
        return derivative(x, *(getattr(self, key) for key in numbers))

    def reduce(self: Any) -> tuple:
        return rebuild, (name, [getattr(self, key) for key in numbers])

    fields = [(key, float, field(default=float(value))) for key, value in numbers.items()]
    namespace = {"name": name, "derivative": evaluate, "__reduce__": reduce}
    title = "".join(part.capitalize() for part in name.split("_"))
    return make_dataclass(title, fields, frozen=True, namespace=namespace)
