"""A depthwise convolution beside a skip connection: x + DWConv(x), the dynamic position encoding of UniFormer.

Source: Li et al., "UniFormer", arXiv 2201.04676; Chu et al., "Conditional Positional Encodings", arXiv 2102.10882.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ResidualDepthwise(nn.Module):
    """``x + conv(x)`` with a depthwise convolution that keeps the size: (B, C, …) → (B, C, …).

    Args:
        dim: C.
        kernel_size: odd.
        dims: 2 for maps (B, C, H, W), 3 for clips (B, C, T, H, W).
    """

    def __init__(self, dim: int, kernel_size: int = 3, dims: int = 2):
        super().__init__()
        self.conv = CONVOLUTIONS[dims](dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the neighbours say."""
        return x + self.conv(x)

    def merged(self) -> nn.Module:
        """Return the one convolution that does the same: its middle tap carries the skip connection."""
        made = copy.deepcopy(self.conv)
        with torch.no_grad():
            made.weight[(slice(None), 0, *(size // 2 for size in made.kernel_size))] += 1
        return made
