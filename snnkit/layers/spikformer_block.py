"""The block of Spikformer: spiking self-attention and an MLP, a neuron at the end of each, spikes added to spikes.

    q, k, v = s(BN(W·x)) each;   a = s½(⅛ · q (kᵀ v)) per head;   x ← x + s(BN(W·a));   x ← x + MLP(x)

s is the neuron, s½ the attention's with threshold 0.5. Sums of spikes are counts, so what a block reads is not binary.
Maps (T, B, C, H, W) in and out.

Source: Zhou et al., "Spikformer", arXiv 2209.15425. QKFormer (arXiv 2403.16552) ends in the same blocks.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.drop_path import DropPath
from snnkit.layers.spike_driven_attention import spike_attention
from snnkit.layers.spiking_mlp import SpikingMLP
from snnkit.neurons import LIF


class SpikingSelfAttention(nn.Module):
    """Spikes or counts (T, B, C, H, W) → spikes (T, B, C, H, W).

    Args:
        channels: C.
        num_heads: heads; divides C.
        bias: whether q, k and v have biases before their norms.
        proj_neuron: makes the last neuron.
    """

    def __init__(self, channels: int, num_heads: int, bias: bool = False, proj_neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.q, self.q_neuron = ConvBN(channels, channels, bias=bias), LIF()
        self.k, self.k_neuron = ConvBN(channels, channels, bias=bias), LIF()
        self.v, self.v_neuron = ConvBN(channels, channels, bias=bias), LIF()
        self.attend = spike_attention("sdsa3", num_heads)  # q (kᵀ v) = (q kᵀ) v, linear in the tokens
        self.proj, self.proj_neuron = ConvBN(channels, channels, bias=True), proj_neuron()

    def forward(self, x: Tensor) -> Tensor:
        """Let every pixel attend to all."""
        q, k, v = self.q_neuron(self.q(x)), self.k_neuron(self.k(x)), self.v_neuron(self.v(x))
        return self.proj_neuron(self.proj(self.attend(q, k, v)))


class SpikformerBlock(nn.Module):
    """``x + attention(x)``, then ``x + mlp(x)``.

    Args:
        attention: from (T, B, C, H, W) to spikes of the same shape.
        channels: C.
        mlp_ratio: hidden width of the MLP over C.
        drop_path: probability that training leaves a branch out for a sample.
    """

    def __init__(self, attention: nn.Module, channels: int, mlp_ratio: float = 4.0, drop_path: float = 0.0):
        super().__init__()
        self.attention = attention
        self.mlp = SpikingMLP(channels, int(channels * mlp_ratio))
        self.drop_path = DropPath(drop_path, batch_axis=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums (T, B, C, H, W)."""
        x = x + self.drop_path(self.attention(x))
        return x + self.drop_path(self.mlp(x))
