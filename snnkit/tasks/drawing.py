"""Colours of classes in pictures."""

from __future__ import annotations

import colorsys

_GOLDEN = 0.6180339887498949


def colours(count: int) -> list[tuple[int, int, int]]:
    """Return so many colours, each far from the ones before: hues a golden ratio of the circle apart."""
    hues = ((0.03 + number * _GOLDEN) % 1 for number in range(count))
    values = (colorsys.hsv_to_rgb(hue, 0.75 if n % 2 else 0.9, 1.0 if n % 3 else 0.8) for n, hue in enumerate(hues))
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in values]
