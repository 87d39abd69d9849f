"""Traces of Catalyst N1: a programmed chip and what its host writes, as arrays, run again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from compiler.targets.catalyst_n1 import setup, simulator

KEYS = setup.KEYS
"""What a trace holds beside its ``out_*`` arrays."""
MARKS = ("num_cores", "neurons_per_core")
"""Keys that together only traces of this chip have."""


def replay(arrays: Mapping[str, NDArray[Any]], name: object) -> dict[str, NDArray[Any]]:
    """Run what a trace is programmed with (see ``setup``); return every ``out_*`` array under its name without it.

    Raises:
        CorruptFileError: one line: what is missing, out of range, or not modelled; ``name`` is the file's.
    """
    return simulator.run(setup.read(arrays, name))
