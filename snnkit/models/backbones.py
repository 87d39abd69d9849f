"""Any image model as a backbone: a few maps, fine to coarse, of images of any size.

    maps       of a model made with ``features_only``, one for each of the last ``levels`` of its feature_info
    sizes      where a model reads multiples of some size only (its ``size_unit``), images are filled up with zeros at
               bottom and right, and what the maps show of that is cut off again: ⌈H / stride⌉ × ⌈W / stride⌉ are left

Maps of ordinary models are (B, C, H, W), those of spiking ones (T, B, C, H, W).
"""

from __future__ import annotations

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.models.classifier import ImageClassifier, SpikingClassifier


class Backbone(nn.Module):
    """Images (B, C, H, W), or sequences (T, B, C, H, W) for spiking models, → maps.

    Args:
        encoder: made with ``features_only``; of this package or timm's.
        levels: how many of its maps are given, the coarsest.
        finest: smallest stride of a map that is given.

    Attributes:
        spiking: whether maps are sequences.
        channels, strides: of the maps.
        timesteps: T for still images; None for ordinary models.

    Raises:
        InvalidArgumentError: a model without feature maps, or none of a stride from ``finest`` on.
    """

    def __init__(self, encoder: nn.Module, levels: int = 4, finest: int = 4):
        super().__init__()
        info: Any = getattr(encoder, "feature_info", None)
        name = getattr(encoder, "model_name", type(encoder).__name__)
        own = isinstance(encoder, (SpikingClassifier, ImageClassifier))
        if info is None or not hasattr(info, "reduction") or (own and not encoder.features_only):
            raise InvalidArgumentError(
                f"{name} lists no feature maps; take a model that create_model makes with features_only=True."
            )
        strides, channels = list(info.reduction()), list(info.channels())
        kept = [i for i, stride in enumerate(strides) if stride >= finest][-levels:]
        if not kept:
            raise InvalidArgumentError(
                f"{name} has maps of strides {', '.join(map(str, strides))}; one of {finest} or more is needed."
            )
        self.encoder, self.spiking = encoder, isinstance(encoder, SpikingClassifier)
        self._kept = kept
        self._channels_last = str(getattr(encoder, "output_fmt", "NCHW")).endswith("NHWC")
        self.channels = tuple(channels[i] for i in kept)
        self.strides = tuple(strides[i] for i in kept)

    @property
    def timesteps(self) -> int | None:
        """T for still images; None for ordinary models."""
        return self.encoder.timesteps if self.spiking else None  # type: ignore[union-attr,return-value]

    @property
    def in_chans(self) -> int:
        """Channels of the images."""
        known = getattr(self.encoder, "in_chans", None)
        if known is None:  # timm's: of the first convolution
            known = next(m for m in self.encoder.modules() if isinstance(m, nn.Conv2d)).in_channels
        return int(known)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps, fine to coarse."""
        height, width = x.shape[-2:]
        made = self.encoder(self._filled(x))
        maps = [made[i] for i in self._kept]
        if self._channels_last:
            maps = [y.permute(0, 3, 1, 2) for y in maps]
        return [
            y[..., : math.ceil(height / stride), : math.ceil(width / stride)]
            for y, stride in zip(maps, self.strides, strict=True)
        ]

    def _filled(self, x: Tensor) -> Tensor:
        """Fill up to multiples of what the encoder reads."""
        unit = getattr(self.encoder, "size_unit", None)
        if unit is None:  # timm's: patches are of one size, convolutions take any
            unit = (self.strides[-1],) * 2 if hasattr(self.encoder, "patch_embed") else (1, 1)
        below, right = (-size % one for size, one in zip(x.shape[-2:], unit, strict=True))
        return F.pad(x, (0, right, 0, below)) if below or right else x

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of the encoder's blocks while training and compute them again in the backward.

        Raises:
            InvalidArgumentError: the encoder has no blocks.
        """
        if not hasattr(self.encoder, "set_grad_checkpointing"):
            raise InvalidArgumentError(
                f"runtime.grad_checkpointing: {getattr(self.encoder, 'model_name', type(self.encoder).__name__)} has "
                "no blocks that it could keep the inputs of; set it to false."
            )
        self.encoder.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """The encoder's own."""
        own = self.encoder.no_weight_decay() if hasattr(self.encoder, "no_weight_decay") else ()
        return {f"encoder.{name}" for name in own}  # type: ignore[union-attr]
