"""Careful access to JSON values that may be missing, and numbers as people like to read them."""

from __future__ import annotations

from typing import Any

GAP = "\u202f"  # narrow space that does not break, between a number and its unit
NONE = "–"  # what a table shows where a run holds no value
_MOST = 1e300
_LARGE = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SMALL = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
_JOULES = {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6, "µJ": 1e-6, "nJ": 1e-9, "pJ": 1e-12, "fJ": 1e-15}


def number(value: Any) -> float | int | None:
    """The value when it is a number (a truth value is none, nor what cannot be multiplied any more), else None."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST
    return value if known else None


def obj(value: Any, *path: str) -> dict[str, Any]:
    """The dictionary found at `path` below `value`; empty where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def rows(value: Any) -> list[dict[str, Any]]:
    """The dictionaries in a list; empty when `value` is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """A value as words; nothing for None."""
    return "" if value is None else str(value)


def total(values: list[float | int | None]) -> float | int | None:
    """Sum of the numbers present; None when there are none."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def ratio(part: float | int | None, whole: float | int | None) -> float | None:
    """`part / whole`, or None where that has no meaning."""
    return part / whole if part is not None and whole else None


def _digits(value: float) -> str:
    """Three significant digits, without an exponent and without trailing zeros behind whole numbers."""
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2
    rounded = f"{value:.{places}f}"
    return rounded.rstrip("0").rstrip(".") if "." in rounded else rounded


def si(value: Any, unit: str = "") -> str:
    """A number with an SI prefix: 1234567 is `1.23 M`, and 2.5e-6 with unit J is `2.5 µJ`."""
    value = number(value)
    if value is None:
        return NONE
    size = abs(value)
    for scale, prefix in _LARGE:
        if size >= scale * 0.9995:
            return f"{_digits(value / scale)}{GAP}{prefix}{unit}"
    if not unit:
        return _small(value)
    for scale, prefix in _SMALL:
        if size >= scale * 0.9995:
            return f"{_digits(value / scale)}{GAP}{prefix}{unit}"
    return f"0{GAP}{unit}" if value == 0 else f"{value:.2g}{GAP}{unit}"


def _small(value: float | int) -> str:
    if isinstance(value, int) or value == 0 or abs(value) >= 1:
        return _digits(value)
    return f"{value:.2g}" if abs(value) < 1e-4 else f"{value:.3g}"


def joules(value: Any, unit: str) -> str:
    """An energy given in `unit`, with the SI prefix that suits its size."""
    value = number(value)
    if value is None:
        return NONE
    if unit in _JOULES:
        return si(float(value) * _JOULES[unit], "J")
    return f"{si(value)}{GAP}{unit}".rstrip()


def percent(value: Any, places: int = 1) -> str:
    """A fraction as percent: 0.878 is `87.8 %`."""
    value = number(value)
    return NONE if value is None else f"{100 * value:.{places}f}{GAP}%"


def whole(value: Any) -> str:
    """A count in full, thousands apart: 1234567 is `1,234,567`."""
    value = number(value)
    return NONE if value is None else f"{value:,.0f}"


def plural(count: float | int, word: str) -> str:
    """`1 core`, `2 cores`, `1,024 cores`."""
    return f"{whole(count)} {word if count == 1 else word + 's'}"


def times(factor: float | None) -> str:
    """How much less it is where something else takes `factor` times as much: `6.5 times less`; nothing for None."""
    if not factor:
        return ""
    return f"{si(factor)} times less" if factor >= 1 else f"{si(1 / factor)} times more"


def names(value: Any) -> list[str]:
    """The names in a list of names, or of objects with a name."""
    if not isinstance(value, list):
        return []
    return [text(item.get("name") if isinstance(item, dict) else item) for item in value]
