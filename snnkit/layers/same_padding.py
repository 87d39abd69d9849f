"""TensorFlow's SAME padding: an output of ceil(size / stride), the odd row or column of padding at bottom and right.

    total = max((ceil(size / stride) − 1) · stride + kernel − size, 0);   before = total // 2, after = total − before

At stride 2 a 3×3 kernel pads even sizes by (0, 1), where torch's ``padding=1`` pads (1, 1): other pixels are seen.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return (before, after) for one axis."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv2d(nn.Conv2d):
    """``nn.Conv2d`` with SAME padding computed from the input: (B, C, H, W) → (B, C', ceil(H/s), ceil(W/s))."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1,
                 bias: bool = True):  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve."""
        (top, bottom), (left, right) = (
            same_padding(size, kernel, stride)
            for size, kernel, stride in zip(x.shape[-2:], self.kernel_size, self.stride, strict=True)
        )
        # Where both sides get the same, the convolution pads by itself, which saves a copy of the map.
        even = top == bottom and left == right
        x = x if even else F.pad(x, (left, right, top, bottom))
        padding = (top, left) if even else 0
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def merged(self) -> nn.Module:
        """Return the equal for inference that does not copy even maps to pad them, where that is cheap: depthwise."""
        if self.kernel_size == (3, 3) and self.stride == (2, 2) and self.groups == self.in_channels:
            return _PaddedKernelConv2d(self)
        return self


class _PaddedKernelConv2d(nn.Conv2d):
    """3×3 at stride 2 on even maps: pads (0, 1) are (1, 1) for a 4×4 kernel whose first row and column are zero."""

    def __init__(self, conv: SameConv2d):
        sizes = (conv.in_channels, conv.out_channels, 4, 2)
        super().__init__(*sizes, groups=conv.groups, bias=conv.bias is not None, device=conv.weight.device)
        self.weight = nn.Parameter(F.pad(conv.weight.detach(), (1, 0, 1, 0)))
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            (top, bottom), (left, right) = (same_padding(size, 3, 2) for size in x.shape[-2:])
            x = F.pad(x, (left, right, top, bottom))
            return F.conv2d(x, self.weight[..., 1:, 1:], self.bias, 2, 0, 1, self.groups)
        return F.conv2d(x, self.weight, self.bias, 2, 1, 1, self.groups)


class SameAvgPool2d(nn.Module):
    """Average pooling with SAME padding that the mean leaves out: (B, C, H, W) → (B, C, ceil(H/s), ceil(W/s))."""

    def __init__(self, kernel_size: int, stride: int):
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, x: Tensor) -> Tensor:
        """Average what each window sees of the map."""
        before = [same_padding(size, self.kernel_size, self.stride)[0] for size in x.shape[-2:]]
        # ceil_mode lets the last window hang over at bottom and right: the odd row or column of padding.
        return F.avg_pool2d(x, self.kernel_size, self.stride, before, ceil_mode=True, count_include_pad=False)

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}"
