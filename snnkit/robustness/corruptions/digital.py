"""What programs do to images; the strengths are ImageNet-C's."""

from __future__ import annotations

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import fft, ndimage

from snnkit.robustness.corruptions.scale import SIDE, Pixels

_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
# Amplitude and smoothness of the displacements, and how far corners move: shares of 244 pixels on images of side 224,
# as published.
_ELASTIC = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
_PUBLISHED = 244
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # share of the side that is left
_JPEG = (25, 18, 15, 10, 7)  # quality


def contrast(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """(x − mean)·c + mean of each channel."""
    del draw
    mean = image.mean((1, 2), keepdims=True)
    return (image - mean) * np.float32(_CONTRAST[severity - 1]) + mean


def elastic(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """Every point is moved by smooth noise, and the whole by an affine map that moves three points at random.

    The displacements are made for an image of side 224 and shrunk or enlarged, so that all sizes bend alike. Both moves
    are done in one interpolation.
    """
    amplitude, smooth, corners = (_PUBLISHED * share for share in _ELASTIC[severity - 1])
    height, width = image.shape[-2:]
    scale = min(height, width) / SIDE
    affine = _inverse_affine(height, width, corners * scale, draw)
    grid = round(height / scale), round(width / scale)
    moves = np.stack([_smooth(draw.uniform(-1, 1, grid), smooth) for _ in range(2)]) * amplitude * scale
    if grid != (height, width):
        resized = F.interpolate(torch.from_numpy(moves)[None], (height, width), mode="bilinear", align_corners=False)
        moves = resized[0].numpy()
    y, x = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    points = np.stack([y + moves[0], x + moves[1], np.ones_like(moves[0])])
    places = np.tensordot(affine, points, 1)
    return np.stack([ndimage.map_coordinates(plane, places, order=1, mode="reflect") for plane in image])


def _inverse_affine(height: int, width: int, far: float, draw: np.random.Generator) -> np.ndarray:
    """Return (2, 3): where (y, x, 1) comes from, of a map that moves three points by up to ``far`` pixels a side."""
    third, middle = min(height, width) // 3, np.array([height // 2, width // 2])
    before = middle + third * np.array([[1, 1], [-1, 1], [-1, -1]])
    after = before + draw.uniform(-far, far, before.shape)
    return np.linalg.solve(np.column_stack([after, np.ones(3)]), before).T


def _smooth(field: np.ndarray, sigma: float) -> np.ndarray:
    """Return a field blurred by a normal distribution, mirrored at its edges; by cosines, however wide it is."""
    waves = fft.dctn(field)
    for axis, size in enumerate(field.shape):
        angle = np.pi * np.arange(size) / size
        waves *= np.expand_dims(np.exp(-0.5 * (sigma * angle) ** 2), 1 - axis)
    return fft.idctn(waves)


def pixelate(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """Shrunk, each pixel the mean of an area, and enlarged again."""
    del draw
    picture, share = _picture(image), _PIXELATE[severity - 1]
    small = max(int(picture.width * share), 1), max(int(picture.height * share), 1)
    return _pixels(picture.resize(small, Image.Resampling.BOX).resize(picture.size, Image.Resampling.BOX))


def jpeg(image: Pixels, severity: int, draw: np.random.Generator) -> Pixels:
    """Compressed by JPEG, whose blocks have 8 pixels whatever the image's size, and decompressed."""
    del draw
    file = io.BytesIO()
    _picture(image).save(file, "JPEG", quality=_JPEG[severity - 1])
    with Image.open(file) as read:
        return _pixels(read)


def _picture(image: Pixels) -> Image.Image:
    values = np.rint(image * 255).astype(np.uint8)
    return Image.fromarray(values[0] if len(values) == 1 else np.ascontiguousarray(values.transpose(1, 2, 0)))


def _pixels(picture: Image.Image) -> Pixels:
    values = np.asarray(picture, np.float32) / 255
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))
