"""Checks of the sizes that a model is built with: one clear line for what cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from snnkit.errors import InvalidArgumentError


def is_whole(value: Any) -> bool:
    """Whether ``value`` is a whole number ≥ 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check_whole(**sizes: Any) -> None:
    """Raise InvalidArgumentError unless every value is a whole number ≥ 1."""
    for name, value in sizes.items():
        if not is_whole(value):
            raise InvalidArgumentError(f"{name}={value!r}: must be a whole number ≥ 1.")


def check_positive(**sizes: Any) -> None:
    """Raise InvalidArgumentError unless every value is a finite number above 0."""
    for name, value in sizes.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not (number and 0 < value < math.inf):
            raise InvalidArgumentError(f"{name}={value!r}: must be a number above 0.")


def check_stages(**sizes: Any) -> None:
    """Raise InvalidArgumentError unless the sequences hold whole numbers ≥ 1 and are equally long."""
    for name, values in sizes.items():
        if not isinstance(values, (tuple, list)) or not values or not all(map(is_whole, values)):
            raise InvalidArgumentError(f"{name}={values!r}: must be whole numbers ≥ 1, one per stage.")
    if len({len(value) for value in sizes.values()}) > 1:
        shown = ", ".join(f"{name}={value!r}" for name, value in sizes.items())
        raise InvalidArgumentError(f"{shown}: one number per stage in each.")


def check_divides(name: str, value: int, by: int, why: str) -> None:
    """Raise InvalidArgumentError unless ``value`` is a multiple of ``by``; names the nearest that would do."""
    if value % by:
        lower, upper = value // by * by, (value // by + 1) * by
        nearby = f"{lower} or {upper}" if lower else f"{upper}"
        raise InvalidArgumentError(f"{name}={value}: must be a multiple of {by}, {why}; {nearby} would do.")


def as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of one side or of both."""
    return (size[0], size[1]) if isinstance(size, (tuple, list)) and len(size) == 2 else (size, size)  # type: ignore[return-value]


def check_sides(name: str, size: int | tuple[int, int], by: int, why: str) -> None:
    """Raise InvalidArgumentError unless height and width are multiples of ``by``; names the nearest that would do."""
    for side in as_pair(size):
        check_divides(name, side, by, why)


def whole_numbers(name: str, values: Any, count: int) -> tuple[int, ...]:
    """Return ``values`` as a tuple of ``count`` whole numbers ≥ 1, one per stage; else raise InvalidArgumentError."""
    if not isinstance(values, (tuple, list)) or len(values) != count or not all(map(is_whole, values)):
        raise InvalidArgumentError(f"{name}={values!r}: must be {count} whole numbers ≥ 1, one per stage.")
    return tuple(values)


def check_heads(head_dim: int, dims: Sequence[int]) -> None:
    """Raise InvalidArgumentError unless heads of that width fill the channels of every stage; names widths that do."""
    check_whole(head_dim=head_dim)
    if any(dim % head_dim for dim in dims):
        good = [d for d in range(8, min(dims) + 1) if all(dim % d == 0 for dim in dims)] or [min(dims)]
        raise InvalidArgumentError(
            f"head_dim={head_dim!r}: must divide the channels of the attention stages, {', '.join(map(str, dims))}; "
            f"{', '.join(map(str, good))} would do."
        )


def check_pools(pools: Any, stages: int) -> list[bool]:
    """Return whether each stage of a stem ends in a pool, from one digit 0 or 1 per stage ("0011").

    Raises:
        InvalidArgumentError: anything else.
    """
    if not isinstance(pools, str) or len(pools) != stages or set(pools) - {"0", "1"}:
        raise InvalidArgumentError(f"pools={pools!r}: {stages} digits, 1 where a stage ends in a pool, such as '1111'.")
    return [digit == "1" for digit in pools]
