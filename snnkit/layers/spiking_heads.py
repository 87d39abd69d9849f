"""Spiking heads of detectors: a neuron before every convolution and linear layer, outputs averaged over time.

    proposals      s, 3×3, s → 1×1 to objectness and 1×1 to offsets                     the same for every level
    boxes          s, linear, s, linear, s → linear to classes and linear to offsets
    masks          four times (s, 3×3), s, 2×2 transposed, s, 1×1 to the classes
    dense          four times (s, 3×3), s, 3×3 to classes; the same again to offsets     (RetinaNet)

s is the neuron, which ``neuron`` makes: a LIF unless told otherwise. Each gives what torchvision's layer in its place
gives, so that torchvision's matching, losses and selection of boxes work on it. Class 0 is the background; it has a
logit, but neither offsets nor a mask: there zeros stand.

Source: BICLab/Spike-Driven-Transformer-V3 @00fcd1f, ``Detection`` (Mask R-CNN of Spike-driven Transformer V2, whose
layers have biases and no norms); the dense heads are an own form of RetinaNet's (arXiv 1708.02002). Letters: T steps, B
images, R regions, C channels, H and W pixels, A anchors at a place, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNetClassificationHead, RetinaNetHead, RetinaNetRegressionHead

from snnkit.layers.sequence import Conv2d, ConvTranspose2d, Linear, over_time  # type: ignore[attr-defined]
from snnkit.layers.spiking_draw import drawn, small
from snnkit.neurons import LIF
from snnkit.readouts import Mean


class SpikingRPNHead(nn.Module):
    """Levels (T, B, C, Hᵢ, Wᵢ) → objectness (B, A, Hᵢ, Wᵢ) and offsets (B, 4A, Hᵢ, Wᵢ) of each."""

    def __init__(self, channels: int, anchors: int, neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.conv_lif, self.conv = neuron(), drawn(Conv2d(channels, channels, 3, padding=1))
        self.lif = neuron()
        self.cls_logits, self.bbox_pred = small(Conv2d(channels, anchors, 1)), small(Conv2d(channels, 4 * anchors, 1))
        self.readout = Mean()

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return two lists, one entry a level."""
        spikes = [self.lif(self.conv(self.conv_lif(x_TBCHW))) for x_TBCHW in levels]
        return [self.readout(self.cls_logits(x)) for x in spikes], [self.readout(self.bbox_pred(x)) for x in spikes]


class SpikingBoxHead(nn.Module):
    """Regions (T, R, C, h, w) → currents (T, R, F)."""

    def __init__(self, inputs: int, width: int, neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.lif6, self.fc6 = neuron(), drawn(Linear(inputs, width))
        self.lif7, self.fc7 = neuron(), drawn(Linear(width, width))

    def forward(self, x_TRChw: Tensor) -> Tensor:
        """Return what the predictor's neurons receive."""
        return self.fc7(self.lif7(self.fc6(self.lif6(x_TRChw.flatten(2)))))


class SpikingBoxPredictor(nn.Module):
    """Currents (T, R, F) → logits (R, K + 1) and offsets (R, 4 (K + 1)), class 0 the background."""

    def __init__(self, width: int, num_classes: int, neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.lif = neuron()
        self.cls_score = small(Linear(width, num_classes + 1))
        self.bbox_pred = small(Linear(width, 4 * num_classes), 0.001)
        self.readout = Mean()

    def forward(self, x_TRF: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two."""
        spikes = self.lif(x_TRF)
        offsets = self.readout(self.bbox_pred(spikes))
        return self.readout(self.cls_score(spikes)), F.pad(offsets, (4, 0))


class SpikingMaskHead(nn.Module):
    """Regions (T, R, C, h, w) → currents (T, R, C', h, w)."""

    def __init__(self, channels: int, width: int, layers: int, neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.lifs = nn.ModuleList(neuron() for _ in range(layers))
        self.convs = nn.ModuleList(drawn(Conv2d(width if i else channels, width, 3, padding=1)) for i in range(layers))

    def forward(self, x_TRChw: Tensor) -> Tensor:
        """Return what the predictor's neurons receive."""
        for lif, conv in zip(self.lifs, self.convs, strict=True):
            x_TRChw = conv(lif(x_TRChw))
        return x_TRChw


class SpikingMaskPredictor(nn.Module):
    """Currents (T, R, C, h, w) → logits (R, K + 1, 2h, 2w) of the pixels of every class, 0 for the background."""

    def __init__(self, channels: int, num_classes: int, neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.lif5, self.conv5_mask = neuron(), drawn(ConvTranspose2d(channels, channels, 2, 2))
        self.lif, self.mask_fcn_logits = neuron(), small(Conv2d(channels, num_classes, 1), 0.1)
        self.readout = Mean()

    def forward(self, x_TRChw: Tensor) -> Tensor:
        """Return logits."""
        found = self.readout(self.mask_fcn_logits(self.lif(self.conv5_mask(self.lif5(x_TRChw)))))
        return F.pad(found, (0, 0, 0, 0, 1, 0))


class SpikingTower(nn.Module):
    """So many times neuron and 3×3, neuron, a last 3×3: maps (T, B, C, H, W) → their mean over time (B, C', H, W)."""

    def __init__(self, channels: int, out: int, layers: int = 4, neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.lifs = nn.ModuleList(neuron() for _ in range(layers))
        self.convs = nn.ModuleList(drawn(Conv2d(channels, channels, 3, padding=1)) for _ in range(layers))
        self.lif, self.last = neuron(), small(Conv2d(channels, out, 3, padding=1))
        self.readout = Mean()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return real values."""
        for lif, conv in zip(self.lifs, self.convs, strict=True):
            x_TBCHW = conv(lif(x_TBCHW))
        found: Tensor = self.readout(self.last(self.lif(x_TBCHW)))
        return found


class SpikingRetinaHead(RetinaNetHead):
    """RetinaNet's two heads on levels (T, B, C, Hᵢ, Wᵢ): {"cls_logits" (B, N, K), "bbox_regression" (B, N, 4)}.

    N counts the anchors of all levels. Losses are torchvision's.
    """

    def __init__(self, channels: int, anchors: int, num_classes: int, neuron: Callable[[], nn.Module] = LIF):
        super().__init__(1, anchors, num_classes)  # for its losses; the layers are replaced
        classes, offsets = self.classification_head, self.regression_head
        prior = classes.cls_logits.bias[0].item()  # a new network finds nothing
        for head, out in ((classes, anchors * num_classes), (offsets, 4 * anchors)):
            head.conv = SpikingTower(channels, out, neuron=neuron)
        del classes.cls_logits, offsets.bbox_reg
        nn.init.constant_(classes.conv.last.bias, prior)
        self._outputs = num_classes, 4

    def forward(self, levels: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return what torchvision's head returns."""
        heads: tuple[RetinaNetClassificationHead | RetinaNetRegressionHead, ...]
        heads = self.classification_head, self.regression_head
        found = [
            torch.cat([_by_anchor(head.conv(x_TBCHW), outputs) for x_TBCHW in levels], 1)
            for head, outputs in zip(heads, self._outputs, strict=True)
        ]
        return {"cls_logits": found[0], "bbox_regression": found[1]}


def _by_anchor(x_BCHW: Tensor, outputs: int) -> Tensor:
    """(B, A · outputs, H, W) → (B, H · W · A, outputs)."""
    return x_BCHW.unflatten(1, (-1, outputs)).permute(0, 3, 4, 1, 2).flatten(1, 3)


class SpikingCoarser(nn.Module):
    """Two levels more, half and a quarter of the coarsest in size: neuron, 3×3 at stride 2, twice."""

    def __init__(self, channels: int, neuron: Callable[[], nn.Module] = LIF):
        super().__init__()
        self.lifs = nn.ModuleList(neuron() for _ in range(2))
        self.p6, self.p7 = (drawn(Conv2d(channels, channels, 3, stride=2, padding=1)) for _ in range(2))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        """Return the levels, and two more."""
        p6 = self.p6(self.lifs[0](levels[-1]))
        return [*levels, p6, self.p7(self.lifs[1](p6))]


def subsampled(levels: Sequence[Tensor]) -> list[Tensor]:
    """Return levels (T, B, C, H, W), and one more: every second pixel of the coarsest."""
    return [*levels, over_time(lambda x: F.max_pool2d(x, 1, 2), levels[-1])]
