"""One line of a benchmark's result."""

from __future__ import annotations

from typing import Any

from snnkit.bench.harness import Timing


def rows(
    case: str, timings: dict[str, Timing], against: str, bars: dict[str, float] | None = None
) -> list[dict[str, Any]]:
    """Return a row per variant: its times, and how many times faster than ``against`` it is.

    Args:
        case: what was measured.
        timings: variant → timing, all from one ``compare``.
        against: the peer that the ratios refer to.
        bars: variant → ratio that is the goal.
    """
    found = []
    for variant, timing in timings.items():
        row: dict[str, Any] = {
            "case": case,
            "variant": variant,
            "against": against,
            "min_ms": round(timing.min_ms, 4),
            "median_ms": round(timing.median_ms, 4),
            "ratio": round(timing.ratio_to(timings[against]), 3),
        }
        if bars and variant in bars:
            row |= {"bar": bars[variant], "reached": row["ratio"] >= bars[variant]}
        found.append(row)
    return found


def figure(case: str, variant: str, value: float, unit: str, bar: float, at_most: bool = True) -> dict[str, Any]:
    """Return a row for a figure that is no ratio of times, such as bytes or an error."""
    reached = value <= bar if at_most else value >= bar
    return {"case": case, "variant": variant, "value": value, "unit": unit, "bar": bar, "reached": reached}
