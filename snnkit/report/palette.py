"""One colour per population, the same in every chart and table of the page.

The hue follows the depth of the network, from blue at the input round to violet at the output, in the perceptual
space OKLCH (https://bottosson.github.io/posts/oklab/), so that every colour stands out equally well. There is one
shade for a light page and one for a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from snnkit.report.read import Run
from snnkit.report.values import number, obj, rows

_FIRST_HUE, _SWEEP = 262.0, 318.0  # degrees: blue, then backwards through green, yellow and red to violet
_LIGHT, _DARK = (0.60, 0.14), (0.74, 0.125)  # (lightness, chroma)
_MANY = 12  # beyond that many, neighbours also differ in lightness


class Palette:
    """Which populations a run has, in order of depth, and to which one a layer, or a chip's helper of it, belongs."""

    def __init__(self, run: Run):
        layers = rows(obj(run.counts, "network").get("per_layer"))
        mapped = sorted(rows(run.mapping.get("populations")), key=lambda item: number(item.get("depth")) or 0)
        neurons = [layer for layer in layers if layer.get("kind") == "neuron"]
        found = _names(mapped) + _names(neurons) + _names(rows(run.raster.get("populations")))
        helps = _helpers(mapped)
        self.names = [name for name in dict.fromkeys(found) if name not in helps]
        self._index = {name: index for index, name in enumerate(self.names)}
        self._index |= {helper: self._index[layer] for helper, layer in helps.items()}
        self._index |= {name: index for name, index in self._feeding(layers) if name not in self._index}

    def of(self, layer: Any) -> int | None:
        """Index of the population that `layer` is, or whose neurons it feeds; None when there is none."""
        return self._index.get(str(layer))

    def css(self) -> str:
        """The colours as CSS custom properties `--p0`, `--p1`, …"""
        count = len(self.names)
        shades = (f"--p{i}:light-dark({_hex(i, count, _LIGHT)},{_hex(i, count, _DARK)});" for i in range(count))
        return ":root{" + "".join(shades) + "}"

    def _feeding(self, layers: list[dict[str, Any]]) -> Iterable[tuple[str, int]]:
        """A layer that is no population takes the colour of the next population behind it."""
        upcoming: int | None = None
        for layer in reversed(layers):
            name = str(layer.get("name"))
            upcoming = self._index.get(name, upcoming)
            if upcoming is not None:
                yield name, upcoming


def _names(items: list[dict[str, Any]]) -> list[str]:
    return [str(item["name"]) for item in items if item.get("name") is not None]


def _helpers(mapped: list[dict[str, Any]]) -> dict[str, str]:
    """What a chip needs beside a layer's neurons (relays, copies, parts: `stem.lif.relay1`), and that layer."""
    layers = _names([item for item in mapped if item.get("kind") in ("neuron", None)])
    others = _names([item for item in mapped if item.get("kind") not in ("neuron", "readout", None)])
    found = {}
    for name in others:
        of = [layer for layer in layers if name.startswith(f"{layer}.")]
        if of:
            found[name] = max(of, key=len)
    return found


def _hex(index: int, count: int, shade: tuple[float, float]) -> str:
    lightness, chroma = shade
    if count > _MANY:
        lightness += 0.05 if index % 2 else -0.03
    hue = math.radians(_FIRST_HUE - _SWEEP * index / max(count, 1))
    return _oklab_to_hex(lightness, chroma * math.cos(hue), chroma * math.sin(hue))


def _oklab_to_hex(lightness: float, a: float, b: float) -> str:
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _gamma(channel)):02x}" for channel in linear)


def _gamma(channel: float) -> float:
    channel = min(max(channel, 0.0), 1.0)
    return 12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055
