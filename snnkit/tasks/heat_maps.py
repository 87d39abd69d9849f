"""Key points as heat maps, and back.

    encode    g_k(i, j) = exp(−((j + ½ − x/s)² + (i + ½ − y/s)²) / 2σ²), σ in cells of s pixels
    quarter   the middle of the highest cell, a quarter of a cell towards the higher of its two neighbours on each axis
    dark      with m = log(g smoothed by σ), whose highest cell is μ: μ − H⁻¹ ∇m, the top of the paraboloid with the
              slope and curvature that m has there

A cell on the border has no neighbour beyond, and stays where it is on that axis; within two cells of it, or where m is
no hill or its top more than a cell away, "dark" is "quarter". Sources: Xiao et al., "Simple Baselines for Human Pose
Estimation and Tracking", arXiv 1804.06208; Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose
Estimation", arXiv 1910.06278. Letters: B crops, K key points, H and W cells.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_FAR = 3.0
"""Standard deviations beyond which a Gaussian counts as nothing: what lies so far outside of a map is not on it."""


def heat_maps(points_BK3: Tensor, size: tuple[int, int], stride: float, sigma: float) -> tuple[Tensor, Tensor]:
    """Return Gaussians (B, K, H, W) around key points, and weights (B, K): 1 where there is something to learn, else 0.

    Args:
        points_BK3: x, y in pixels and v, 0 for what is not marked.
        size: H and W.
        stride: pixels of a cell.
        sigma: of the Gaussians, in cells.

    A key point that is not marked, or 3σ and more outside of the map, weighs 0.
    """
    height, width = size
    x, y = points_BK3[..., 0] / stride, points_BK3[..., 1] / stride
    far = _FAR * sigma
    near = (x > -far) & (x < width + far) & (y > -far) & (y < height + far)
    weights = ((points_BK3[..., 2] > 0) & near).to(points_BK3.dtype)
    columns = torch.arange(width, device=x.device) + 0.5
    rows = torch.arange(height, device=x.device) + 0.5
    across = torch.exp(-((columns - x[..., None]) ** 2) / (2 * sigma**2))
    down = torch.exp(-((rows - y[..., None]) ** 2) / (2 * sigma**2))
    return down[..., :, None] * across[..., None, :], weights


def quarter(maps_BKHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return places (B, K, 2), x and y in cells from the top left corner, and the highest values (B, K)."""
    column, row, peaks = _highest(maps_BKHW)
    x = column + 0.5 + 0.25 * _difference(maps_BKHW, row, column, 0, 1).sign()
    y = row + 0.5 + 0.25 * _difference(maps_BKHW, row, column, 1, 0).sign()
    return torch.stack([x, y], -1), peaks


def dark(maps_BKHW: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """Return places (B, K, 2), x and y in cells from the top left corner, and the highest values (B, K).

    Args:
        maps_BKHW: heat maps.
        sigma: of the Gaussians that they were trained on, in cells.
    """
    places, peaks = quarter(maps_BKHW)
    height, width = maps_BKHW.shape[-2:]
    if min(height, width) < 5:
        return places, peaks
    smooth = _smoothed(maps_BKHW, sigma)
    column, row, _ = _highest(smooth)
    logs = smooth.clamp(min=1e-10).log()
    inside = (column > 1) & (column < width - 2) & (row > 1) & (row < height - 2)
    i, j = row.clamp(2, height - 3), column.clamp(2, width - 3)

    def at(down: int, right: int) -> Tensor:
        return _taken(logs, i + down, j + right)

    dx, dy = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
    dxx, dyy = ((at(0, 2) - 2 * at(0, 0) + at(0, -2)) / 4, (at(2, 0) - 2 * at(0, 0) + at(-2, 0)) / 4)
    dxy = (at(1, 1) - at(-1, 1) - at(1, -1) + at(-1, -1)) / 4
    determinant = dxx * dyy - dxy**2
    hill = inside & (dxx < 0) & (determinant > 1e-12)
    over = torch.where(hill, determinant, 1.0)
    right, down = (dxy * dy - dyy * dx) / over, (dxy * dx - dxx * dy) / over
    hill &= (right.abs() <= 1) & (down.abs() <= 1)
    found = torch.stack([j + 0.5 + right, i + 0.5 + down], -1)
    return torch.where(hill[..., None], found, places), peaks


def _highest(maps_BKHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return column, row (int64) and value of the highest cell of each map, (B, K) each."""
    peaks, places = maps_BKHW.flatten(2).max(-1)
    width = maps_BKHW.shape[-1]
    return places % width, places // width, peaks


def _taken(maps_BKHW: Tensor, row: Tensor, column: Tensor) -> Tensor:
    return maps_BKHW.flatten(2).gather(2, (row * maps_BKHW.shape[-1] + column)[..., None])[..., 0]


def _difference(maps_BKHW: Tensor, row: Tensor, column: Tensor, down: int, right: int) -> Tensor:
    """Return how much higher the neighbour on one side is than that on the other; 0 where one of them is missing."""
    height, width = maps_BKHW.shape[-2:]
    inside = (row >= down) & (row < height - down) & (column >= right) & (column < width - right)
    i, j = row.clamp(down, max(height - 1 - down, down)), column.clamp(right, max(width - 1 - right, right))
    if height <= 2 * down or width <= 2 * right:
        return torch.zeros_like(row, dtype=maps_BKHW.dtype)
    found = _taken(maps_BKHW, i + down, j + right) - _taken(maps_BKHW, i - down, j - right)
    return torch.where(inside, found, 0.0)


def _smoothed(maps_BKHW: Tensor, sigma: float) -> Tensor:
    """Smooth by a Gaussian cut off at 2.5 σ; outside of the maps stands nothing."""
    reach = max(round(2.5 * sigma), 1)
    weights = torch.exp(-(torch.arange(-reach, reach + 1, device=maps_BKHW.device) ** 2) / (2 * sigma**2))
    weights = (weights / weights.sum()).to(maps_BKHW.dtype)
    flat = maps_BKHW.flatten(0, 1)[:, None]
    flat = F.conv2d(flat, weights.view(1, 1, 1, -1), padding=(0, reach))
    flat = F.conv2d(flat, weights.view(1, 1, -1, 1), padding=(reach, 0))
    return flat[:, 0].view_as(maps_BKHW)
