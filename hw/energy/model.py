"""What an energy model is, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hw.counts import Counts
from hw.quantity import Interval, Quantity


@dataclass(frozen=True)
class Part:
    """One term of the sum: a name, its interval, and the formula in words."""

    name: str
    energy: Interval
    formula: str


@dataclass(frozen=True)
class Energy:
    """Energy per image: the total, its parts, the nominal share of each layer, and the constants with their sources.

    ``uncounted`` names what the counts could not classify, layers of neurons whose operations per update are not known
    and layers that do what the model has no price for; an estimate with a non-empty list is a lower bound.
    """

    model: str
    title: str
    total: Interval
    parts: tuple[Part, ...]
    per_layer: tuple[tuple[str, float], ...]
    ends: Mapping[str, str]
    constants: Mapping[str, Quantity]
    uncounted: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: low, nominal, high, parts, per_layer."""
        return {
            "low": self.total.low,
            "nominal": self.total.nominal,
            "high": self.total.high,
            "parts": [
                {
                    "name": part.name,
                    "low": part.energy.low,
                    "nominal": part.energy.nominal,
                    "high": part.energy.high,
                    "formula": part.formula,
                }
                for part in self.parts
            ],
            "per_layer": [{"name": name, "nominal": value} for name, value in self.per_layer],
        }

    def provenance(self) -> dict[str, Any]:
        """Return plain data for JSON: model, unit, title, what the two ends count, constants with sources."""
        constants = []
        for name, quantity in self.constants.items():
            interval = quantity.interval
            constants.append({"name": name, **asdict(quantity), "low": interval.low, "high": interval.high})
        return {
            "model": self.model,
            "unit": self.total.unit,
            "title": self.title,
            "source": "; ".join(sorted({q.source for q in self.constants.values()})),
            "ends": dict(self.ends),
            "constants": constants,
            "uncounted": list(self.uncounted),
        }


@dataclass(frozen=True)
class EnergyModel:
    """A named way to price counts."""

    name: str
    title: str
    estimate: Callable[[Counts], Energy]
