"""Layer scale: a trained factor per channel at the end of a residual branch, y = gamma · x.

Source: Touvron et al., "Going deeper with Image Transformers", arXiv 2103.17239.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LayerScale(nn.Module):
    """Multiply channels by ``gamma`` (C,).

    Args:
        dim: C.
        init: what gamma starts at.
        channel_axis: where the channels are: -1 for tokens (…, C), 1 for maps (B, C, …), 2 for sequences (T, B, C, …).
    """

    def __init__(self, dim: int, init: float = 1e-6, channel_axis: int = -1):
        super().__init__()
        self.channel_axis = channel_axis
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        """Scale; the shape stays."""
        behind = 0 if self.channel_axis == -1 else x.ndim - self.channel_axis - 1
        return x * self.gamma.view(-1, *[1] * behind)

    def extra_repr(self) -> str:
        """Show C in ``print(model)``."""
        return f"{len(self.gamma)}, channel_axis={self.channel_axis}"
