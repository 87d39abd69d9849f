"""Surrogates under their old names and signatures: ``ATan(alpha=2.0, spiking=True)``."""

from __future__ import annotations

from typing import Any

from snnkit import surrogates
from snnkit.errors import InvalidArgumentError


def __getattr__(name: str) -> Any:
    """Return the surrogate of that name, taking the old ``spiking=`` argument."""
    known = {cls.__name__: cls for cls in surrogates.SURROGATES.values()}
    if name not in known:
        raise AttributeError(f"no surrogate {name!r}; known: {', '.join(sorted(known))}")

    def make(*numbers: float, spiking: bool = True, **named: float) -> surrogates.Surrogate:
        if not spiking:
            raise InvalidArgumentError(f"{name}(spiking=False): only spiking surrogates are supported.")
        return known[name](*map(float, numbers), **{key: float(value) for key, value in named.items()})

    return make
