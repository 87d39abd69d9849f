"""A spiking feature pyramid, and a spiking head that sums its levels.

    lateral        s, 1×1 to the pyramid's channels; each level adds the next, enlarged to the nearest pixel
    pyramid        s, 3×3
    scales         log₂ r times (s, 3×3, norm, enlarged twofold) a level that is r times coarser than the finest;
                   (s, 3×3, norm) once where r = 1
    sum            of all levels at the finest one's size → s → dropout → 1×1 to the classes

s is the neuron, a LIF unless told otherwise. Source: BICLab/Spike-Driven-Transformer-V3 @00fcd1f, ``Segmentation``
(Semantic FPN); Kirillov et al., "Panoptic Feature Pyramid Networks", arXiv 1901.02446. Letters: T steps, B images, C
channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.sequence import Conv2d, Dropout2d, over_time  # type: ignore[attr-defined]
from snnkit.layers.spiking_draw import drawn
from snnkit.neurons import LIF


class SpikingFPN(nn.Module):
    """Maps (T, B, Cᵢ, Hᵢ, Wᵢ), fine to coarse, to as many of the same sizes with ``channels`` channels.

    ``neuron`` makes a neuron.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.lateral_lifs = nn.ModuleList(neuron() for _ in in_channels)
        self.laterals = nn.ModuleList(drawn(Conv2d(c, channels, 1)) for c in in_channels)
        self.pyramid_lifs = nn.ModuleList(neuron() for _ in in_channels)
        self.pyramid = nn.ModuleList(drawn(Conv2d(channels, channels, 3, padding=1)) for _ in in_channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return currents."""
        levels = [conv(lif(x_TBCHW)) for conv, lif, x_TBCHW in zip(self.laterals, self.lateral_lifs, maps, strict=True)]
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + resized(levels[i], levels[i - 1].shape[-2:], "nearest")
        return [conv(lif(x)) for conv, lif, x in zip(self.pyramid, self.pyramid_lifs, levels, strict=True)]


class ScaleHead(nn.Module):
    """So many times neuron, 3×3, norm, each enlarged twofold where ``enlarge``."""

    def __init__(
        self, in_channels: int, channels: int, layers: int, enlarge: bool, neuron: Callable[[], nn.Module] = LIF
    ):
        super().__init__()
        self.lifs = nn.ModuleList(neuron() for _ in range(layers))
        self.convs = nn.ModuleList(ConvBN(channels if i else in_channels, channels, 3) for i in range(layers))
        self.enlarge = enlarge

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return currents."""
        for lif, conv in zip(self.lifs, self.convs, strict=True):
            x_TBCHW = conv(lif(x_TBCHW))
            if self.enlarge:
                height, width = x_TBCHW.shape[-2:]
                x_TBCHW = resized(x_TBCHW, (2 * height, 2 * width), "bilinear")
        return x_TBCHW


class SpikingScaleSum(nn.Module):
    """Levels of a pyramid (T, B, C, Hᵢ, Wᵢ) → logits (T, B, K, H₀, W₀).

    Args:
        in_channels: of every level.
        channels: of the head.
        num_classes: K.
        ratios: how much coarser than the finest each level is, powers of two.
        dropout: probability that training silences a channel before the last layer.
        neuron: makes a neuron.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        num_classes: int,
        ratios: Sequence[int],
        dropout: float,
        neuron: Callable[[], nn.Module] = LIF,
    ):
        super().__init__()
        self.scale_heads = nn.ModuleList(
            ScaleHead(in_channels, channels, max(ratio.bit_length() - 1, 1), ratio > 1, neuron) for ratio in ratios
        )
        self.lif = neuron()
        self.dropout = Dropout2d(dropout)
        self.classify = Conv2d(channels, num_classes, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return logits at the size of the first level."""
        first, *rest = (head(x_TBCHW) for head, x_TBCHW in zip(self.scale_heads, levels, strict=True))
        for level in rest:
            first = first + resized(level, first.shape[-2:], "bilinear")
        logits: Tensor = self.classify(self.dropout(self.lif(first)))
        return logits


def resized(x_TBCHW: Tensor, size: Sequence[int], mode: str) -> Tensor:
    """Bring maps to another size in pixels; where they have it, nothing happens."""
    if tuple(x_TBCHW.shape[-2:]) == tuple(size):
        return x_TBCHW
    corners = False if mode == "bilinear" else None
    return over_time(lambda y: F.interpolate(y, tuple(size), mode=mode, align_corners=corners), x_TBCHW)
