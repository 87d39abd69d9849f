"""Whole numbers on the command line: 2.5 images are refused, where cyclopts would round them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from cyclopts import Token, convert


def converted(type_: Any, tokens: Sequence[Token]) -> Any:
    """Convert what was given for an option as cyclopts does, but leave no whole number to rounding.

    Raises:
        ValueError: a whole number is asked for, and another was given; cyclopts says of which option.
    """
    kinds = _kinds(type_)
    if int in kinds and float not in kinds:
        for token in tokens:
            if "." in token.value and not _is_whole(token.value):
                raise ValueError(f"must be a whole number, got {token.value}.")
    return convert(type_, tokens)


def _kinds(type_: Any) -> set[Any]:
    """Return the types that a type is made of: int and None of ``int | None``."""
    inner = get_args(type_)
    return {kind for one in inner for kind in _kinds(one)} if inner else {type_}


def _is_whole(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:
        return True  # no number at all: cyclopts says so
