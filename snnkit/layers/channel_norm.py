"""Layer norm over the channels of maps: every position by itself, (B, C, …) → (B, C, …)."""

from __future__ import annotations

from torch import Tensor, nn


class ChannelLayerNorm(nn.LayerNorm):
    """``nn.LayerNorm`` over axis 1 of (B, C, …), C as ``normalized_shape``; the same parameters and keys.

    The result lies in memory with its channels innermost, as convolutions on CPUs like it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Norm the channels of every position."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
