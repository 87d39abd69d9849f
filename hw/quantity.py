"""Numbers about silicon: every one carries its unit, its range and where it was read."""

from __future__ import annotations

from dataclasses import dataclass


class UnitError(ValueError):
    """Units that do not go together: in a sum, a product or a conversion."""

    user_error = True


@dataclass(frozen=True)
class Quantity:
    """A physical constant.

    ``low`` and ``high`` bound what sources say (equal to ``value`` where only one source is known); ``source`` names
    the publication; ``confirmed`` is False where the number was not checked against its source.
    """

    value: float
    unit: str
    source: str
    low: float | None = None
    high: float | None = None
    confirmed: bool = True

    def __post_init__(self) -> None:
        try:
            _ = self.interval  # which checks the order
        except ValueError as error:
            raise ValueError(f"{error} ({self.source})") from None

    @property
    def interval(self) -> Interval:
        """The quantity as an interval of its unit."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return Interval(low, self.value, high, self.unit)


@dataclass(frozen=True)
class Interval:
    """low ≤ nominal ≤ high, of one unit; sums of unlike units are refused."""

    low: float
    nominal: float
    high: float
    unit: str

    def __post_init__(self) -> None:
        if not self.low <= self.nominal <= self.high:
            raise ValueError(f"low {self.low} <= nominal {self.nominal} <= high {self.high} does not hold")

    def __add__(self, other: Interval) -> Interval:
        if self.unit != other.unit:
            raise UnitError(f"cannot add {other.unit} to {self.unit}")
        return Interval(self.low + other.low, self.nominal + other.nominal, self.high + other.high, self.unit)

    def times(self, low: float, nominal: float, high: float) -> Interval:
        """Multiply by an uncertain, non-negative count."""
        if not 0 <= low <= nominal <= high:
            raise ValueError(f"0 <= {low} <= {nominal} <= {high} does not hold")
        return Interval(self.low * low, self.nominal * nominal, self.high * high, self.unit)

    def to(self, unit: str) -> Interval:
        """Convert between units of one dimension: energy (pJ … J), power (nW … W) or time (ns … s).

        Raises:
            UnitError: the units are of two dimensions, or unknown.
        """
        mine, other = _UNITS.get(self.unit), _UNITS.get(unit)
        if mine is None or other is None or mine[0] != other[0]:
            raise UnitError(f"cannot convert {self.unit} to {unit}")
        factor = mine[1] / other[1]
        return Interval(self.low * factor, self.nominal * factor, self.high * factor, unit)

    def of(self, unit: str) -> Interval:
        """Return the same numbers in another unit: for a product whose unit is neither factor's."""
        return Interval(self.low, self.nominal, self.high, unit)

    @property
    def dimension(self) -> str | None:
        """ "energy", "power" or "time"; None for a unit of none of them."""
        return _UNITS[self.unit][0] if self.unit in _UNITS else None


_UNITS = {
    **{unit: ("energy", size) for unit, size in (("pJ", 1e-12), ("nJ", 1e-9), ("uJ", 1e-6), ("mJ", 1e-3), ("J", 1.0))},
    **{unit: ("power", size) for unit, size in (("nW", 1e-9), ("uW", 1e-6), ("mW", 1e-3), ("W", 1.0))},
    **{unit: ("time", size) for unit, size in (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0))},
}
