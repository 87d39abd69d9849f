"""Findings: what a check collects, violations and whatever could not be compared."""

from __future__ import annotations

from dataclasses import dataclass, field

from compiler.checking.needs import Layer
from compiler.errors import Violation
from compiler.graph import Graph
from hw.chip import Chip
from hw.quantity import Quantity


@dataclass
class Findings:
    """What is found while a graph, cut into ``layers``, is held against a chip.

    ``unchecked`` says what was not compared, since the chip has no such number; ``doubtful`` by which of its sources
    the network fits and by which not.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    chip: Chip
    violations: list[Violation] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)

    def wrong(self, layer: str, need: str, limit: str, kind: str, rewrite: str = "", confirmed: bool = True) -> None:
        """Add a violation that has no numbers."""
        self.violations.append(Violation(layer, need, limit, rewrite, kind, confirmed=confirmed))

    def most(
        self, layer: str, need: int, unit: str, allowed: Quantity | None, kind: str, rewrite: str = "", of: str = ""
    ) -> bool:
        """Hold ``need`` against the most that is allowed; return whether it is more. None: noted as not checked.

        ``unit`` is what is counted, ``of`` whose limit it is ("a core of speck"; the chip's where empty).
        """
        if allowed is None:
            self.unknown(unit, need)
            return False
        limit = int(allowed.value)
        if need > limit:
            text = f"{of or self.chip.name} has {limit:,}"
            self.violations.append(
                Violation(layer, f"{need:,} {unit}", text, rewrite, kind, need, limit, allowed.confirmed)
            )
            return True
        lowest = limit if allowed.low is None else int(allowed.low)
        if need > lowest:
            said = f"{layer}: {need:,} {unit} fit the {limit:,} of {self.chip.name}"
            self.doubtful.append(f"{said}, not the {lowest:,} that another source gives")
        return False

    def unknown(self, what: str, need: int | None = None) -> None:
        """Note that something was not compared; of several layers the largest need is kept."""
        text = what if need is None else f"{what} (here up to {need:,})"
        same = [i for i, one in enumerate(self.unchecked) if one == what or one.startswith(f"{what} (")]
        if not same:
            self.unchecked.append(text)
        elif need is not None and need > _number(self.unchecked[same[0]]):
            self.unchecked[same[0]] = text


def _number(text: str) -> int:
    digits = text.rpartition("up to ")[2].rstrip(")").replace(",", "")
    return int(digits) if digits.isdigit() else 0
