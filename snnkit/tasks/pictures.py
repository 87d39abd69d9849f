"""Pictures for a report: images beside what was made of them, as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snnkit.files import atomic_path

_GAP, _SMALLEST, _GROUPS = 2, 64, 4


def write_rows(path: Path, columns: Sequence[Tensor]) -> None:
    """Write tensors (B, C, H, W) side by side: each image with its versions in a row, four images a line.

    Values are scaled by the darkest and brightest of each image as it is in the first tensor; channels beyond three are
    averaged to grey. Small images are enlarged by whole factors.

    Raises:
        DiskError: the file could not be written.
    """
    low = columns[0].amin((1, 2, 3), keepdim=True)
    span = (columns[0].amax((1, 2, 3), keepdim=True) - low).clamp(min=1e-6)
    shown = [_coloured(((part - low) / span).clamp(0, 1)) for part in columns]
    zoom = max(1, -(-_SMALLEST // shown[0].shape[-1]))
    tiles = [part.repeat_interleave(zoom, 2).repeat_interleave(zoom, 3) for part in shown]
    padded = [torch.nn.functional.pad(tile, (0, _GAP, 0, _GAP), value=1.0) for tile in tiles]
    groups = torch.cat(padded, 3)  # an image and its versions
    groups = torch.nn.functional.pad(groups, (0, 3 * _GAP), value=1.0)
    missing = -len(groups) % _GROUPS if len(groups) > _GROUPS else 0
    groups = torch.cat([groups, groups.new_ones(missing, *groups.shape[1:])])
    across = min(_GROUPS, len(groups))
    lines = [torch.cat(list(groups[n : n + across]), 2) for n in range(0, len(groups), across)]
    pixels = (torch.cat(lines, 1).permute(1, 2, 0).numpy() * 255 + 0.5).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, "PNG")


def _coloured(images_BCHW: Tensor) -> Tensor:
    if images_BCHW.shape[1] == 3:
        return images_BCHW
    return images_BCHW.mean(1, keepdim=True).expand(-1, 3, -1, -1)
