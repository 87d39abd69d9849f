"""A trained bias per head and distance between two positions, for attention over maps of any size.

    bias[h, q, k] = table'[h, k_row − q_row + H − 1, k_column − q_column + W − 1]

table' is the table, resized bilinearly (half-pixel centres) from (2P − 1)² to (2H − 1) × (2W − 1) where the sizes
differ. The distance is key − query; Swin Transformers index by query − key.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MOST = 2**22  # numbers that a layer may keep for the sake of speed: 16 MiB in float32


class RelativePositionBias(nn.Module):
    """(height, width) that is attended over → bias (h, H·W, H·W).

    Args:
        heads: h.
        side: P, the side of the maps that the table is made for.
        expected: (H, W) that inference will mostly ask for; ``merged`` keeps the bias of that.
    """

    def __init__(self, heads: int, side: int, expected: tuple[int, int]):
        super().__init__()
        self.expected = expected
        self.table = nn.Parameter(torch.empty(heads, 2 * side - 1, 2 * side - 1))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, height: int, width: int) -> Tensor:
        """Return the bias."""
        return bias_of_table(self.table, height, width)

    def merged(self) -> nn.Module:
        """Return the equal for inference that keeps the bias of the expected size, unless it is a large one."""
        small = len(self.table) * (self.expected[0] * self.expected[1]) ** 2 <= _MOST
        return _KeptPositionBias(self.table.detach(), *self.expected) if small else self


class _KeptPositionBias(nn.Module):
    """The bias of one size ready to use, others from the table."""

    def __init__(self, table: Tensor, height: int, width: int):
        super().__init__()
        self.size = (height, width)
        self.register_buffer("table", table.clone())
        self.register_buffer("bias", bias_of_table(table, height, width))

    def forward(self, height: int, width: int) -> Tensor:
        """Return the bias."""
        return self.bias if (height, width) == self.size else bias_of_table(self.table, height, width)


def bias_of_table(table: Tensor, height: int, width: int) -> Tensor:
    """Return (h, H·W, H·W) of a table (h, 2P − 1, 2P − 1); see above."""
    size = (2 * height - 1, 2 * width - 1)
    if table.shape[1:] != size:
        table = F.interpolate(table.unsqueeze(0), size, mode="bilinear", align_corners=False)[0]
    # Sliding views give table[a + k]; a = H − 1 − q counts queries backwards.
    views = table.unfold(1, height, 1).unfold(2, width, 1).flip((1, 2))
    return views.reshape(len(table), height * width, height * width)
