"""Sizes in bytes as people write them: 512MB, 2GiB, 1_000_000."""

from __future__ import annotations

import re

from snnkit.errors import InvalidArgumentError

_UNITS = {"": 1, "b": 1}
_UNITS |= {f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)}
_UNITS |= {f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)}


def parse_bytes(given: int | str) -> int:
    """Return bytes for a whole number or text such as ``"512MB"`` (10⁶) or ``"2GiB"`` (2³⁰).

    Raises:
        InvalidArgumentError: neither, or not above 0.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        size = given
    else:
        found = re.fullmatch(r"\s*([\d_]*\.?\d+)\s*([a-zA-Z]*)\s*", str(given))
        if found is None or found[2].lower() not in _UNITS:
            raise InvalidArgumentError(
                f"budget={given!r}: give a number of bytes, or a number with a unit: kB, MB, GB, TB (powers of 1000), "
                "KiB, MiB, GiB, TiB (of 1024)."
            )
        size = int(float(found[1].replace("_", "")) * _UNITS[found[2].lower()])
    if size <= 0:
        raise InvalidArgumentError(f"budget={given!r}: must be above 0 bytes.")
    return size


def show_bytes(size: float) -> str:
    """Return a size with three digits and a binary unit: 1536 → "1.50 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"
