"""The block of MOAT: an inverted bottleneck, and behind it attention in place of an MLP.

    x ← shortcut(x) + Conv1(SE(GELU(BN(DWConv3(GELU(BN(Conv1(BN(x)))))))))       SE: in blocks without attention
    x ← x + Linear(attention(LN(x)))                                              in blocks with attention

At stride 2 the shortcut is an average, and a 1×1 convolution where channels change. Batch norms have eps 1e-3 and
momentum 0.01, all padding is TensorFlow's SAME. Source: Yang et al., "MOAT", arXiv 2210.01820, and deeplab2.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.layers.drop_path import DropPath
from snnkit.layers.same_padding import SameAvgPool2d, SameConv2d
from snnkit.layers.self_attention import SelfAttention

EXPANSION = 4
SE_SHARE = 0.25


def batch_norm(dim: int) -> nn.BatchNorm2d:
    """Return a batch norm with Keras' eps and momentum as MOAT sets them."""
    return nn.BatchNorm2d(dim, eps=1e-3, momentum=0.01)


class SqueezeExcite(nn.Module):
    """x · sigmoid(Conv1(silu(Conv1(mean x)))): (B, C, H, W) → (B, C, H, W).

    Args:
        dim: C.
        reduced: channels between the two convolutions.
    """

    def __init__(self, dim: int, reduced: int):
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(dim, reduced, 1), nn.Conv2d(reduced, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels."""
        mean = x.mean((2, 3), keepdim=True)
        return x * self.expand(F.silu(self.reduce(mean))).sigmoid()


class MoatBlock(nn.Module):
    """(B, C, H, W) → (B, C', ceil(H/s), ceil(W/s)).

    Args:
        in_dim: C.
        dim: C'.
        stride: s, 1 or 2.
        pool_size: side of the shortcut's average at stride 2.
        attention: over the tokens (B, H, W, C'); None for squeeze-and-excitation in the bottleneck instead.
        drop_path: probability of dropping a branch.
    """

    def __init__(
        self, in_dim: int, dim: int, stride: int, pool_size: int, attention: SelfAttention | None, drop_path: float
    ):
        super().__init__()
        inner = EXPANSION * dim
        shortcut: OrderedDict[str, nn.Module] = OrderedDict()
        if stride > 1:
            shortcut["pool"] = SameAvgPool2d(pool_size, stride)
        if in_dim != dim:
            shortcut["conv"] = nn.Conv2d(in_dim, dim, 1)
        self.shortcut = nn.Sequential(shortcut)
        main: OrderedDict[str, nn.Module] = OrderedDict(
            pre_norm=batch_norm(in_dim),
            expand=nn.Conv2d(in_dim, inner, 1, bias=False),
            norm1=batch_norm(inner),
            act1=nn.GELU(),
            depthwise=SameConv2d(inner, inner, 3, stride, groups=inner, bias=False),
            norm2=batch_norm(inner),
            act2=nn.GELU(),
        )
        if attention is None:
            main["se"] = SqueezeExcite(inner, max(1, int(SE_SHARE * dim)))
        main["shrink"] = nn.Conv2d(inner, dim, 1)
        self.main = nn.Sequential(main)
        self.mix = None
        if attention is not None:
            parts = OrderedDict(norm=nn.LayerNorm(dim), attention=attention, project=nn.Linear(dim, dim))
            self.mix = nn.Sequential(parts)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        x = self.shortcut(x) + self.drop_path(self.main(x))
        if self.mix is None:
            return x
        y = x.movedim(1, -1).contiguous()
        return (y + self.drop_path(self.mix(y))).movedim(-1, 1)
