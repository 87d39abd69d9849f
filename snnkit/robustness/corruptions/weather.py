"""Fog, snow and bright light, as pictures of them; the strengths are ImageNet-C's. Frost needs photographs of ice."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from snnkit.robustness.corruptions.blur import filtered, trail
from snnkit.robustness.corruptions.scale import Pixels, length

_FOG = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))  # how thick, and d: how smooth
# Mean and deviation of the field, size of a flake, least value that is one, radius and σ of its motion, and how much of
# the image's own colour is left.
_SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
_GREY = np.array([0.299, 0.587, 0.114], np.float32)[:, None, None]  # of red, green, blue (ITU-R BT.601)


def fog(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """A cloud is laid over the image, and both are dimmed so that the brightest pixel stays as bright."""
    thick, decay = _FOG[severity - 1]
    height, width = image.shape[-2:]
    bright = float(image.max())
    cloud = plasma(math.ceil(math.log2(max(height, width))), decay, draw)[:height, :width]
    return (image + thick * cloud) * np.float32(bright / (bright + thick))


def plasma(levels: int, decay: float, draw: np.random.Generator) -> Pixels:
    """Return a cloud (2^levels, 2^levels) with values 0…1 that continues beyond its edges on the other side.

    The diamond-square algorithm (Fournier, Fussell & Carpenter, CACM 25, 1982): points between known ones get the mean
    of their four neighbours plus noise, whose amplitude falls by decay² from one level to the next, as in ImageNet-C.
    """
    side = 2**levels
    made, step, amplitude = np.zeros((side, side)), side, 1.0
    while step > 1:
        half = step // 2
        corners = made[::step, ::step]
        middles = _mean(corners, np.roll(corners, -1, 0), np.roll(corners, -1, 1), np.roll(corners, -1, (0, 1)))
        made[half::step, half::step] = middles + draw.uniform(-amplitude, amplitude, middles.shape)
        middles = made[half::step, half::step]
        above, before = np.roll(middles, 1, 0), np.roll(middles, 1, 1)
        beside = _mean(corners, np.roll(corners, -1, 1), middles, above)
        made[::step, half::step] = beside + draw.uniform(-amplitude, amplitude, beside.shape)
        below = _mean(corners, np.roll(corners, -1, 0), middles, before)
        made[half::step, ::step] = below + draw.uniform(-amplitude, amplitude, below.shape)
        step, amplitude = half, amplitude / decay**2
    made -= made.min()
    return (made / max(made.max(), 1e-12)).astype(np.float32)


def snow(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """Flakes that fall, over an image that is paler; the same flakes once more, turned by 180°."""
    mean, deviation, size, least, radius, sigma, kept = _SNOW[severity - 1]
    height, width = image.shape[-2:]
    large = max(length(image, size), 1.0)
    field = draw.normal(mean, deviation, (math.ceil(height / large), math.ceil(width / large))).astype(np.float32)
    flakes = F.interpolate(torch.from_numpy(field)[None, None], (height, width), mode="bilinear")[0].numpy()
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1).astype(np.float32)
    angle = draw.uniform(-135, -45)
    flakes = filtered(flakes, trail(length(image, radius), length(image, sigma), angle), "replicate")
    grey = (image * _GREY).sum(0, keepdims=True) if len(image) == 3 else image
    pale = kept * image + (1 - kept) * np.maximum(image, 1.5 * grey + 0.5)
    return (pale + flakes + flakes[:, ::-1, ::-1]).astype(np.float32)


def brightness(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """More of the value of hue, saturation and value, at most 1."""
    del draw
    value = image.max(0, keepdims=True)
    more = np.minimum(value + _BRIGHTNESS[severity - 1], 1)
    return np.where(value > 0, image * (more / np.maximum(value, 1e-6)), more).astype(np.float32)


def _mean(*four: np.ndarray) -> np.ndarray:
    return sum(four) / 4  # type: ignore[return-value]
