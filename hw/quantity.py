"""Numbers about silicon: every one carries its unit, its range and where it was read."""

from __future__ import annotations

from dataclasses import dataclass

from hw.lookup import nearest


class UnitError(ValueError):
    """A unit that is not known, or units that do not go together: in a sum, a product or a conversion."""

    user_error = True


_DIMENSIONS: dict[str, dict[str, float]] = {
    "energy": {"fJ": 1e-15, "pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1.0},
    "power": {"pW": 1e-12, "nW": 1e-9, "uW": 1e-6, "mW": 1e-3, "W": 1.0},
    "time": {"ps": 1e-12, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0},
    "frequency": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    "length": {"nm": 1e-9, "um": 1e-6, "mm": 1e-3},
    "area": {"um²": 1e-12, "um2": 1e-12, "mm²": 1e-6, "mm2": 1e-6},
    "voltage": {"mV": 1e-3, "V": 1.0},
    "current": {"nA": 1e-9, "uA": 1e-6, "mA": 1e-3, "A": 1.0},
}
_SIZES = {unit: (name, size) for name, units in _DIMENSIONS.items() for unit, size in units.items()}
_COUNTED = frozenset(
    (
        *("bits", "bytes", "KiB", "MiB", "words", "entries", "slots", "registers", "values", "levels", "states"),
        *("neurons", "compartments", "synapses", "weights", "axons", "dendrites", "connections", "fan-in", "fan-out"),
        *("cores", "tiles", "clusters", "chips", "banks", "memories", "routers", "links", "lanes", "PEs", "layers"),
        *(
            "rows",
            "columns",
            "channels",
            "kernels",
            "filters",
            "pixels",
            "delays",
            "inputs",
            "outputs",
            "maps",
            "blocks",
        ),
        *("spikes", "events", "packets", "flits", "hops", "updates", "operations", "accesses", "reads", "writes"),
        *(
            "steps",
            "cycles",
            "samples",
            "images",
            "configurations",
            "contexts",
            "transistors",
            "gates",
            "LUTs",
            "%",
            "1",
        ),
    )
)
"""What is counted in whole things: added to its like, converted into nothing. Another one is a word in this list."""


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
            _ = self.interval  # which checks the unit and the order
        except ValueError as error:
            raise type(error)(f"{error} ({self.source})") from None

    @property
    def interval(self) -> Interval:
        """The quantity as an interval of its unit."""
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        return Interval(low, self.value, high, self.unit)


@dataclass(frozen=True)
class Interval:
    """low ≤ nominal ≤ high, of one unit that is known here; sums of unlike units are refused."""

    low: float
    nominal: float
    high: float
    unit: str

    def __post_init__(self) -> None:
        if self.unit not in _SIZES and self.unit not in _COUNTED:
            raise UnitError(f"unknown unit {self.unit!r}.{_known(self.unit)}")
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
        """Convert between units of one dimension, such as energy (fJ … J), power (pW … W) or time (ps … s).

        Raises:
            UnitError: the units are of two dimensions, of none, or unknown.
        """
        mine, other = _SIZES.get(self.unit), _SIZES.get(unit)
        if mine is None or other is None or mine[0] != other[0]:
            raise UnitError(f"cannot convert {self.unit} to {unit}")
        factor = mine[1] / other[1]
        return Interval(self.low * factor, self.nominal * factor, self.high * factor, unit)

    def of(self, unit: str) -> Interval:
        """Return the same numbers in another unit: for a product whose unit is neither factor's."""
        return Interval(self.low, self.nominal, self.high, unit)

    @property
    def dimension(self) -> str | None:
        """ "energy", "power", "time" …; None for what is counted."""
        return _SIZES[self.unit][0] if self.unit in _SIZES else None


def _known(unit: str) -> str:
    """Return what a unit may be: the nearest, or what there is."""
    near = nearest(unit, [*_SIZES, *_COUNTED], cutoff=0.7)
    some = ", ".join(" ".join(units) for units in list(_DIMENSIONS.values())[:3])
    return near or f" Known: {some}, counts such as bits or cores …; another one is a word in hw/quantity.py."
