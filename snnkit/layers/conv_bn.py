"""Convolution followed by batch norm, on sequences."""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.layers.fold import over_time


class ConvBN(nn.Module):
    """Conv2d without bias, then BatchNorm2d over time and batch: (T, B, C, H, W) → (T, B, C', H', W').

    Args:
        in_channels, out_channels, kernel_size, stride, groups: those of Conv2d; padding keeps H and W at stride 1.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the currents for the neurons that follow."""
        return over_time(lambda y: self.bn(self.conv(y)), x)
