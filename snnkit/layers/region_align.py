"""RoIAlign over the levels of a pyramid, with or without time steps.

Every bin of a region is the mean of 2 × 2 samples, each bilinear between four pixels: sixteen weighted pixels a bin.
On the CPU these are one ``weighted_rows`` over all levels' pixels, with the channels of all time steps side by side, so
that places and weights are found once for all steps; torchvision's own loop over channels takes longer. Elsewhere
torchvision's kernel runs. Both give the same numbers up to the order of sums.

Source: He et al., "Mask R-CNN", arXiv 1703.06870; torchvision 0.29's ``MultiScaleRoIAlign`` with ``aligned=False``.
Letters: T steps, B images, R regions, C channels, H and W pixels, s side of a region in bins, P pixels of all levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper

from snnkit.layers.weighted_rows import weighted_rows

_REGION = 14  # side of a region, in pixels of the level that it is cut out of, from which on a level serves
_SAMPLES = 2  # along each side of a bin


class RegionAlign(MultiScaleRoIAlign):
    """RoIAlign on levels (B, C, H, W) → (R, C, s, s), or on (T, B, C, H, W) → (T, R, C, s, s).

    Args:
        strides: of the levels, in pixels.
        side: s.
    """

    def __init__(self, strides: Sequence[int], side: int):
        super().__init__([str(level) for level in range(len(strides))], side, sampling_ratio=_SAMPLES)
        self.set_strides(strides)

    def set_strides(self, strides: Sequence[int]) -> None:
        """Set where on a map a pixel of the image lies."""
        self.scales = [1 / stride for stride in strides]
        self.map_levels = LevelMapper(0, len(strides) - 1, _REGION * strides[0], 0)

    def forward(self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]) -> Tensor:
        """Return the regions, in the order of the boxes."""
        levels = [x[name] for name in self.featmap_names]
        if levels[0].device.type == "cpu":
            return self._gathered(levels, boxes)
        if levels[0].ndim == 4:
            return super().forward(x, boxes, image_shapes)
        steps = len(levels[0])
        folded = {name: level.flatten(0, 1) for name, level in x.items()}
        return super().forward(folded, boxes * steps, image_shapes * steps).unflatten(0, (steps, -1))

    def _gathered(self, levels: list[Tensor], boxes: list[Tensor]) -> Tensor:
        steps = len(levels[0]) if levels[0].ndim == 5 else 0
        channels = levels[0].shape[-3]
        rows = torch.cat([_pixels(level) for level in levels])
        if rows.dtype in (torch.float16, torch.bfloat16):
            rows = rows.float()  # sums of many pixels, as torchvision's under autocast
        every = torch.cat(boxes)
        if not len(every):
            shape = (0, channels, self.output_size[0], self.output_size[0])
            return rows.new_zeros((steps, *shape) if steps else shape)
        image = torch.repeat_interleave(
            torch.arange(len(boxes)), torch.tensor([len(one) for one in boxes]), output_size=len(every)
        )
        at = self.map_levels(boxes) if len(levels) > 1 else torch.zeros(len(every), dtype=torch.long)
        sizes = torch.tensor([level.shape[-2:] for level in levels])
        pixels = sizes.prod(1)
        first = torch.cat([pixels.new_zeros(1), (pixels * len(boxes)).cumsum(0)[:-1]])
        places, weights = _places(
            every.detach().to(rows.dtype) * torch.tensor(self.scales, dtype=rows.dtype)[at, None],
            sizes[at],
            first[at] + image * pixels[at],
            self.output_size[0],
        )
        found = weighted_rows(rows, places, weights)
        bins = found.to(levels[0].dtype).view(len(every), *self.output_size, *([steps] if steps else []), channels)
        return bins.permute(3, 0, 4, 1, 2) if steps else bins.permute(0, 3, 1, 2)


def _pixels(level: Tensor) -> Tensor:
    """Return a level as its pixels: (B·H·W, C), or (B·H·W, T·C)."""
    if level.ndim == 4:
        return level.permute(0, 2, 3, 1).flatten(0, 2)
    return level.permute(1, 3, 4, 0, 2).flatten(3).flatten(0, 2)


def _places(boxes_R4: Tensor, sizes_R2: Tensor, first_R: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return, for every bin, its sixteen pixels and their weights, both (R·s·s, 16).

    Args:
        boxes_R4: in pixels of their level.
        sizes_R2: height and width of that level.
        first_R: where in the list of all pixels the level of the region's image begins.
        side: s.
    """
    left, top, right, bottom = boxes_R4.unbind(1)
    height, width = sizes_R2.unbind(1)
    rows, down = _along(top, bottom - top, height, side)
    columns, across = _along(left, right - left, width, side)
    places = first_R[:, None, None, None, None] + rows[:, :, None, :, None] * width[:, None, None, None, None]
    weights = down[:, :, None, :, None] * across[:, None, :, None, :]
    return (places + columns[:, None, :, None, :]).reshape(-1, 16), weights.reshape(-1, 16)


def _along(start_R: Tensor, length_R: Tensor, size_R: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the pixels along an axis that every bin reads and their weights, both (R, s, 4): two samples of two."""
    samples = torch.arange(side * _SAMPLES, dtype=start_R.dtype)
    step = length_R.clamp(min=1) / side
    at = (
        start_R[:, None]
        + step[:, None] * (samples.div(_SAMPLES, rounding_mode="floor"))
        + (samples.remainder(_SAMPLES) + 0.5) * (step[:, None] / _SAMPLES)
    )
    last = size_R[:, None].to(at.dtype) - 1
    seen = (at >= -1) & (at <= last + 1)  # beyond, a sample is 0
    at = at.clamp(min=0)
    low = torch.where(seen, at.floor(), 0).minimum(last)
    high = (low + 1).minimum(last)
    share = torch.where(low >= last, 0, at - low)
    weights = torch.stack([torch.where(seen, 1 - share, 0), torch.where(seen, share, 0)], -1) / _SAMPLES
    return torch.stack([low, high], -1).long().unflatten(1, (side, _SAMPLES)).flatten(2), weights.unflatten(
        1, (side, _SAMPLES)
    ).flatten(2)
