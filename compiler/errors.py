"""What the compiler refuses, in one line each."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    """One reason why a network does not fit a chip: the ``layer``, what it ``need``s, and the chip's ``limit``.

    The rest does not make two of them different: ``rewrite`` is what would fit ("" where nothing is known), ``kind``
    the limit's name ("reset", "fan-in" …), ``need_value`` and ``limit_value`` its numbers, and ``confirmed`` says
    whether the chip's number was checked against its source.
    """

    layer: str
    need: str
    limit: str
    rewrite: str = field(default="", compare=False)
    kind: str = field(default="", compare=False)
    need_value: float | None = field(default=None, compare=False)
    limit_value: float | None = field(default=None, compare=False)
    confirmed: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        return f"{self.layer} needs {self.need}, {self.limit}"


class CompileError(SnnkitError):
    """A graph cannot go onto a chip; ``violations`` says why, the message gives the first and how many more."""

    def __init__(self, *violations: Violation):
        self.violations = violations
        more = f" (and {len(violations) - 1} more; `snnkit check` lists them)" if len(violations) > 1 else ""
        super().__init__(f"{violations[0]}{more}.")
