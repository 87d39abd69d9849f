"""Traces of open neuromorphic designs: npz files that hold what a chip is programmed with, and what its RTL then did.

``cfg_*`` arrays and a few scalars are the programming, ``out_*`` arrays are what was read from the design after each
step. Which chip it is shows in its keys. To add a chip: its line in ``CHIPS``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from compiler.simulate import reference
from compiler.targets.catalyst_n1 import trace as catalyst_n1
from compiler.targets.odin import trace as odin
from compiler.targets.odin.arithmetic import FORMATS
from snnkit.archives import read_npz
from snnkit.errors import CorruptFileError

_Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Chip:
    """How traces of one chip are known and run.

    ``marks``: keys that together only its traces have; ``keys``: all that it needs; ``run``: ``(arrays without out_*,
    file name) -> what every out_* array should be``, by name without ``out_``; it raises CorruptFileError.
    """

    marks: Collection[str]
    keys: Collection[str]
    run: Callable[[Mapping[str, NDArray[Any]], object], _Arrays]


CHIPS: dict[str, Chip] = {
    "catalyst_n1": Chip(catalyst_n1.MARKS, catalyst_n1.KEYS, catalyst_n1.replay),
    **{name: Chip(odin.MARKS[name], odin.KEYS[name], partial(odin.replay, chip)) for name, chip in FORMATS.items()},
}


def chip_of(keys: Collection[str]) -> str | None:
    """Return the chip whose trace has these keys, None where it is none that is known."""
    found = [name for name, chip in CHIPS.items() if all(mark in keys for mark in chip.marks)]
    return found[0] if len(found) == 1 else None


def is_trace(keys: Collection[str]) -> bool:
    """Whether an archive with these keys is a trace of some chip, known or not."""
    return any(key.startswith(("cfg_", "out_")) for key in keys) or chip_of(keys) is not None


def replay(path: str | Path) -> _Arrays:
    """Run what a file holds, a lava artifact or a trace of a design, and return everything that it does.

    An artifact (``compiler.simulate.artifact``) gives ``u{l}, v{l}, s{l}``, each (N, T), for every population l. A
    trace gives every ``out_*`` array that it should hold, under its name without ``out_``; what it does hold there is
    not looked at.

    Raises:
        ArtifactError: no file of either kind, or an artifact that is invalid.
        CorruptFileError: a trace of no chip that is known, or one that is incomplete, out of range or not modelled.
    """
    try:
        arrays = read_npz(path)
    except CorruptFileError:
        return reference.replay(path)  # which says what is wrong with it
    return run_arrays(arrays, path) if is_trace(arrays) else reference.replay(path)


def run_arrays(arrays: Mapping[str, NDArray[Any]], name: object) -> _Arrays:
    """Run a trace whose arrays have been read; ``name`` is the file's, for messages; see ``replay``."""
    chip = chip_of(arrays)
    if chip is None:
        near = max(CHIPS, key=lambda known: sum(key in arrays for key in CHIPS[known].keys))
        missing = [key for key in CHIPS[near].marks if key not in arrays]
        nearest = f"; next to {near}, it lacks {_listed(missing)}" if missing else ""
        raise CorruptFileError(
            f"{name} is no trace of one chip that is known ({', '.join(CHIPS)}): its keys are {_listed(arrays)}"
            f"{nearest}."
        )
    missing = [key for key in CHIPS[chip].keys if key not in arrays]
    if missing:
        raise CorruptFileError(f"{name} is an incomplete trace of {chip}: it lacks {_listed(missing)}.")
    given = {key: array for key, array in arrays.items() if not key.startswith("out_")}
    return CHIPS[chip].run(given, name)


def _listed(keys: Collection[str]) -> str:
    shown = sorted(keys)
    return ", ".join(shown[:8]) + (" …" if len(shown) > 8 else "") if shown else "none"
