"""What an energy model is, and what it answers.

A model is data and one function: constants (each a ``Quantity``), choices that papers make differently (each a number
with its two ends), and the price of a layer in pJ, linear in each constant and choice and never falling with it. The
rest follows: the price at the lower ends, the nominal values and the upper ends is the interval, and each constant and
each choice moved alone between its ends shows where the interval comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hw.counts import Counts, LayerCounts
from hw.quantity import Interval, Quantity

Values = Mapping[str, float]
"""Constants in pJ and choices, by name: what a price is computed from."""

Price = Callable[[LayerCounts, Counts, Values], Mapping[str, float]]
"""(layer, the counts it is from, values) → pJ by part."""

WholePrice = Callable[[Counts, Values], Mapping[str, float]]
"""As ``Price``, for what belongs to no layer."""


class EstimateError(ValueError):
    """Counts that a model cannot price, or estimates that cannot stand side by side."""

    user_error = True


@dataclass(frozen=True)
class Choice:
    """Something papers do differently, as a number: ``what`` it is, and its values at the three ends."""

    what: str
    low: float
    nominal: float
    high: float


@dataclass(frozen=True)
class Part:
    """One term of the sum: a name, its interval, and the formula in words."""

    name: str
    energy: Interval
    formula: str


@dataclass(frozen=True)
class Driver:
    """What moves a total: with this one alone at its ends, the total goes from ``low`` to ``high``.

    ``kind`` is "constant", "choice" or "samples" (the 95 % interval of the counts).
    """

    name: str
    kind: str
    low: float
    high: float


@dataclass(frozen=True)
class Energy:
    """Energy per sample: the total, its parts, the nominal share of each layer, and the constants with their sources.

    ``layer_parts`` splits each layer's share. ``drivers`` are sorted by what they move; ``unmoved`` names constants and
    choices that have two ends and move nothing here. ``sampling`` is the half-width of the total's 95 % interval over
    samples, at most: those of the layers are added up. ``uncounted`` names what the counts could not classify and
    layers that do what the model has no price for: with any, the estimate is a lower bound. ``assumed`` names the
    constants that were not checked against their source and that the answer hangs on.
    """

    model: str
    title: str
    total: Interval
    parts: tuple[Part, ...]
    per_layer: tuple[tuple[str, float], ...]
    ends: Mapping[str, str]
    constants: Mapping[str, Quantity]
    uncounted: tuple[str, ...]
    layer_parts: tuple[tuple[str, Mapping[str, float]], ...] = ()
    drivers: tuple[Driver, ...] = ()
    sampling: float | None = None
    assumed: tuple[str, ...] = ()
    precision: str = ""
    technology_nm: float | None = None
    scope: str = ""
    choices: Mapping[str, Choice] = field(default_factory=dict)
    unmoved: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: low, nominal, high, sampling, parts, per_layer, drivers, unmoved."""
        return {
            "low": self.total.low,
            "nominal": self.total.nominal,
            "high": self.total.high,
            "sampling": self.sampling,
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
            "per_layer": [
                {"name": name, "nominal": value, "parts": dict(parts)}
                for (name, value), (_, parts) in zip(self.per_layer, self.layer_parts, strict=True)
            ],
            "drivers": [asdict(driver) for driver in self.drivers],
            "unmoved": list(self.unmoved),
        }

    def provenance(self) -> dict[str, Any]:
        """Return plain data for JSON: model, unit, scope, what the two ends count, constants with sources."""
        constants = []
        for name, quantity in self.constants.items():
            interval = quantity.interval
            constants.append({"name": name, **asdict(quantity), "low": interval.low, "high": interval.high})
        return {
            "model": self.model,
            "unit": self.total.unit,
            "title": self.title,
            "scope": self.scope,
            "precision": self.precision,
            "technology_nm": self.technology_nm,
            "source": "; ".join(sorted({q.source for q in self.constants.values()})),
            "ends": dict(self.ends),
            "formulas": {part.name: part.formula for part in self.parts},
            "constants": constants,
            "choices": [{"name": name, **asdict(choice)} for name, choice in self.choices.items()],
            "uncounted": list(self.uncounted),
            "assumed": list(self.assumed),
        }


_ENDS = {
    "low": "every constant and every choice at its lower end",
    "nominal": "nominal values",
    "high": "every constant and every choice at its upper end",
}


def _all_priced(counts: Counts) -> Sequence[str]:
    return ()


@dataclass(frozen=True)
class EnergyModel:
    """A named way to price counts.

    Args:
        name: as ``estimate`` takes it.
        title: one line for tables.
        precision: of the numbers that are computed with, such as "fp32".
        scope: what is priced, and what is left out.
        constants: energies, by name.
        formulas: the parts, each with its formula in words; ``price`` names no others.
        price: pJ of a layer by part.
        technology_nm: the process, None where there is no one process.
        choices: what papers do differently, by name.
        whole: pJ of what belongs to no layer.
        unpriced: names of layers that do what has no price.
        ends: what the three ends are, in words.
        refuse: says why counts cannot be priced at all; None where they can.
        unit: of the answer.
        kind: what it is an energy of: "network" (any counts) or "spiking" (only networks of events).
    """

    name: str
    title: str
    precision: str
    scope: str
    constants: Mapping[str, Quantity]
    formulas: Mapping[str, str]
    price: Price
    technology_nm: float | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict)
    whole: WholePrice | None = None
    unpriced: Callable[[Counts], Sequence[str]] = _all_priced
    ends: Mapping[str, str] = field(default_factory=lambda: _ENDS)
    refuse: Callable[[Counts], str | None] = lambda counts: None
    unit: str = "uJ"
    kind: str = "network"

    def __post_init__(self) -> None:
        double = set(self.constants) & set(self.choices)
        if double:
            raise ValueError(f"energy model {self.name!r}: {', '.join(sorted(double))} is a constant and a choice.")

    @property
    def assumed(self) -> tuple[str, ...]:
        """The constants that were not checked against their source."""
        return tuple(name for name, quantity in self.constants.items() if not quantity.confirmed)

    def estimate(self, counts: Counts, strict: bool = False) -> Energy:
        """Price ``counts``.

        Args:
            counts: what a network did.
            strict: refuse constants that were not checked against their source, and counts that are not all priced.

        Raises:
            EstimateError: the model cannot price these counts (says why and what would do), or they are no counts.
        """
        if not isinstance(counts, Counts):
            given = type(counts).__name__
            raise EstimateError(f"energy model {self.name!r}: prices Counts, as compiler.count returns, not a {given}.")
        why = self.refuse(counts)
        if why:
            raise EstimateError(f"energy model {self.name!r}: {why}")
        uncounted = (*counts.uncounted, *self.unpriced(counts))
        ends = {end: self._values(end) for end in ("low", "nominal", "high")}
        assumed = self._assumed(counts, ends["high"])
        if strict:
            self._check_strictly(uncounted, assumed)
        by_layer = [self._layer(layer, counts, ends["nominal"]) for layer in counts.per_layer]
        totals = {end: self._parts(counts, values) for end, values in ends.items()}
        parts = tuple(
            Part(name, self._interval(*(totals[end].get(name, 0.0) for end in ends)), formula)
            for name, formula in self.formulas.items()
            if any(name in totals[end] for end in ends)
        )
        whole = self._interval(*(sum(totals[end].values()) for end in ends))
        upper = sum(self._parts(counts.upper(), ends["nominal"]).values()) if counts.images > 1 else None
        sampling = None if upper is None else max(self._convert(upper) - whole.nominal, 0.0)
        drivers, unmoved = self._drivers(counts, whole.nominal, sampling)
        return Energy(
            self.name,
            self.title,
            whole,
            parts,
            tuple(
                (layer.name, self._convert(sum(one.values())))
                for layer, one in zip(counts.per_layer, by_layer, strict=True)
            ),
            self.ends,
            self.constants,
            uncounted,
            tuple(
                (layer.name, {part: self._convert(pj) for part, pj in one.items()})
                for layer, one in zip(counts.per_layer, by_layer, strict=True)
            ),
            drivers,
            sampling,
            assumed,
            self.precision,
            self.technology_nm,
            self.scope,
            self.choices,
            unmoved,
        )

    def _assumed(self, counts: Counts, values: Values) -> tuple[str, ...]:
        """Return the unchecked constants that the answer hangs on: without them, its upper end would be another."""
        whole = sum(self._parts(counts, values).values())
        return tuple(name for name in self.assumed if sum(self._parts(counts, {**values, name: 0.0}).values()) != whole)

    def _check_strictly(self, uncounted: Sequence[str], assumed: Sequence[str]) -> None:
        if assumed:
            raise EstimateError(
                f"energy model {self.name!r}: {', '.join(assumed)} was not checked against its source; "
                "take it as assumed by leaving --strict out, or choose another model."
            )
        if uncounted:
            raise EstimateError(f"energy model {self.name!r} has no price for all of {', '.join(uncounted[:5])}.")

    def _values(self, end: str) -> dict[str, float]:
        constants = {name: getattr(q.interval.to("pJ"), end) for name, q in self.constants.items()}
        return {**constants, **{name: getattr(choice, end) for name, choice in self.choices.items()}}

    def _layer(self, layer: LayerCounts, counts: Counts, values: Values) -> Mapping[str, float]:
        found = self.price(layer, counts, values)
        unknown = set(found) - set(self.formulas)
        if unknown:
            raise ValueError(f"energy model {self.name!r} prices {', '.join(sorted(unknown))} without a formula.")
        return found

    def _parts(self, counts: Counts, values: Values) -> dict[str, float]:
        sums: dict[str, float] = {}
        found = [self._layer(layer, counts, values) for layer in counts.per_layer]
        if self.whole is not None:
            found.append(self.whole(counts, values))
        for one in found:
            for part, pj in one.items():
                sums[part] = sums.get(part, 0.0) + pj
        return sums

    def _drivers(
        self, counts: Counts, nominal: float, sampling: float | None
    ) -> tuple[tuple[Driver, ...], tuple[str, ...]]:
        """Return what moves the total, widest first, and the names of what could and does not."""
        middle, found, unmoved = self._values("nominal"), list[Driver](), list[str]()
        low, high = self._values("low"), self._values("high")
        for name in middle:
            if low[name] == high[name]:
                continue
            ends = [self._convert(sum(self._parts(counts, {**middle, name: at[name]}).values())) for at in (low, high)]
            if ends[0] == ends[1]:
                unmoved.append(name)
            else:
                found.append(Driver(name, "constant" if name in self.constants else "choice", *ends))
        if sampling:
            found.append(Driver("samples", "samples", max(nominal - sampling, 0.0), nominal + sampling))
        return tuple(sorted(found, key=lambda one: one.low - one.high)), tuple(unmoved)

    def _convert(self, pj: float) -> float:
        return Interval(pj, pj, pj, "pJ").to(self.unit).nominal

    def _interval(self, low: float, nominal: float, high: float) -> Interval:
        # Sums of floats may cross by a last bit where they are equal in exact arithmetic.
        return Interval(min(low, nominal), nominal, max(nominal, high), "pJ").to(self.unit)


def charged(layer: LayerCounts, first_layer: float) -> float:
    """Return how often a layer is charged: a static one once with ``first_layer`` 0, at every step with 1."""
    return 1 + first_layer * (layer.static_repeats - 1) if layer.static else 1.0


def with_static_power(energy: Energy, static: Interval) -> Energy:
    """Return an estimate with the energy of idle power × latency as a part of its own."""
    part = Part("static power", static.to(energy.total.unit), "idle power × latency of a sample")
    return replace(energy, total=energy.total + part.energy, parts=(*energy.parts, part))


FIRST_LAYER = Choice("a layer whose input never changes is charged once (0) or at every step (1)", 0.0, 0.0, 1.0)
"""The choice that most models share; see ``charged``."""
