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

    ``unchecked`` says what was not compared, since the chip has no such number, and the largest need of all layers
    (None where it is no number); ``doubtful`` by which of its sources the network fits and by which not.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    chip: Chip
    violations: list[Violation] = field(default_factory=list)
    unchecked: dict[str, int | None] = field(default_factory=dict)
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
        known = self.unchecked.setdefault(what, need)
        if known is not None and need is not None:
            self.unchecked[what] = max(known, need)
