"""Chips by name. To add one: a file with a ``CHIP``, and its line in ``_ALL``."""

from __future__ import annotations

import difflib

from hw.chip import Chip
from hw.chips import loihi1

_ALL = (loihi1.CHIP,)
CHIPS: dict[str, Chip] = {chip.name: chip for chip in _ALL}


class UnknownChipError(LookupError):
    """No chip of that name is described here."""

    user_error = True


def get_chip(name: str) -> Chip:
    """Return the chip called ``name``.

    Raises:
        UnknownChipError: no such chip (names the nearest match and what is known).
    """
    if name not in CHIPS:
        close = difflib.get_close_matches(name, list(CHIPS), n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownChipError(f"unknown chip {name!r}.{hint} Known: {', '.join(sorted(CHIPS))}.")
    return CHIPS[name]


def list_chips() -> list[str]:
    """Return the names of all chips."""
    return sorted(CHIPS)
