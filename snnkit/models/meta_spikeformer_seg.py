"""Semantic segmentation on Meta-SpikeFormer: a spiking feature pyramid and a head of convolutions.

    backbone       maps at strides 2, 4, 8, 16, each the mean over time of its currents: neck and head run one step
    neck           ``layers.spiking_pyramid.SpikingFPN``
    head           ``SpikingScaleSum`` on all four: logits at stride 2

Source: BICLab/Spike-Driven-Transformer-V3 @00fcd1f, ``Segmentation`` (Semantic FPN). Letters: T steps, B images,
C channels, H and W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from snnkit.errors import InvalidArgumentError
from snnkit.layers.spiking_pyramid import SpikingFPN, SpikingScaleSum
from snnkit.models.family import StateDict, renamed
from snnkit.models.meta_spikeformer import FAMILY, SIZES, MetaSpikeFormer, backbone_keys
from snnkit.models.registry import register_variant

_RATIOS = (1, 2, 4, 8)


class MetaSpikeFormerSegmenter(nn.Module):
    """Images (B, C, H, W) or sequences (T, B, C, H, W) → logits (B, K, ⌈H/2⌉, ⌈W/2⌉).

    Args:
        backbone: without a classifier.
        num_classes: K ≥ 1.
        fpn_channels: of the pyramid.
        head_channels: of the head.
        dropout: probability that training silences a channel before the last layer.

    Raises:
        InvalidArgumentError: a number outside its range.
    """

    def __init__(
        self, backbone: MetaSpikeFormer, num_classes: int, fpn_channels: int, head_channels: int, dropout: float
    ):
        super().__init__()
        for name, value in (
            ("num_classes", num_classes),
            ("fpn_channels", fpn_channels),
            ("head_channels", head_channels),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise InvalidArgumentError(f"{name}={value!r}: must be a whole number ≥ 1.")
        if not 0 <= dropout < 1:
            raise InvalidArgumentError(f"dropout={dropout!r}: must be at least 0 and below 1.")
        self.num_classes = num_classes
        self.backbone = backbone
        info = backbone.feature_info.channels()
        self.neck = SpikingFPN((info[0] // 2, info[0], info[1], info[3]), fpn_channels)
        self.head = SpikingScaleSum(fpn_channels, head_channels, num_classes, _RATIOS, dropout)

    @property
    def timesteps(self) -> int:
        """T for still images."""
        return self.backbone.timesteps

    @property
    def in_chans(self) -> int:
        """Channels of the images."""
        return self.backbone.in_chans

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of each backbone block while training and compute the rest again in backward."""
        self.backbone.set_grad_checkpointing(enable)

    def forward_maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps that the neck reads, (1, B, C, H, W) at strides 2, 4, 8, 16: means over time."""
        maps = self.backbone.forward_maps(self.backbone.forward_currents(x))
        return [maps[i].mean(0, keepdim=True) for i in (0, 1, 2, 4)]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits at half the resolution of the images.

        Raises:
            InvalidArgumentError: not images or sequences of the model's channels.
        """
        return self.head(self.neck(self.forward_maps(x)))[0]

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return the class of every pixel of the images, (B, H, W)."""
        return F.interpolate(self(x), x.shape[-2:], mode="bilinear", align_corners=False).argmax(1)

    def published_keys(self, state: StateDict) -> dict[str, Tensor]:
        """Translate the published keys of backbone, neck and head."""
        inside = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
        rest = {key: value for key, value in state.items() if not key.startswith("backbone.")}
        made = {f"backbone.{key}": value for key, value in backbone_keys(inside).items()}
        return made | renamed(rest, _HEAD_KEYS)


_HEAD_KEYS = (
    (r"^neck\.lateral_convs\.(\d)\.1\.0\.conv\.", r"neck.laterals.\1."),
    (r"^neck\.fpn_convs\.(\d)\.1\.0\.conv\.", r"neck.pyramid.\1."),
    (r"^decode_head\.scale_heads\.(\d)\.(\d)\.1\.0\.", r"head.scale_heads.\1.convs.\2."),
    (r"^decode_head\.conv_seg\.", "head.classify."),
)


def meta_spikeformer_seg(
    num_classes: int = 150,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 512,
    timesteps: int = 4,
    drop_path_rate: float = 0.0,
    embed_dim: Sequence[int] = (64, 128, 256, 360),
    depths: Sequence[int] = (1, 1, 2, 6, 2),
    num_heads: int = 8,
    mlp_ratio: float = 4.0,
    attention: str = "sdsa3",
    shortcut: str = "membrane",
    fpn_channels: int = 128,
    head_channels: int = 128,
    dropout: float = 0.1,
) -> MetaSpikeFormerSegmenter:
    """Build a segmentation network; arguments as in ``MetaSpikeFormer`` and ``MetaSpikeFormerSegmenter``."""
    backbone = MetaSpikeFormer(
        0,
        in_chans,
        img_size,
        timesteps,
        drop_path_rate,
        False,
        False,
        embed_dim,
        depths,
        num_heads,
        mlp_ratio,
        attention,
        shortcut,
        stem_stride=2,
    )
    return MetaSpikeFormerSegmenter(backbone, num_classes, fpn_channels, head_channels, dropout)


register_variant(
    FAMILY,
    "meta_spikeformer_seg_15m",
    meta_spikeformer_seg,
    params=16_470_142,
    summary="Semantic segmentation on the 15m backbone, pyramid and head of 128 channels.",
    embed_dim=SIZES["15m"],
)
register_variant(
    FAMILY,
    "meta_spikeformer_seg_55m",
    meta_spikeformer_seg,
    params=61_520_022,
    summary="Semantic segmentation on the 55m backbone, pyramid and head of 256 channels.",
    embed_dim=SIZES["55m"],
    fpn_channels=256,
    head_channels=256,
)
