"""Targets: what each kind of silicon arithmetic can do. To add one: its folder, and its line in ``_FOLDERS``.

A chip names its target by ``semantics``; several chips may share one.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import TYPE_CHECKING, Any

from compiler.errors import CompileError, Violation
from compiler.targets.target import Activity, Image, Options, Target
from hw import get_chip, list_chips
from hw.chip import Chip

if TYPE_CHECKING:
    TARGETS: dict[str, Target]

_FOLDERS = ("loihi", "graded", "odin", "catalyst_n1")
"""Each has a module ``target`` that holds a tuple ``TARGETS``; loaded when one is first asked for, so that the integer
operations of a folder stay below the passes that its target needs."""


@cache
def targets() -> dict[str, Target]:
    """Return every target by its semantics."""
    modules = (importlib.import_module(f"compiler.targets.{folder}.target") for folder in _FOLDERS)
    return {target.semantics: target for module in modules for target in module.TARGETS}


def __getattr__(name: str) -> Any:
    if name == "TARGETS":
        return targets()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def target_of(chip: Chip) -> Target:
    """Return the target that a chip names.

    Raises:
        CompileError: there is none (what can be had instead is said), or the chip's own numbers contradict it.
    """
    semantics, known = chip.semantics, targets()
    if not semantics:
        able = ", ".join(name for name in list_chips() if get_chip(name).semantics in known)
        by_core = chip.layers is not None and chip.layers.kernel_memory
        file = ", `snnkit export --format speck` writes its configuration" if by_core else ""
        limit = f"it is described only: `snnkit check --chip {chip.name}` holds a network against it{file}; programs "
        raise CompileError(Violation(chip.name, "a target that makes programs", f"{limit}are made for {able}"))
    if semantics not in known:
        raise CompileError(Violation(chip.name, f"the arithmetic {semantics!r}", f"there is {', '.join(known)}"))
    wrong = known[semantics].disagreement(chip)
    if wrong:
        raise CompileError(Violation(chip.name, f"other arithmetic than {semantics!r}", wrong))
    return known[semantics]


__all__ = ["TARGETS", "Activity", "Image", "Options", "Target", "target_of", "targets"]
