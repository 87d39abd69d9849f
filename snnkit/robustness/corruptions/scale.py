"""What all corruptions share: the form of an image, and how lengths follow its size.

Published lengths are pixels of images of side 224. An image of another side takes its share of them, so that blur hides
as much of what is shown. Below half a pixel such a length would do nothing; so small images get something added:

    length(l) = l·r + LEAST·max(1 − r, 0),  r = min(H, W) / 224

On images of side 224 and more nothing is added. Of side 28 the blurs of 1, 2, 3, 4, 6 pixels become 0.5, 0.6, 0.7, 0.9,
1.1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]
"""An image (C, H, W) on the scale 0…1, C 1 or 3."""

SIDE = 224
"""Side in pixels that published lengths are meant for."""

LEAST = 0.4
"""Pixels."""


def ratio(image: Pixels) -> float:
    """Return r."""
    return min(image.shape[-2:]) / SIDE


def length(image: Pixels, pixels: float) -> float:
    """Return a length for images of side 224 in pixels of this one."""
    r = ratio(image)
    return pixels * r + LEAST * max(1 - r, 0)
