"""Mask R-CNN: boxes, classes and masks of things, from regions of a feature pyramid, on any backbone.

    ordinary   torchvision's pyramid, proposals, box head and mask head
    spiking    ``layers.spiking_pyramid`` and ``layers.spiking_heads`` in their places, run at every time step:
               levels (T, B, C, H, W) → proposals' scores and offsets, averaged over T → boxes (torchvision's selection)
               → each box cut out of the levels of every step (T, R, C, 7, 7), time folded into the batch of RoIAlign
               → box head and mask head at every step, their outputs averaged over T

With five levels: one a map, and one more, every second pixel of the coarsest, for proposals only. Anchors of level i
have sides of ``anchor_scale`` · s · 2^i pixels, where s is the finest stride; a region of 14 · s · 2^i pixels or more
is cut out of level i. Both count levels, not strides: Meta-SpikeFormer's two coarsest have the same.

``masks=False`` is Faster R-CNN. Sources: He et al., "Mask R-CNN", arXiv 1703.06870; torchvision 0.29; the spiking form
is that of Meta-SpikeFormer (``layers.spiking_heads``). Letters as in ``models.detector``; R regions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from snnkit.errors import InvalidArgumentError
from snnkit.layers.region_align import RegionAlign
from snnkit.layers.spiking_heads import (
    SpikingBoxHead,
    SpikingBoxPredictor,
    SpikingMaskHead,
    SpikingMaskPredictor,
    SpikingRPNHead,
    subsampled,
)
from snnkit.layers.spiking_pyramid import SpikingFPN
from snnkit.models.backbones import Backbone
from snnkit.models.detector import Anchors, Detector, Found, Scaling, in_training
from snnkit.models.family import Family, Published
from snnkit.models.mask_rcnn_keys import convert
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_positive, check_whole

_BOX_SIDE, _MASK_SIDE = 7, 14


class MaskRCNN(Detector):
    """The network; see the module. ``build`` says what the arguments mean.

    Raises:
        InvalidArgumentError: a number outside its range.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        rpn: RegionProposalNetwork,
        roi_heads: RoIHeads,
        channels: int,
        transform: Scaling,
        nominal_strides: bool | None,
        neuron: Callable[[], nn.Module],
    ):
        super().__init__(backbone, num_classes, transform)
        self.nominal_strides = nominal_strides
        self.neck: nn.Module
        if backbone.spiking:
            self.neck = SpikingFPN(backbone.channels, channels, neuron)
        else:
            self.neck = FeaturePyramidNetwork(list(backbone.channels), channels, LastLevelMaxPool())
        self.rpn, self.roi_heads = rpn, roi_heads
        self.take_strides(bool(nominal_strides))

    @property
    def predicts_masks(self) -> bool:  # type: ignore[override]
        """Whether masks are learned and found."""
        return self.roi_heads.has_mask()

    def take_strides(self, nominal: bool) -> None:
        """Place anchors and regions by the maps' own strides, or as if each level's were twice that of the last."""
        own = self.backbone.strides
        twice = tuple(own[0] * 2**level for level in range(len(own) + 1))
        self.rpn.anchor_generator.fixed = twice if nominal else ()
        for pool in (self.roi_heads.box_roi_pool, self.roi_heads.mask_roi_pool):
            if pool is not None:
                pool.set_strides(twice[: len(own)] if nominal else own)

    def pyramid(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return one map for each of the backbone; of an ordinary one one more, which torchvision's neck picks out."""
        maps = self.backbone(images_BCHW)
        if self.backbone.spiking:
            return self.neck(maps)  # type: ignore[no-any-return]
        return list(self.neck({str(level): x for level, x in enumerate(maps)}).values())

    def further(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the levels: one a map, and one more."""
        return subsampled(maps) if self.backbone.spiking else maps

    def losses(self, images: ImageList, levels: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return loss_objectness, loss_rpn_box_reg, loss_classifier, loss_box_reg and, with masks, loss_mask."""
        shifted = [target | {"labels": target["labels"] + 1} for target in targets]  # 0 is torchvision's background
        with in_training(self.rpn, self.roi_heads):
            named = _named(levels)
            proposals, found = self.rpn(images, named, shifted)
            return found | self.roi_heads(named, proposals, images.image_sizes, shifted)[1]

    def select(self, images: ImageList, levels: list[Tensor]) -> list[Found]:
        """Return boxes, labels, scores and, with masks, what lies in each box, (M, 1, 28, 28)."""
        named = _named(levels)
        proposals, _ = self.rpn(images, named)
        found, _ = self.roi_heads(named, proposals, images.image_sizes)
        return [one | {"labels": one["labels"] - 1} for one in found]


def _named(levels: list[Tensor]) -> dict[str, Tensor]:
    return {str(number): level for number, level in enumerate(levels)}


def _take_form(model: nn.Module) -> None:
    assert isinstance(model, MaskRCNN)
    model.nominal_strides = True
    model.take_strides(True)


FAMILY = Family(
    name="mask_rcnn",
    title="Mask R-CNN",
    kind="ann",
    paper="He et al., Mask R-CNN, arXiv 1703.06870",
    source="torchvision 0.29; spiking: BICLab/Spike-Driven-Transformer-V3 @00fcd1f, Detection",
    tiny={
        "name": "mask_rcnn:timm:resnet10t", "num_classes": 3, "img_size": 32, "fpn_channels": 8, "box_channels": 8,
        "mask_channels": 8, "regions": 8, "proposals": 16,
    },
    published=(
        Published("mask_rcnn:timm:resnet50", None, 44.4, None, None, 800, "COCO box AP 37.9, mask 34.6 (torchvision)"),
        Published("mask_rcnn:meta_spikeformer_15m", None, 34.9, 49.5, 1, 800, "COCO box AP50 44.0; energy unconfirmed"),
        Published("mask_rcnn:meta_spikeformer_55m", None, 75.0, 140.8, None, 800, "COCO box AP50 51.2, unconfirmed"),
    ),
    checkpoints=(
        "torchvision's maskrcnn_resnet50_fpn: for mask_rcnn:timm:resnet50 with num_classes=90 (its classes are COCO's "
        "category numbers 1 to 90, of which ten name nothing)",
        "mmdet's of Meta-SpikeFormer, under 'state_dict': for mask_rcnn:meta_spikeformer_15m and _55m, num_classes=80",
    ),
    unconfirmed=(
        "mmdet's keys of the spiking neck and heads: the names of mmdet's own layers, with a number where a layer "
        "stands behind its neuron, are read; no published file was at hand",
        "published spiking weights were trained with anchors and regions placed as if strides were 4, 8, 16, 32, 64 "
        "(nominal_strides, set when they are loaded), with mmdet's RoIAlign (half a pixel aside, as many samples as "
        "fit) and, in the files that are public, with neurons of five levels; here they are RoIAlign of torchvision "
        "and LIF",
        "torchvision's weights of 2019 were made with batch norms without epsilon, here 1e-5",
    ),
    marks=(r"^rpn(_head)?\.(head\.conv|rpn_conv)\.", r"^rpn(_head)?\.(head\.cls_logits|rpn_cls)\."),
    convert=convert,
    form={"nominal_strides": True},
    take_form=_take_form,
)  # fmt: skip


def build(
    encoder: nn.Module,
    num_classes: int = 80,
    fpn_channels: int = 256,
    box_channels: int = 1024,
    mask_channels: int = 256,
    mask_layers: int = 4,
    masks: bool = True,
    levels: int = 4,
    finest: int = 4,
    anchor_scale: float = 8.0,
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    proposals: int = 1000,
    regions: int = 512,
    score_threshold: float = 0.05,
    overlap: float = 0.5,
    detections: int = 100,
    min_size: int | Sequence[int] = 0,
    max_size: int = 0,
    nominal_strides: bool | None = None,
    neurons: str = "lif",
) -> MaskRCNN:
    """Build a Mask R-CNN on an encoder's maps.

    Args:
        encoder: as for ``Backbone``, whose ``levels`` and ``finest`` are given too.
        num_classes: K, without the background.
        fpn_channels, box_channels, mask_channels: of the pyramid, the box head and the mask head.
        mask_layers: 3×3 convolutions of the mask head.
        masks: whether there is one.
        levels, finest: how many maps, and their smallest stride.
        anchor_scale: side of a square anchor, in strides of its level; less than 8 for things below 20 pixels.
        anchor_ratios: height per width of the anchors.
        proposals: boxes an image that the second stage is asked about; training draws from twice as many.
        regions: of these, how many an image are learned from.
        score_threshold: what is found with less is left out.
        overlap: IoU from which on two boxes of a class are one.
        detections: of an image, at most.
        min_size, max_size: as in ``Scaling``.
        nominal_strides: place anchors and regions as if strides doubled from level to level, as published spiking
            weights want it; None is False until such weights are loaded.
        neurons: of neck and heads, as in ``Backbone.neuron``.

    Raises:
        InvalidArgumentError: a number outside its range.
    """
    check_whole(num_classes=num_classes, fpn_channels=fpn_channels, box_channels=box_channels, regions=regions)
    check_whole(mask_channels=mask_channels, mask_layers=mask_layers, proposals=proposals, detections=detections)
    check_anchors(anchor_scale, anchor_ratios)
    check_shares(score_threshold=score_threshold, overlap=overlap)
    backbone = Backbone(encoder, levels, finest)
    neuron = backbone.neuron(neurons)
    sides = [[anchor_scale * backbone.strides[0] * 2**level] for level in range(len(backbone.strides) + 1)]
    rpn = _proposals(backbone, fpn_channels, Anchors(sides, anchor_ratios), proposals, neuron)
    selected = regions, score_threshold, overlap, detections
    heads = _box_heads(backbone, num_classes, (fpn_channels, box_channels), neuron, *selected)
    if masks:
        _add_masks(heads, backbone, num_classes, (fpn_channels, mask_channels, mask_layers), neuron)
    further = Scaling(min_size, max_size), nominal_strides, neuron
    return MaskRCNN(backbone, num_classes, rpn, heads, fpn_channels, *further)


def check_anchors(scale: float, ratios: Sequence[float]) -> None:
    """Raise InvalidArgumentError unless there are ratios, and they and the scale are above 0."""
    check_positive(anchor_scale=scale, **{f"anchor_ratios[{i}]": ratio for i, ratio in enumerate(ratios)})
    if not ratios:
        raise InvalidArgumentError("anchor_ratios=(): give one at least, such as 1.0.")


def check_shares(**shares: float) -> None:
    """Raise InvalidArgumentError unless every value is at least 0 and at most 1."""
    for name, value in shares.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise InvalidArgumentError(f"{name}={value!r}: must be at least 0 and at most 1.")


def _proposals(
    backbone: Backbone, channels: int, anchors: Anchors, count: int, neuron: Callable[[], nn.Module]
) -> RegionProposalNetwork:
    """Return torchvision's first stage with its thresholds: things from IoU 0.7 on, background below 0.3."""
    number = anchors.num_anchors_per_location()[0]
    head = SpikingRPNHead(channels, number, neuron) if backbone.spiking else RPNHead(channels, number)
    many = {"training": 2 * count, "testing": count}
    return RegionProposalNetwork(anchors, head, 0.7, 0.3, 256, 0.5, many, dict(many), 0.7)


def _box_heads(
    backbone: Backbone,
    num_classes: int,
    widths: tuple[int, int],
    neuron: Callable[[], nn.Module],
    regions: int,
    score_threshold: float,
    overlap: float,
    detections: int,
) -> RoIHeads:
    """Return torchvision's second stage: things from IoU 0.5 on, a quarter of the regions if there are as many."""
    channels, width = widths
    pool = RegionAlign(backbone.strides, _BOX_SIDE)
    inputs = channels * _BOX_SIDE**2
    head: nn.Module
    predictor: nn.Module
    if backbone.spiking:
        head, predictor = SpikingBoxHead(inputs, width, neuron), SpikingBoxPredictor(width, num_classes, neuron)
    else:
        head, predictor = TwoMLPHead(inputs, width), FastRCNNPredictor(width, num_classes + 1)
    return RoIHeads(pool, head, predictor, 0.5, 0.5, regions, 0.25, None, score_threshold, overlap, detections)


def _add_masks(
    heads: RoIHeads,
    backbone: Backbone,
    num_classes: int,
    sizes: tuple[int, int, int],
    neuron: Callable[[], nn.Module],
) -> None:
    channels, width, layers = sizes
    heads.mask_roi_pool = RegionAlign(backbone.strides, _MASK_SIDE)
    if backbone.spiking:
        heads.mask_head = SpikingMaskHead(channels, width, layers, neuron)
        heads.mask_predictor = SpikingMaskPredictor(width, num_classes, neuron)
    else:
        heads.mask_head = MaskRCNNHeads(channels, (width,) * layers, 1)
        heads.mask_predictor = MaskRCNNPredictor(width, width, num_classes + 1)


register_method("mask_rcnn", build, FAMILY, maps=True)
