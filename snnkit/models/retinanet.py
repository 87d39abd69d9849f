"""RetinaNet: boxes and classes from every place of a feature pyramid, on any backbone.

    ordinary   torchvision's pyramid, two coarser levels (3×3 at stride 2), and its heads
    spiking    the same with a neuron before every convolution (``layers.spiking_pyramid``, ``layers.spiking_heads``),
               run at every time step; what the heads say is averaged over T, and boxes are chosen by torchvision

Anchors of level i have sides of ``anchor_scale`` · s · 2^i · 2^(k/n) pixels, k from 0 to n − 1 = ``octaves`` − 1, where
s is the finest stride. Sources: Lin et al., "Focal Loss for Dense Object Detection", arXiv 1708.02002; torchvision
0.29; the spiking form is an own one. Letters as in ``models.detector``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNet as Retina
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from snnkit.layers.spiking_heads import SpikingCoarser, SpikingRetinaHead
from snnkit.layers.spiking_pyramid import SpikingFPN
from snnkit.models.backbones import Backbone
from snnkit.models.detector import Anchors, Detector, Found, Scaling
from snnkit.models.family import Family, Published
from snnkit.models.mask_rcnn import check_anchors, check_shares
from snnkit.models.mask_rcnn_keys import without_background
from snnkit.models.registry import register_method
from snnkit.models.sizes import check_whole

_COARSER = 2


class RetinaNet(Detector):
    """The network; see the module. ``build`` says what the arguments mean."""

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        retina: Retina,
        channels: int,
        transform: Scaling,
        neuron: Callable[[], nn.Module],
    ):
        super().__init__(backbone, num_classes, transform)
        self.neck: nn.Module
        if backbone.spiking:
            self.neck = SpikingFPN(backbone.channels, channels, neuron)
            self.coarser = SpikingCoarser(channels, neuron)
        else:
            coarser = LastLevelP6P7(channels, channels)
            self.neck = FeaturePyramidNetwork(list(backbone.channels), channels, coarser)
        self.retina = retina

    def pyramid(self, images_BCHW: Tensor) -> list[Tensor]:
        """Return the levels: one a map of the backbone, and two more."""
        maps = self.backbone(images_BCHW)
        if self.backbone.spiking:
            return self.coarser(self.neck(maps))  # type: ignore[no-any-return]
        return list(self.neck({str(level): x for level, x in enumerate(maps)}).values())

    def losses(self, images: ImageList, levels: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return classification and bbox_regression."""
        anchors = self.retina.anchor_generator(images, levels)
        found: dict[str, Tensor] = self.retina.compute_loss(targets, self.retina.head(levels), anchors)
        return found

    def select(self, images: ImageList, levels: list[Tensor]) -> list[Found]:
        """Return boxes, labels and scores."""
        outputs: dict[str, Tensor] = self.retina.head(levels)
        anchors = self.retina.anchor_generator(images, levels)
        each = self.retina.anchor_generator.num_anchors_per_location()[0]
        counts = [each * level.shape[-1] * level.shape[-2] for level in levels]
        by_level = {name: list(value.split(counts, 1)) for name, value in outputs.items()}
        found: list[Found] = self.retina.postprocess_detections(
            by_level, [list(one.split(counts)) for one in anchors], images.image_sizes
        )
        return found


class _Channels(nn.Module):
    """What torchvision asks of a backbone before it has seen one."""

    def __init__(self, channels: int):
        super().__init__()
        self.out_channels = channels


FAMILY = Family(
    name="retinanet",
    title="RetinaNet",
    kind="ann",
    paper="Lin et al., Focal Loss for Dense Object Detection, arXiv 1708.02002",
    source="torchvision 0.29",
    tiny={"name": "retinanet:timm:resnet10t", "num_classes": 3, "img_size": 32, "fpn_channels": 8},
    published=(
        Published("retinanet:timm:resnet50", None, 34.0, None, None, 800, "COCO box AP 36.4 (torchvision)"),
    ),
    checkpoints=("torchvision's retinanet_resnet50_fpn: for retinanet:timm:resnet50 with num_classes=90",),
    unconfirmed=(
        "the spiking form: a neuron before every convolution, outputs averaged over time; none is published",
        "torchvision's weights of 2019 were made with batch norms without epsilon, here 1e-5",
    ),
    marks=(r"^backbone\.body\.", r"^head\.classification_head\.cls_logits\."),
    convert=without_background,
)  # fmt: skip


def build(
    encoder: nn.Module,
    num_classes: int = 80,
    fpn_channels: int = 256,
    levels: int = 3,
    finest: int = 8,
    anchor_scale: float = 4.0,
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    octaves: int = 3,
    score_threshold: float = 0.05,
    overlap: float = 0.5,
    detections: int = 300,
    min_size: int | Sequence[int] = 0,
    max_size: int = 0,
    neurons: str = "lif",
) -> RetinaNet:
    """Build a RetinaNet on an encoder's maps.

    Args:
        encoder: as for ``Backbone``, whose ``levels`` and ``finest`` are given too.
        num_classes: K.
        fpn_channels: of pyramid and heads.
        levels, finest: how many maps, and their smallest stride; 4 for things below 30 pixels.
        anchor_scale: side of the smallest square anchor, in strides of its level.
        anchor_ratios: height per width of the anchors.
        octaves: sides of anchors of a level, between one and the double of it.
        score_threshold: what is found with less is left out.
        overlap: IoU from which on two boxes of a class are one.
        detections: of an image, at most.
        min_size, max_size: as in ``Scaling``.
        neurons: of neck and heads, as in ``Backbone.neuron``.

    Raises:
        InvalidArgumentError: a number outside its range.
    """
    check_whole(num_classes=num_classes, fpn_channels=fpn_channels, octaves=octaves, detections=detections)
    check_anchors(anchor_scale, anchor_ratios)
    check_shares(score_threshold=score_threshold, overlap=overlap)
    backbone = Backbone(encoder, levels, finest)
    neuron = backbone.neuron(neurons)
    first = anchor_scale * backbone.strides[0]
    # Whole pixels, as published: 32, 40, 50.
    sides = [
        [int(first * 2**level * 2 ** (k / octaves)) for k in range(octaves)]
        for level in range(len(backbone.strides) + _COARSER)
    ]
    anchors = Anchors(sides, anchor_ratios)
    outputs = fpn_channels, anchors.num_anchors_per_location()[0], num_classes
    head = SpikingRetinaHead(*outputs, neuron) if backbone.spiking else RetinaNetHead(*outputs)
    retina = Retina(
        _Channels(fpn_channels),
        num_classes,
        anchor_generator=anchors,
        head=head,
        score_thresh=score_threshold,
        nms_thresh=overlap,
        detections_per_img=detections,
        topk_candidates=1000,
    )
    return RetinaNet(backbone, num_classes, retina, fpn_channels, Scaling(min_size, max_size), neuron)


register_method("retinanet", build, FAMILY, maps=True)
