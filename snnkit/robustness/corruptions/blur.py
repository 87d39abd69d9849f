"""Blur. The radii and widths are ImageNet-C's, of images of side 224; see ``scale`` for others."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from snnkit.robustness.corruptions.scale import Pixels, length

_GAUSSIAN = (1, 2, 3, 4, 6)  # σ
_DEFOCUS = (3, 4, 6, 8, 10)  # radius
_MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))  # radius, σ
_ZOOM = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))  # end of the factors from 1 on, step

_FINE = 8  # points that a kernel is drawn with along a pixel
_DENSE = 0.3  # share of a kernel's values that are not 0, from which on the whole of it is faster


def gaussian_blur(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """A normal distribution."""
    del draw
    sigma = length(image, _GAUSSIAN[severity - 1])
    return ndimage.gaussian_filter(image, (0, sigma, sigma), mode="nearest")


def defocus_blur(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """A disk; a kernel's pixel holds the share of it that the disk covers."""
    del draw
    return filtered(image, disk(length(image, _DEFOCUS[severity - 1])), "reflect")


def motion_blur(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """A trail that fades, in a direction of −45°…45°."""
    radius, sigma = _MOTION[severity - 1]
    return filtered(image, trail(length(image, radius), length(image, sigma), draw.uniform(-45, 45)), "replicate")


def zoom_blur(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """The mean of the image and of it enlarged by factors from 1 on, about its middle."""
    del draw
    end, step = _ZOOM[severity - 1]
    factors = torch.from_numpy(np.arange(1.0, end, step)).float()
    turned = torch.diag_embed(1 / factors[:, None].expand(-1, 2))
    affine = torch.cat([turned, torch.zeros(len(factors), 2, 1)], 2)
    seen = torch.from_numpy(image).expand(len(factors), -1, -1, -1)
    grid = F.affine_grid(affine, list(seen.shape), align_corners=False)
    zoomed = F.grid_sample(seen, grid, padding_mode="border", align_corners=False).numpy()
    return (image + zoomed.sum(0)) / (len(factors) + 1)


def filtered(image: Pixels, kernel_HW: Pixels, beyond: str) -> Pixels:
    """Return every channel convolved with a kernel of odd sides; ``beyond`` is what lies outside (torch's ``pad``)."""
    height, width = kernel_HW.shape[0] // 2, kernel_HW.shape[1] // 2
    padded = F.pad(torch.from_numpy(image)[:, None], (width, width, height, height), beyond)
    turned = kernel_HW[::-1, ::-1].copy()  # conv2d correlates
    places = np.argwhere(turned)
    if len(places) > _DENSE * turned.size:
        return F.conv2d(padded, torch.from_numpy(turned)[None, None])[:, 0].numpy()
    found, planes = np.zeros_like(image), padded[:, 0].numpy()
    for y, x in places:  # a trail is a few of many
        found += turned[y, x] * planes[:, y : y + image.shape[1], x : x + image.shape[2]]
    return found


def disk(radius: float) -> Pixels:
    """Return a disk, its sum 1."""
    half = math.ceil(radius - 0.5) if radius > 0.5 else 0
    points = (np.arange((2 * half + 1) * _FINE) + 0.5) / _FINE - half - 0.5
    inside = points[:, None] ** 2 + points**2 <= radius**2
    side = 2 * half + 1
    return _unit(inside.reshape(side, _FINE, side, _FINE).mean((1, 3)))


def trail(radius: float, sigma: float, degrees: float) -> Pixels:
    """Return exp(−i²/2σ²) at i = 0…2·radius pixels from the middle in one direction, its sum 1."""
    steps = np.arange(0, 2 * radius, 1 / _FINE)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    angle, half = math.radians(degrees), math.ceil(2 * radius) + 1
    made = np.zeros((2 * half + 1, 2 * half + 1))
    y, x = half - steps * math.sin(angle), half + steps * math.cos(angle)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            share = np.abs(1 - down - (y - top)) * np.abs(1 - right - (x - left))
            np.add.at(made, (top + down, left + right), weights * share)
    filled = np.flatnonzero((made > 0).any(0) | (made > 0).any(1))
    cut = max(half - filled.min(), filled.max() - half)
    return _unit(made[half - cut : half + cut + 1, half - cut : half + cut + 1])


def _unit(kernel: np.ndarray) -> Pixels:
    return (kernel / kernel.sum()).astype(np.float32)
