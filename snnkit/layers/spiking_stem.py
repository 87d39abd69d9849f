"""The convolutional stem of Spikformer and its kin: 3×3 convolutions with a neuron each, max-pools between them.

    current of the first convolution → neuron → [pool] → conv, BN → neuron → [pool] → …

Pools are 3×3, stride 2, padding 1: a map of side n becomes ⌈n / 2⌉.

Source: the patch splitting of Zhou et al., "Spikformer", arXiv 2209.15425 (SPS).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.sequence import MaxPool2d
from snnkit.neurons import LIF


def halving_pool() -> MaxPool2d:
    """Return the 3×3 max-pool with stride 2 of spiking stems, on sequences."""
    return MaxPool2d(3, stride=2, padding=1)


class SpikingStem(nn.Module):
    """Currents of the first convolution (T, B, widths[0], H, W) → spikes of every stage; ``first`` makes the currents.

    Args:
        in_channels: channels of the input of ``first``.
        widths: channels of each stage.
        pools: whether each stage ends in a pool.
        neuron: makes one neuron.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        pools: Sequence[bool],
        neuron: Callable[[], nn.Module] = LIF,
    ):
        super().__init__()
        channels = [in_channels, *widths]
        self.convs = nn.ModuleList(ConvBN(c, width, 3) for c, width in zip(channels, widths, strict=False))
        self.neurons = nn.ModuleList(neuron() for _ in widths)
        self.pools = nn.ModuleList(halving_pool() if pool else nn.Identity() for pool in pools)

    def first(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first neurons; no memory, so once per image is enough."""
        return self.convs[0](x_TBCHW)

    def forward(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return what leaves each stage."""
        maps: list[Tensor] = []
        for i, (neuron, pool) in enumerate(zip(self.neurons, self.pools, strict=True)):
            current_TBCHW = self.convs[i](maps[-1]) if i else current_TBCHW
            maps.append(pool(neuron(current_TBCHW)))
        return maps
