"""The self-attention of Spikformer, a branch of ``SpikingBlock`` that ends in a neuron.

    q, k, v = s(BN(W·x)) each;   a = s½(⅛ · q (kᵀ v)) per head;   y = s(BN(W·a))

s is the neuron, s½ the attention's with threshold 0.5. Blocks add spikes to spikes: what they read are counts.

Source: Zhou et al., "Spikformer", arXiv 2209.15425. QKFormer (arXiv 2403.16552) ends in the same blocks.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.spike_driven_attention import spike_attention
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
