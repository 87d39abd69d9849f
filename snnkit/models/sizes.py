"""Checks of the sizes that a model is built with: one clear line for what cannot be."""

from __future__ import annotations

from typing import Any

from snnkit.errors import InvalidArgumentError


def check_whole(**sizes: Any) -> None:
    """Raise InvalidArgumentError unless every value is a whole number ≥ 1, or a sequence of such."""
    for name, value in sizes.items():
        parts = value if isinstance(value, (tuple, list)) else (value,)
        if not parts or not all(isinstance(part, int) and not isinstance(part, bool) and part >= 1 for part in parts):
            raise InvalidArgumentError(f"{name}={value!r}: must be a whole number ≥ 1, or several where the model can.")


def check_stages(**sizes: Any) -> None:
    """Raise InvalidArgumentError unless the sequences hold whole numbers ≥ 1 and are equally long."""
    check_whole(**sizes)
    if len({len(value) if isinstance(value, (tuple, list)) else -1 for value in sizes.values()}) > 1:
        shown = ", ".join(f"{name}={value!r}" for name, value in sizes.items())
        raise InvalidArgumentError(f"{shown}: one number per stage in each.")


def check_divides(name: str, value: int, by: int, why: str) -> None:
    """Raise InvalidArgumentError unless ``value`` is a multiple of ``by``; names the nearest that would do."""
    if value % by:
        lower, upper = value // by * by, (value // by + 1) * by
        nearby = f"{lower} or {upper}" if lower else f"{upper}"
        raise InvalidArgumentError(f"{name}={value}: must be a multiple of {by}, {why}; {nearby} would do.")
