"""Checks of arguments that everything here shares."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from snnkit.errors import InvalidArgumentError


def whole(owner: object, name: str, value: Any, low: int = 1) -> int:
    """Return ``value`` as an int.

    Raises:
        InvalidArgumentError: it is not a whole number ≥ ``low``.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != value or number < low:
        raise InvalidArgumentError(f"{type(owner).__name__}({name}={value!r}): must be a whole number ≥ {low}.")
    return number


def finite(owner: object, name: str, value: Any, low: float = -math.inf, *, open_: bool = True) -> float:
    """Return ``value`` as a float.

    Raises:
        InvalidArgumentError: it is no finite number, or not above ``low`` (``open_=False``: below it).
    """
    if not isinstance(value, Real) or not math.isfinite(value) or value < low or (open_ and value == low):
        bound = f" {'>' if open_ else '≥'} {low:g}" if low > -math.inf else ""
        raise InvalidArgumentError(f"{type(owner).__name__}({name}={value!r}): must be a finite number{bound}.")
    return float(value)
