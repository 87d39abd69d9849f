"""UPerNet: the class of every pixel from pooled context and a feature pyramid, on any ordinary backbone.

    context    top = conv₃(concat(x₃, and for s = 1, 2, 3, 6: conv₁(mean over s × s cells of x₃), enlarged))
    pyramid    p₃ = top;  pᵢ = conv₁(xᵢ) + enlarged pᵢ₊₁   for i = 2, 1, 0;   then conv₃ of each but p₃
    fusion     logits = 1×1(dropout(conv₃(concat of all levels at the finest one's size)))
    auxiliary  1×1(dropout(conv₃(x₂))), in training alone

xᵢ: the backbone's maps, fine to coarse (where there are fewer or more than four, x₃ is the coarsest and x₂ the one
before it); convₖ: k × k without bias, batch norm, ReLU; enlarged: bilinearly. Logits are at the stride of the finest
map. Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", arXiv 1807.10221; widths, dropout and
the auxiliary head as in MMSegmentation. Letters: B images, C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.models.backbones import Backbone, OnBackbone
from snnkit.models.family import Family
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_whole

_SCALES = (1, 2, 3, 6)


class ConvNormReLU(nn.Sequential):
    """k × k without bias, batch norm, ReLU; H and W stay."""

    def __init__(self, in_channels: int, channels: int, side: int):
        super().__init__(
            nn.Conv2d(in_channels, channels, side, padding=side // 2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


class PyramidPooling(nn.Module):
    """A map beside its means over 1, 2 × 2, 3 × 3 and 6 × 6 cells: (B, C, H, W) → (B, C', H, W).

    Source: Zhao et al., "Pyramid Scene Parsing Network", arXiv 1612.01105.
    """

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.contexts = nn.ModuleList(ConvNormReLU(in_channels, channels, 1) for _ in _SCALES)
        self.fuse = ConvNormReLU(in_channels + len(_SCALES) * channels, channels, 3)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return the map with its context.

        Raises:
            InvalidArgumentError: one image in training, whose mean has no variance that a batch norm could take.
        """
        if self.training and len(x_BCHW) == 1:
            raise InvalidArgumentError(
                "UPerNet's batch norms need at least 2 images in training: the mean over an image is one number a "
                "channel. Raise data.batch_size, or drop the last batch."
            )
        means = [conv(F.adaptive_avg_pool2d(x_BCHW, s)) for conv, s in zip(self.contexts, _SCALES, strict=True)]
        fused: Tensor = self.fuse(torch.cat([x_BCHW, *(_enlarged(mean, x_BCHW) for mean in means)], 1))
        return fused


class UPerHead(nn.Module):
    """Maps (B, Cᵢ, Hᵢ, Wᵢ), fine to coarse → logits (B, K, H₀, W₀).

    Args:
        in_channels: Cᵢ.
        channels: of everything inside.
        num_classes: K.
        dropout: probability that training silences a channel before the last layer.
    """

    def __init__(self, in_channels: Sequence[int], channels: int, num_classes: int, dropout: float):
        super().__init__()
        *finer, coarsest = in_channels
        self.context = PyramidPooling(coarsest, channels)
        self.laterals = nn.ModuleList(ConvNormReLU(width, channels, 1) for width in finer)
        self.pyramid = nn.ModuleList(ConvNormReLU(channels, channels, 3) for _ in finer)
        self.fuse = ConvNormReLU(len(in_channels) * channels, channels, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(channels, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return logits at the size of the first map."""
        levels = [lateral(x_BCHW) for lateral, x_BCHW in zip(self.laterals, maps[:-1], strict=True)]
        top = self.context(maps[-1])
        for i in range(len(levels) - 1, -1, -1):
            levels[i] = levels[i] + _enlarged(levels[i + 1] if i + 1 < len(levels) else top, levels[i])
        levels = [*(conv(level) for conv, level in zip(self.pyramid, levels, strict=True)), top]
        fused = self.fuse(torch.cat([_enlarged(level, levels[0]) for level in levels], 1))
        logits: Tensor = self.classify(self.dropout(fused))
        return logits


class FCNHead(nn.Sequential):
    """(B, C, H, W) → logits (B, K, H, W): 3×3, norm, ReLU, dropout, 1×1."""

    def __init__(self, in_channels: int, channels: int, num_classes: int, dropout: float):
        super().__init__()
        self.append(ConvNormReLU(in_channels, channels, 3))
        self.append(nn.Dropout2d(dropout))
        self.append(nn.Conv2d(channels, num_classes, 1))


class UPerNet(OnBackbone):
    """Images (B, C, H, W) → logits (B, K, ⌈H/s⌉, ⌈W/s⌉); in training with ``auxiliary`` (logits, auxiliary logits).

    s is the stride of the backbone's finest map.

    Args:
        backbone: whose maps are read; an ordinary one.
        num_classes: K.
        head_channels: of the head.
        dropout: probability that training silences a channel before the last layers.
        auxiliary: whether training has a second head, on the map before the coarsest.
        auxiliary_channels: of that.

    Raises:
        InvalidArgumentError: a number outside its range, a spiking backbone, or one map where two heads need two.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        head_channels: int = 512,
        dropout: float = 0.1,
        auxiliary: bool = True,
        auxiliary_channels: int = 256,
    ):
        super().__init__(backbone)
        check_whole(num_classes=num_classes, head_channels=head_channels, auxiliary_channels=auxiliary_channels)
        if not 0 <= dropout < 1:
            raise InvalidArgumentError(f"dropout={dropout!r}: must be at least 0 and below 1.")
        if not isinstance(auxiliary, bool):
            raise InvalidArgumentError(f"auxiliary={auxiliary!r}: must be true or false.")
        if backbone.spiking:
            name = getattr(backbone.encoder, "model_name", type(backbone.encoder).__name__)
            raise InvalidArgumentError(
                f"upernet takes ordinary backbones, and {name} is spiking; semantic_fpn:{name} has a spiking pyramid "
                "and head."
            )
        if auxiliary and len(backbone.channels) < 2:
            raise InvalidArgumentError(
                "auxiliary=True: the second head reads the map before the coarsest, and the backbone gives one; set it "
                "to false, or give a smaller finest."
            )
        self.num_classes = num_classes
        self.head = UPerHead(backbone.channels, head_channels, num_classes, dropout)
        self.auxiliary = FCNHead(backbone.channels[-2], auxiliary_channels, num_classes, dropout) if auxiliary else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits (B, K, h, w); in training with an auxiliary head its logits too, at its own map's size.

        Raises:
            InvalidArgumentError: not images of the backbone's channels, or one image in training.
        """
        maps = self.backbone(x)
        logits: Tensor = self.head(maps)
        if self.auxiliary is None or not self.training:
            return logits
        return logits, self.auxiliary(maps[-2])


def _enlarged(x_BCHW: Tensor, like: Tensor) -> Tensor:
    """Bring a map to the height and width of ``like``, bilinearly."""
    if x_BCHW.shape[-2:] == like.shape[-2:]:
        return x_BCHW
    return F.interpolate(x_BCHW, like.shape[-2:], mode="bilinear", align_corners=False)


FAMILY = Family(
    name="upernet",
    title="UPerNet",
    kind="ann",
    paper="Xiao et al., Unified Perceptual Parsing for Scene Understanding, arXiv 1807.10221",
    source="the paper; widths and the auxiliary head as in MMSegmentation",
    tiny={"name": "upernet:timm:resnet10t", "num_classes": 3, "head_channels": 8, "auxiliary_channels": 8},
    unconfirmed=("published weights of other code's UPerNet are not read",),
)


def build(
    encoder: nn.Module,
    num_classes: int = 150,
    head_channels: int = 512,
    dropout: float = 0.1,
    auxiliary: bool = True,
    auxiliary_channels: int = 256,
    levels: int = 4,
    finest: int = 4,
) -> UPerNet:
    """Build a UPerNet on an encoder's maps; arguments as in ``UPerNet`` and ``Backbone``."""
    backbone = Backbone(encoder, levels, finest)
    return UPerNet(backbone, num_classes, head_channels, dropout, auxiliary, auxiliary_channels)


register_method("upernet", build, FAMILY, maps=True)
