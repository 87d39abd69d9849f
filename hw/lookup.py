"""Finding things by name: chips, energy models."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class UnknownNameError(LookupError):
    """Nothing of that name is described here."""

    user_error = True


def lookup(kind: str, name: str, table: Mapping[str, T]) -> T:
    """Return ``table[name]``.

    Raises:
        UnknownNameError: no such name (gives the nearest match and all that is known).
    """
    if name not in table:
        hint = nearest(name, table)
        raise UnknownNameError(f"unknown {kind} {name!r}.{hint} Known: {', '.join(sorted(table))}.")
    return table[name]


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return `` Did you mean 'x'?`` for the closest of ``known``, or an empty string when nothing is."""
    names = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), list(names), n=3, cutoff=cutoff)
    near = [one for one in close if _like(one, name) == _like(close[0], name)]  # as near as the nearest
    return f" Did you mean {' or '.join(repr(names[one]) for one in sorted(near))}?" if near else ""


def _like(one: str, name: str) -> float:
    return difflib.SequenceMatcher(None, name.lower(), one).ratio()
