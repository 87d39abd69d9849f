"""What the compiler refuses, in one line each."""

from __future__ import annotations

from dataclasses import dataclass

from snnkit.errors import SnnkitError


class CaptureError(SnnkitError):
    """A model holds something that has no place in a graph; ``reasons`` names every module and operator."""

    def __init__(self, message: str, reasons: tuple[str, ...] = ()):
        self.reasons = reasons or (message,)
        super().__init__(message)


class GraphError(SnnkitError, ValueError):
    """A graph that does not hold together; the message names the node and what is wrong with it."""


@dataclass(frozen=True)
class Violation:
    """One reason why a network does not fit a chip: the ``layer``, what it ``need``s, and the chip's ``limit``."""

    layer: str
    need: str
    limit: str

    def __str__(self) -> str:
        return f"{self.layer} needs {self.need}, {self.limit}"


class CompileError(SnnkitError):
    """A graph cannot go onto a chip; ``violations`` says why, the message gives the first and how many more."""

    def __init__(self, *violations: Violation):
        self.violations = violations
        more = f" (and {len(violations) - 1} more; `snnkit check` lists them)" if len(violations) > 1 else ""
        super().__init__(f"{violations[0]}{more}.")
