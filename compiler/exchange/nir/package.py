"""The package ``nir``, and what writing and reading share."""

from __future__ import annotations

import math
from typing import Any

from numpy.typing import NDArray

from snnkit.errors import InvalidArgumentError, SnnkitError

Array = NDArray[Any]


class NirError(SnnkitError):
    """What NIR, or a graph, cannot express (names the node and a way out); or ``nir`` is not installed."""


def nir_package() -> Any:
    """Return the package ``nir``.

    Raises:
        NirError: it is not installed.
    """
    try:
        import nir as package
    except ImportError:
        raise NirError("NIR files need the package nir: pip install snnkit[nir]") from None
    return package


def check_dt(dt: float) -> None:
    """Raise InvalidArgumentError unless ``dt`` is a finite number > 0."""
    if not (math.isfinite(dt) and dt > 0):
        raise InvalidArgumentError(f"dt={dt!r}: must be a finite number > 0, the length of a time step.")
