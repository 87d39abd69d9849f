"""The block of spiking transformers: two residual branches in a row.

    x ← x + attention(x);   x ← x + mlp(x)

What the branches return decides what the sums are: counts, where they end in a neuron (Spikformer, QKFormer), or
membranes, where they end in a norm (Spike-driven Transformers).
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.layers.drop_path import DropPath


class SpikingBlock(nn.Module):
    """(T, B, C, H, W) → (T, B, C, H, W).

    Args:
        attention, mlp: the branches; each keeps the shape.
        drop_path: probability that training leaves a branch out for a sample.
    """

    def __init__(self, attention: nn.Module, mlp: nn.Module, drop_path: float = 0.0):
        super().__init__()
        self.attention, self.mlp = attention, mlp
        self.drop_path = DropPath(drop_path, batch_axis=1)

    def forward(self, x: Tensor) -> Tensor:
        """Add each branch to what it read."""
        x = x + self.drop_path(self.attention(x))
        return x + self.drop_path(self.mlp(x))
