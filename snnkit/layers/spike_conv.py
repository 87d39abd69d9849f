"""A neuron before a convolution and its batch norm, as membrane shortcuts want it: membranes in, currents out."""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.sparse import sparse_conv_bn


class SpikeConv(nn.Module):
    """BN(conv(s(x))): (T, B, C, H, W) → (T, B, C', H', W').

    Args:
        neuron: s, which sends nothing for a current of zero, or masks would not hold.
        conv: convolution and batch norm.
    """

    def __init__(self, neuron: nn.Module, conv: ConvBN):
        super().__init__()
        self.neuron, self.conv = neuron, conv

    def forward(self, x_TBCHW: Tensor, active_Bhw: Tensor | None = None) -> Tensor:
        """Return currents; with a mask (1 visible, 0 hidden) those of visible places, zero elsewhere."""
        spikes = self.neuron(x_TBCHW)
        return self.conv(spikes) if active_Bhw is None else sparse_conv_bn(self.conv, spikes, active_Bhw)
