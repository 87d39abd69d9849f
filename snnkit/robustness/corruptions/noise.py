"""Noise of single pixels, drawn for each channel by itself. The strengths are ImageNet-C's."""

from __future__ import annotations

import numpy as np

from snnkit.robustness.corruptions.scale import Pixels

_GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation
_SHOT = (60, 25, 12, 5, 3)  # photons of a white pixel
_IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)  # share of the values
_SPECKLE = (0.15, 0.2, 0.35, 0.45, 0.6)  # standard deviation as a share of the value


def gaussian_noise(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """x + N(0, σ)."""
    return image + _GAUSSIAN[severity - 1] * draw.standard_normal(image.shape, np.float32)


def shot_noise(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """Poisson(n·x) / n."""
    photons = _SHOT[severity - 1]
    return (draw.poisson(image * photons) / photons).astype(np.float32)


def impulse_noise(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """A share of the values becomes 0 or 1, each as often."""
    hit, salt = draw.random(image.shape) < _IMPULSE[severity - 1], draw.random(image.shape) < 0.5
    return np.where(hit, salt, image).astype(np.float32)


def speckle_noise(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """x + x·N(0, σ)."""
    return image + image * _SPECKLE[severity - 1] * draw.standard_normal(image.shape, np.float32)
