"""Heat maps of key points on any backbone, spiking or ordinary: a few deconvolutions on its coarsest map.

    ordinary   n times (4×4 deconvolution at stride 2, batch norm, ReLU), then 1×1 to the key points
    spiking    n times (neuron, 4×4 deconvolution, batch norm), neuron, 1×1, at every time step; averaged over the steps

n doubles the coarsest map to a stride of 4 pixels: three times from 32, twice from 16, never from 4. Source: Xiao et
al., "Simple Baselines for Human Pose Estimation and Tracking", arXiv 1804.06208 (three deconvolutions of 256 channels);
UniFormer's pose networks have the same head (TopDownSimpleHead). Letters: T steps, B images, C channels, H and W
pixels, K key points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from snnkit.layers.sequence import BatchNorm2d, Conv2d, ConvTranspose2d  # type: ignore[attr-defined]
from snnkit.models.backbones import Backbone, OnBackbone
from snnkit.models.family import Family
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_whole
from snnkit.neurons import LIF
from snnkit.readouts import Mean

STRIDE = 4
"""Pixels of a cell of the heat maps, where the backbone's coarsest stride is a power of two."""
_SMALL = 0.001  # standard deviation of the last layer's weights: a new network sees nothing anywhere


class Pose(OnBackbone):
    """Images (B, C, H, W) → heat maps (B, K, ⌈H/s⌉, ⌈W/s⌉).

    Args:
        backbone: whose coarsest map is read; an ordinary one.
        num_classes: K.
        head_channels: of the deconvolutions.

    Attributes:
        stride: s, pixels of a cell of the heat maps.

    Raises:
        InvalidArgumentError: a number outside its range.
    """

    def __init__(self, backbone: Backbone, num_classes: int, head_channels: int = 256):
        super().__init__(backbone)
        check_whole(num_classes=num_classes, head_channels=head_channels)
        self.num_classes = num_classes
        doublings, self.stride = _doublings(backbone)
        self.head = _begun(_head([backbone.channels[-1], *[head_channels] * doublings], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return heat maps (B, K, h, w).

        Raises:
            InvalidArgumentError: not images of the backbone's channels.
        """
        return _cut(self.head(self.backbone(x)[-1]), x, self.stride)


class SpikingPose(OnBackbone):
    """Images (B, C, H, W), or sequences (T, B, C, H, W) → heat maps (B, K, ⌈H/s⌉, ⌈W/s⌉), averaged over the steps.

    Arguments, attributes and errors as of ``Pose``; the backbone is a spiking one. ``neuron`` makes those of the head.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        head_channels: int = 256,
        neuron: Callable[[], nn.Module] = LIF,
    ):
        super().__init__(backbone)
        check_whole(num_classes=num_classes, head_channels=head_channels)
        self.num_classes = num_classes
        doublings, self.stride = _doublings(backbone)
        widths = [backbone.channels[-1], *[head_channels] * doublings]
        self.head = _begun(_spiking_head(widths, num_classes, neuron))
        self.readout = Mean()

    def forward_sequence(self, x: Tensor) -> Tensor:
        """Return the heat maps of every step, (T, B, K, h, w), of images or a sequence."""
        return _cut(self.head(self.backbone(x)[-1]), x, self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return heat maps (B, K, h, w).

        Raises:
            InvalidArgumentError: not images or sequences of the backbone's channels.
        """
        return self.readout(self.forward_sequence(x))


def _doublings(backbone: Backbone) -> tuple[int, float]:
    """How often the coarsest map is enlarged, and the pixels of a cell of the heat maps."""
    count = max(round(math.log2(backbone.strides[-1] / STRIDE)), 0)
    return count, backbone.strides[-1] / 2**count


def _begun(head: nn.Sequential) -> nn.Sequential:
    """Draw the last layer's weights: a new network sees nothing anywhere."""
    nn.init.normal_(head[-1].weight, std=_SMALL)  # type: ignore[arg-type]
    nn.init.zeros_(head[-1].bias)  # type: ignore[arg-type]
    return head


def _cut(maps: Tensor, x: Tensor, stride: float) -> Tensor:
    height, width = (math.ceil(size / stride) for size in x.shape[-2:])
    return maps[..., :height, :width]


def _head(widths: list[int], num_classes: int) -> nn.Sequential:
    """Return the ordinary head: (B, C, H, W) → (B, K, 2ⁿ H, 2ⁿ W)."""
    head = nn.Sequential()
    for inputs, outputs in pairwise(widths):
        head.append(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
        head.append(nn.BatchNorm2d(outputs))
        head.append(nn.ReLU(inplace=True))
    return head.append(nn.Conv2d(widths[-1], num_classes, 1))


def _spiking_head(widths: list[int], num_classes: int, neuron: Callable[[], nn.Module]) -> nn.Sequential:
    """Return the spiking head: (T, B, C, H, W) → currents (T, B, K, 2ⁿ H, 2ⁿ W)."""
    head = nn.Sequential()
    for inputs, outputs in pairwise(widths):
        head.append(neuron())
        head.append(ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False))
        head.append(BatchNorm2d(outputs))
    head.append(neuron())
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


def build(
    encoder: nn.Module, num_classes: int = 17, head_channels: int = 256, neurons: str = "lif"
) -> Pose | SpikingPose:
    """Build the heat-map head on an encoder's coarsest map; arguments as in ``Pose`` and ``Backbone.neuron``."""
    backbone = Backbone(encoder, levels=1, finest=STRIDE)
    neuron, sizes = backbone.neuron(neurons), (backbone, num_classes, head_channels)
    return SpikingPose(*sizes, neuron) if backbone.spiking else Pose(*sizes)


register_method("pose", build, FAMILY, maps=True)
