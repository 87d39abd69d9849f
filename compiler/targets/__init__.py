"""Targets: what each kind of silicon arithmetic can do. To add one: its folder, and its line in ``_ALL``.

A chip names its target by ``semantics``; several chips may share one.
"""

from __future__ import annotations

from compiler.errors import CompileError, Violation
from compiler.targets import catalyst_n1, loihi, odin
from compiler.targets.target import Activity, Image, Options, Target
from hw.chip import Chip

_ALL = (loihi.TARGET, *odin.TARGETS, catalyst_n1.TARGET)
TARGETS: dict[str, Target] = {target.semantics: target for target in _ALL}


def target_of(chip: Chip) -> Target:
    """Return the target that a chip names.

    Raises:
        CompileError: there is none, or the chip's own numbers contradict it.
    """
    semantics = chip.semantics
    if semantics not in TARGETS:
        raise CompileError(Violation(chip.name, f"the arithmetic {semantics!r}", f"there is {', '.join(TARGETS)}"))
    wrong = TARGETS[semantics].disagreement(chip)
    if wrong:
        raise CompileError(Violation(chip.name, f"other arithmetic than {semantics!r}", wrong))
    return TARGETS[semantics]


__all__ = ["TARGETS", "Activity", "Image", "Options", "Target", "target_of"]
