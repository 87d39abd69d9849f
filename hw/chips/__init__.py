"""Chips by name. To add one: a file with a ``CHIP``, and its line in ``_ALL``."""

from __future__ import annotations

from hw.chip import Chip, ChipError
from hw.chips import (
    akida,
    brainscales2,
    catalyst_n1,
    darwin3,
    loihi1,
    loihi2,
    odin,
    speck,
    spinnaker2,
    tianjic,
    tinyodin,
    truenorth,
    xylo,
)
from hw.chips.design import mesh, parsed
from hw.describing import read
from hw.lookup import lookup

_ALL = (
    loihi1.CHIP,
    loihi2.CHIP,
    truenorth.CHIP,
    spinnaker2.CHIP,
    speck.CHIP,
    *xylo.CHIPS,
    akida.CHIP,
    darwin3.CHIP,
    tianjic.CHIP,
    odin.CHIP,
    tinyodin.CHIP,
    *catalyst_n1.CHIPS,
    brainscales2.CHIP,
    mesh(),
)
CHIPS: dict[str, Chip] = {chip.name: chip for chip in _ALL}


def get_chip(name: str) -> Chip:
    """Return the chip called ``name``: one of the list, ``mesh:width=16,…`` with parameters, or a file ``….toml``.

    Raises:
        UnknownNameError: no such chip, or parameter (names the nearest match and what is known).
        ChipError: the file or the parameters do not describe a chip; says why.
    """
    if name.endswith(".toml"):
        return read(name)
    kind, colon, parameters = name.partition(":")
    if name not in CHIPS and colon:
        if lookup("chip", kind, CHIPS).name != "mesh":
            raise ChipError(f"{kind} has no parameters; mesh has, or describe a chip in a file: NAME.toml.")
        return mesh(**parsed(parameters))
    return lookup("chip", name, CHIPS)


def list_chips() -> list[str]:
    """Return the names of all chips."""
    return sorted(CHIPS)


__all__ = ["CHIPS", "get_chip", "list_chips", "mesh", "read"]
