"""Convolution followed by batch norm, on sequences."""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.layers.sequence import over_time


class ConvBN(nn.Module):
    """Conv2d, then BatchNorm2d over time and batch: (T, B, C, H, W) → (T, B, C', H', W').

    With ``kernel_size=1`` it is the linear layer of a transformer whose tokens stay maps.

    Args:
        in_channels, out_channels, kernel_size, stride, groups, bias: those of Conv2d.
        padding: that of Conv2d; None keeps H and W at stride 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = False,
    ):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2 if padding is None else padding,
            groups=groups,
            bias=bias,
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the currents for the neurons that follow."""
        return over_time(lambda y: self.bn(self.conv(y)), x)
