"""Readouts: from the output sequence to a prediction."""

from __future__ import annotations

from torch import Tensor, nn


class Mean(nn.Module):
    """Mean over time: (T, B, K) → (B, K)."""

    def forward(self, y: Tensor) -> Tensor:
        """Average over the first axis."""
        return y.mean(0)
