"""Heat maps of key points on any backbone, spiking or ordinary: a few deconvolutions on its coarsest map.

    ordinary   n times (4×4 deconvolution at stride 2, batch norm, ReLU), then 1×1 to the key points
    spiking    n times (LIF, 4×4 deconvolution, batch norm), LIF, 1×1, at every time step; averaged over the steps

n doubles the coarsest map to a stride of 4 pixels: three times from 32, twice from 16, never from 4. Source: Xiao et
al., "Simple Baselines for Human Pose Estimation and Tracking", arXiv 1804.06208 (three deconvolutions of 256 channels);
UniFormer's pose networks have the same head (TopDownSimpleHead). Letters: T steps, B images, C channels, H and W
pixels, K key points.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from snnkit.layers.sequence import BatchNorm2d, Conv2d, ConvTranspose2d  # type: ignore[attr-defined]
from snnkit.models.backbones import Backbone
from snnkit.models.family import Family
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_whole
from snnkit.neurons import LIF
from snnkit.readouts import Mean

STRIDE = 4
"""Pixels of a cell of the heat maps, where the backbone's coarsest stride is a power of two."""
_SMALL = 0.001  # standard deviation of the last layer's weights: a new network sees nothing anywhere


class Pose(nn.Module):
    """Images (B, C, H, W), or sequences (T, B, C, H, W) for spiking backbones → heat maps (B, K, ⌈H/s⌉, ⌈W/s⌉).

    Args:
        backbone: whose coarsest map is read; it decides whether the head is spiking.
        num_classes: K.
        head_channels: of the deconvolutions.

    Attributes:
        stride: s, pixels of a cell of the heat maps.

    Raises:
        InvalidArgumentError: a number outside its range.
    """

    def __init__(self, backbone: Backbone, num_classes: int, head_channels: int = 256):
        super().__init__()
        check_whole(num_classes=num_classes, head_channels=head_channels)
        self.num_classes, self.backbone = num_classes, backbone
        doublings = max(round(math.log2(backbone.strides[-1] / STRIDE)), 0)
        self.stride = backbone.strides[-1] / 2**doublings
        widths = [backbone.channels[-1], *[head_channels] * doublings]
        make = _spiking_head if backbone.spiking else _head
        self.head = make(widths, num_classes)
        nn.init.normal_(self.head[-1].weight, std=_SMALL)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[-1].bias)  # type: ignore[arg-type]
        self.readout = Mean()

    @property
    def timesteps(self) -> int | None:
        """T for still images; None where the backbone is ordinary."""
        return self.backbone.timesteps

    @property
    def in_chans(self) -> int:
        """Channels of the images."""
        return self.backbone.in_chans

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the inputs of the backbone's blocks while training and compute them again in the backward."""
        self.backbone.set_grad_checkpointing(enable)

    def no_weight_decay(self) -> set[str]:
        """The backbone's own."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def forward_sequence(self, x: Tensor) -> Tensor:
        """Return the heat maps of every step of a spiking network, (T, B, K, h, w), of images or a sequence."""
        height, width = (math.ceil(size / self.stride) for size in x.shape[-2:])
        maps: Tensor = self.head(self.backbone(x)[-1])
        return maps[..., :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        """Return heat maps (B, K, h, w).

        Raises:
            InvalidArgumentError: not images or sequences of the backbone's channels.
        """
        maps = self.forward_sequence(x)
        return self.readout(maps) if self.backbone.spiking else maps


def _head(widths: list[int], num_classes: int) -> nn.Sequential:
    """Return the ordinary head: (B, C, H, W) → (B, K, 2ⁿ H, 2ⁿ W)."""
    head = nn.Sequential()
    for inputs, outputs in pairwise(widths):
        head.append(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
        head.append(nn.BatchNorm2d(outputs))
        head.append(nn.ReLU(inplace=True))
    return head.append(nn.Conv2d(widths[-1], num_classes, 1))


def _spiking_head(widths: list[int], num_classes: int) -> nn.Sequential:
    """Return the spiking head: (T, B, C, H, W) → currents (T, B, K, 2ⁿ H, 2ⁿ W)."""
    head = nn.Sequential()
    for inputs, outputs in pairwise(widths):
        head.append(LIF())
        head.append(ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
        head.append(BatchNorm2d(outputs))
    head.append(LIF())
    return head.append(Conv2d(widths[-1], num_classes, 1))


FAMILY = Family(
    name="pose",
    title="Heat maps of key points (Simple Baselines)",
    kind="ann",
    paper="Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, arXiv 1804.06208",
    source="the paper",
    tiny={"name": "pose:timm:resnet10t", "num_classes": 4, "head_channels": 8},
    unconfirmed=("published weights of other code's pose networks are not read",),
)


def build(encoder: nn.Module, num_classes: int = 17, head_channels: int = 256) -> Pose:
    """Build the heat-map head on an encoder's coarsest map; arguments as in ``Pose``."""
    return Pose(Backbone(encoder, levels=1, finest=STRIDE), num_classes, head_channels)


register_method("pose", build, FAMILY, maps=True)
