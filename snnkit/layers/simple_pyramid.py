"""A pyramid from one map: the last map of a plain vision transformer, made finer and coarser.

    stride s / r    log₂ r transposed convolutions 2×2, stride 2, each halving the channels; norm and GELU between them
    stride s        the map itself
    stride s · r    maximum over r × r, the last window of a row or column filled up

Norms are layer norms over channels. What brings all levels to one width (1×1 and 3×3 in the paper) is left to what
reads them. Source: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", arXiv 2203.16527;
detectron2, ``SimpleFeaturePyramid``. Letters: B images, C channels, H and W sides of the map.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.channel_norm import ChannelLayerNorm

_EPS = 1e-6


class SimplePyramid(nn.Module):
    """(B, C, H, W) of one stride → as many maps as ``strides``, (B, Cᵢ, H·s/sᵢ, W·s/sᵢ), rounded up.

    Args:
        channels: C.
        stride: s, of the map.
        strides: sᵢ, of the maps that are made.

    Attributes:
        channels: Cᵢ = C · min(1, sᵢ/s).

    Raises:
        InvalidArgumentError: strides that are no powers of two apart, or channels that cannot be halved often enough.
    """

    def __init__(self, channels: int, stride: int, strides: Sequence[int]):
        super().__init__()
        powers = [2**i for i in range(16)]
        if any(max(s, stride) % min(s, stride) or max(s, stride) // min(s, stride) not in powers for s in strides):
            raise InvalidArgumentError(
                f"a map of stride {stride} gives no maps of strides {', '.join(map(str, strides))}, only of strides a "
                "power of two apart; patches of 8, 16 or 32 pixels would do (patch_size=16)."
            )
        finest = stride // min(*strides, stride)
        if channels % finest:
            raise InvalidArgumentError(
                f"{channels} channels cannot be halved down to 1/{finest}, for a map of stride {stride // finest}."
            )
        self.levels = nn.ModuleList(
            nn.MaxPool2d(made // stride, ceil_mode=True) if made > stride else _finer(channels, stride // made)
            for made in strides
        )
        self.channels = tuple(channels // max(stride // made, 1) for made in strides)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the maps."""
        return [level(x_BCHW) for level in self.levels]


def _finer(channels: int, ratio: int) -> nn.Sequential:
    """Transposed convolutions that make a map ``ratio`` times finer; none for 1."""
    made = nn.Sequential()
    while ratio > 1:
        if len(made):
            made.append(ChannelLayerNorm(channels, _EPS))
            made.append(nn.GELU())
        made.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels, ratio = channels // 2, ratio // 2
    return made
