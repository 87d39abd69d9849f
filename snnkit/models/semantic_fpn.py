"""Semantic FPN: the class of every pixel from a feature pyramid, on any backbone, spiking or ordinary.

    ordinary   levels = FPN(maps);  logits = 1×1(dropout(Σ scaled levels)), where a level r times coarser than the
               finest is scaled by log₂ r times (3×3, group norm, ReLU, ×2), and by the first three once where r = 1
    spiking    ``layers.spiking_pyramid``, at every time step; logits are averaged over the steps

Logits are at the stride of the finest map. Source: Kirillov et al., "Panoptic Feature Pyramid Networks", arXiv
1901.02446; the published spiking form, which averages maps over time before the pyramid, is
``meta_spikeformer_seg``. Letters: T steps, B images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from snnkit.errors import InvalidArgumentError
from snnkit.layers.spiking_pyramid import SpikingFPN, SpikingScaleSum
from snnkit.models.backbones import Backbone, OnBackbone
from snnkit.models.family import Family
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_whole
from snnkit.readouts import Mean

_GROUPS = 32


class ScaleSum(nn.Module):
    """Levels of a pyramid (B, C, Hᵢ, Wᵢ) → logits (B, K, H₀, W₀).

    Args:
        in_channels: of every level.
        channels: of the head; group norm wants a multiple of 32, or has one group where it is none.
        num_classes: K.
        ratios: how much coarser than the finest each level is, powers of two.
        dropout: probability that training silences a channel before the last layer.
    """

    def __init__(self, in_channels: int, channels: int, num_classes: int, ratios: Sequence[int], dropout: float):
        super().__init__()
        groups = _GROUPS if channels % _GROUPS == 0 else 1
        self.scale_heads = nn.ModuleList(nn.Sequential() for _ in ratios)
        for head, ratio in zip(self.scale_heads, ratios, strict=True):
            for number in range(max(ratio.bit_length() - 1, 1)):
                width = channels if number else in_channels
                head.append(nn.Conv2d(width, channels, 3, padding=1, bias=False))
                head.append(nn.GroupNorm(groups, channels))
                head.append(nn.ReLU(inplace=True))
                if ratio > 1:
                    head.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return logits at the size of the first level."""
        first, *rest = (head(x_BCHW) for head, x_BCHW in zip(self.scale_heads, levels, strict=True))
        for level in rest:
            if level.shape[-2:] != first.shape[-2:]:
                level = F.interpolate(level, first.shape[-2:], mode="bilinear", align_corners=False)
            first = first + level
        logits: Tensor = self.classify(self.dropout(first))
        return logits


def _check(dropout: float, **sizes: int) -> None:
    check_whole(**sizes)
    if not 0 <= dropout < 1:
        raise InvalidArgumentError(f"dropout={dropout!r}: must be at least 0 and below 1.")


def _ratios(backbone: Backbone) -> list[int]:
    """How much coarser than the finest each map is."""
    return [stride // backbone.strides[0] for stride in backbone.strides]


class SemanticFPN(OnBackbone):
    """Images (B, C, H, W) → logits (B, K, ⌈H/s⌉, ⌈W/s⌉), s the stride of the backbone's finest map.

    Args:
        backbone: whose maps are read; an ordinary one.
        num_classes: K.
        fpn_channels, head_channels: of pyramid and head.
        dropout: probability that training silences a channel before the last layer.

    Raises:
        InvalidArgumentError: a number outside its range.
    """

    def __init__(self, backbone: Backbone, num_classes: int, fpn_channels: int, head_channels: int, dropout: float):
        super().__init__(backbone)
        _check(dropout, num_classes=num_classes, fpn_channels=fpn_channels, head_channels=head_channels)
        self.num_classes = num_classes
        self.neck = FeaturePyramidNetwork(list(backbone.channels), fpn_channels)
        self.head = ScaleSum(fpn_channels, head_channels, num_classes, _ratios(backbone), dropout)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return logits (B, K, h, w).

        Raises:
            InvalidArgumentError: not images of the backbone's channels.
        """
        maps = {str(level): map_BCHW for level, map_BCHW in enumerate(self.backbone(x_BCHW))}
        logits: Tensor = self.head(list(self.neck(maps).values()))
        return logits


class SpikingSemanticFPN(OnBackbone):
    """Images (B, C, H, W), or sequences (T, B, C, H, W) → logits (B, K, ⌈H/s⌉, ⌈W/s⌉), averaged over the steps.

    Arguments and errors as of ``SemanticFPN``; the backbone is a spiking one. ``neuron`` makes those of neck and head.

    Attributes:
        timesteps: T for still images.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        fpn_channels: int,
        head_channels: int,
        dropout: float,
        neuron: Callable[[], nn.Module],
    ):
        super().__init__(backbone)
        _check(dropout, num_classes=num_classes, fpn_channels=fpn_channels, head_channels=head_channels)
        self.num_classes = num_classes
        self.neck = SpikingFPN(backbone.channels, fpn_channels, neuron)
        self.head = SpikingScaleSum(fpn_channels, head_channels, num_classes, _ratios(backbone), dropout, neuron)
        self.readout = Mean()

    def forward_sequence(self, x: Tensor) -> Tensor:
        """Return the logits of every step, (T, B, K, h, w), of images or a sequence."""
        logits: Tensor = self.head(self.neck(self.backbone(x)))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K, h, w).

        Raises:
            InvalidArgumentError: not images or sequences of the backbone's channels.
        """
        return self.readout(self.forward_sequence(x))


FAMILY = Family(
    name="semantic_fpn",
    title="Semantic FPN",
    kind="ann",
    paper="Kirillov et al., Panoptic Feature Pyramid Networks, arXiv 1901.02446",
    source="the paper",
    tiny={
        "name": "semantic_fpn:timm:resnet10t", "num_classes": 3, "fpn_channels": 8, "head_channels": 8,
    },
    unconfirmed=("published weights of other code's Semantic FPN are not read; those of meta_spikeformer_seg are",),
)  # fmt: skip


def build(
    encoder: nn.Module,
    num_classes: int = 150,
    fpn_channels: int = 128,
    head_channels: int = 128,
    dropout: float = 0.1,
    levels: int = 4,
    finest: int = 4,
    neurons: str = "lif",
) -> SemanticFPN | SpikingSemanticFPN:
    """Build a Semantic FPN on an encoder's maps; arguments as in ``SemanticFPN``, ``Backbone`` and its ``neuron``."""
    backbone = Backbone(encoder, levels, finest)
    neuron, sizes = backbone.neuron(neurons), (backbone, num_classes, fpn_channels, head_channels, dropout)
    return SpikingSemanticFPN(*sizes, neuron) if backbone.spiking else SemanticFPN(*sizes)


register_method("semantic_fpn", build, FAMILY, maps=True)
