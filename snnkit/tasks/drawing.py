"""Colours of classes, and things drawn into pictures."""

from __future__ import annotations

import colorsys
import math
import textwrap
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

_GOLDEN = 0.6180339887498949
_LEGIBLE, _LETTERS, _EDGE = 240, 14, 4  # pixels: the least width of a picture with words; their height; beside them
_VEIL = 0.4  # how much of the colour lies over the pixels of a mask

Colour = tuple[int, int, int]


def colours(count: int) -> list[Colour]:
    """Return so many colours, each far from the ones before: hues a golden ratio of the circle apart."""
    hues = ((0.03 + number * _GOLDEN) % 1 for number in range(count))
    values = (colorsys.hsv_to_rgb(hue, 0.75 if n % 2 else 0.9, 1.0 if n % 3 else 0.8) for n, hue in enumerate(hues))
    return [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in values]


def fitted(image_CHW: Tensor, side: int) -> Tensor:
    """Return an image as a picture uint8 (3, h, w) whose longer side is ``side``, from its darkest to its brightest."""
    low, high = image_CHW.amin(), image_CHW.amax()
    grey = image_CHW if len(image_CHW) == 3 else image_CHW.mean(0, keepdim=True).expand(3, -1, -1)
    height, width = grey.shape[-2:]
    longest = max(height, width)
    size = max(round(height * side / longest), 1), max(round(width * side / longest), 1)
    pixels = ((grey - low) / (high - low).clamp(min=1e-6)).float()[None]
    if side >= 2 * longest:  # pixels stay squares
        larger = F.interpolate(pixels, size, mode="nearest")
    else:
        larger = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return (larger[0].clamp(0, 1) * 255).round().byte()


def with_words(picture: Tensor, text: str) -> Tensor:
    """Return a picture uint8 (3, H, W) above a white strip with a text; a small picture is enlarged before."""
    larger = max(math.ceil(_LEGIBLE / picture.shape[-1]), 1)
    pixels = picture.repeat_interleave(larger, 1).repeat_interleave(larger, 2)
    _, height, width = pixels.shape
    font = ImageFont.load_default(_LETTERS)
    lines = textwrap.wrap(text, max(2 * (width - 2 * _EDGE) // _LETTERS, 1)) or [""]
    sheet = Image.new("RGB", (width, height + len(lines) * (_LETTERS + _EDGE) + _EDGE), "white")
    sheet.paste(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()))
    for number, line in enumerate(lines):
        place = _EDGE, height + _EDGE + number * (_LETTERS + _EDGE)
        ImageDraw.Draw(sheet).text(place, line, fill="black", font=font)
    return torch.from_numpy(np.array(sheet)).permute(2, 0, 1).contiguous()


def with_things(
    picture: Tensor,
    boxes_N4: Tensor,
    shades: Sequence[Colour],
    masks_NHW: Tensor | None = None,
    names: Sequence[str] | None = None,
    width: int = 1,
) -> Tensor:
    """Return a picture uint8 (3, H, W) with boxes, in its pixels, and where given with masks and names.

    Args:
        picture: what is drawn on.
        boxes_N4: left, top, right, bottom.
        shades: a colour a thing.
        masks_NHW: which pixels belong to each thing.
        names: a word a thing.
        width: of the lines, in pixels.
    """
    if not len(boxes_N4):
        return picture
    lines, drawn = list(shades), picture
    if masks_NHW is not None:
        drawn = draw_segmentation_masks(drawn, masks_NHW, alpha=_VEIL, colors=lines)
    low, high = boxes_N4.new_zeros(4), boxes_N4.new_tensor([picture.shape[-1], picture.shape[-2]]).repeat(2) - 1
    inside = torch.minimum(torch.maximum(boxes_N4, low), high)  # so that no line lies off the picture
    told = None if names is None else list(names)
    framed: Tensor = draw_bounding_boxes(drawn, inside, told, lines, width=width)
    return framed
