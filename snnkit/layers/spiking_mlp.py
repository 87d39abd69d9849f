"""The two MLPs of spiking transformers, on maps: (T, B, C, H, W) → (T, B, C', H, W).

| class | formula | what leaves |
|---|---|---|
| ``SpikingMLP`` | s(BN(W₂·s(BN(W₁·x)))) | spikes; x may be spikes or sums of spikes (Spikformer, QKFormer) |
| ``MembraneMLP`` | BN(W₂·s(BN(W₁·s(x)))) | currents, for a membrane shortcut (Spike-driven Transformers) |

W are 1×1 convolutions, that is linear layers over tokens that stay maps; s is the neuron.

Source: Zhou et al., "Spikformer", arXiv 2209.15425; Yao et al., "Spike-driven Transformer", arXiv 2307.01694.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from snnkit.layers.conv_bn import ConvBN
from snnkit.neurons import LIF


class SpikingMLP(nn.Module):
    """A neuron behind each of two layers.

    Args:
        channels: C.
        hidden: width between the layers.
        out_channels: C'; None for C.
        neuron: makes one neuron.
        bias: whether the layers have biases before their norms, as the published ones do.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        out_channels: int | None = None,
        neuron: Callable[[], nn.Module] = LIF,
        bias: bool = True,
    ):
        super().__init__()
        self.fc1, self.neuron1 = ConvBN(channels, hidden, bias=bias), neuron()
        self.fc2, self.neuron2 = ConvBN(hidden, out_channels or channels, bias=bias), neuron()

    def forward(self, x: Tensor) -> Tensor:
        """Return spikes (T, B, C', H, W)."""
        return self.neuron2(self.fc2(self.neuron1(self.fc1(x))))


class MembraneMLP(nn.Module):
    """A neuron before each of two layers; arguments as for ``SpikingMLP``."""

    def __init__(
        self,
        channels: int,
        hidden: int,
        out_channels: int | None = None,
        neuron: Callable[[], nn.Module] = LIF,
        bias: bool = True,
    ):
        super().__init__()
        self.neuron1, self.fc1 = neuron(), ConvBN(channels, hidden, bias=bias)
        self.neuron2, self.fc2 = neuron(), ConvBN(hidden, out_channels or channels, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return currents (T, B, C', H, W)."""
        return self.fc2(self.neuron2(self.fc1(self.neuron1(x))))
