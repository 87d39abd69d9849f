"""Chips by name. To add one: a file with a ``CHIP``, and its line in ``_ALL``."""

from __future__ import annotations

from hw.chip import Chip
from hw.chips import loihi1
from hw.lookup import lookup

_ALL = (loihi1.CHIP,)
CHIPS: dict[str, Chip] = {chip.name: chip for chip in _ALL}


def get_chip(name: str) -> Chip:
    """Return the chip called ``name``.

    Raises:
        UnknownNameError: no such chip (names the nearest match and what is known).
    """
    return lookup("chip", name, CHIPS)


def list_chips() -> list[str]:
    """Return the names of all chips."""
    return sorted(CHIPS)
