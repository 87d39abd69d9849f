"""MobileNet V1 and V2, plain or with ULSAM blocks in place of layers or behind them.

    V1: image → conv 3×3 /2 → 13 × (depthwise 3×3, pointwise) → mean → linear;   every convolution with BN and ReLU
    V2: image → conv 3×3 /2 → 17 × (expand, depthwise 3×3, project; + x where shapes agree) → pointwise → mean → linear

Layers are numbered from 1, the stem, so layer L is ``layers[L − 1]`` as long as nothing was inserted before it.
``ulsam_substitute`` puts a ULSAM block in place of layers that keep their shape, ``ulsam_insert`` behind layers.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.ulsam import ULSAM, check_subspaces, join_subspaces
from snnkit.models.classifier import Feature, FeatureInfo, ImageClassifier, linear_head
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.registry import register_model

# (expansion, channels, repeats, stride of the first)
_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
# (channels, stride)
_V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Separable(nn.Sequential):
    """Depthwise 3 × 3, then pointwise convolution, each with norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__(
            OrderedDict(
                dw=_conv(inputs, inputs, 3, stride, inputs),
                bn1=nn.BatchNorm2d(inputs),
                act1=nn.ReLU(),
                pw=_conv(inputs, outputs, 1),
                bn2=nn.BatchNorm2d(outputs),
                act2=nn.ReLU(),
            )
        )
        self.keeps_shape = stride == 1 and inputs == outputs


class InvertedResidual(nn.Module):
    """Expand, depthwise 3 × 3, project without activation; the input is added where its shape is kept."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        inner = inputs * expansion
        self.keeps_shape = stride == 1 and inputs == outputs
        expand = [_conv(inputs, inner, 1), nn.BatchNorm2d(inner), nn.ReLU6()] if expansion != 1 else []
        self.expand = nn.Sequential(*expand)
        self.depthwise = nn.Sequential(_conv(inner, inner, 3, stride, inner), nn.BatchNorm2d(inner), nn.ReLU6())
        self.project = nn.Sequential(_conv(inner, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return (B, C', H/stride, W/stride)."""
        y = self.project(self.depthwise(self.expand(x_BCHW)))
        return x_BCHW + y if self.keeps_shape else y


class MobileNet(ImageClassifier):
    """Layers in a row, the mean, and a head; images of any size.

    Args:
        layers: (layer, its output channels, its stride) from the stem on.
        num_classes: K; 0 for no head.
        in_chans: channels of the images.
        img_size: side of the images that ``pretrained_cfg`` tells of.
        dropout: share of the head's inputs that training drops.
        features_only: return the maps at strides 2, 4, 8, 16, 32.
        ulsam_substitute: numbers of layers that a ULSAM block replaces; such a layer keeps its shape.
        ulsam_insert: numbers of layers that a ULSAM block follows.
        ulsam_subspaces: g of these blocks.

    Raises:
        InvalidArgumentError: an argument outside its range, or g does not divide the channels there.
    """

    def __init__(
        self,
        layers: Sequence[tuple[nn.Module, int, int]],
        num_classes: int,
        in_chans: int,
        img_size: int | tuple[int, int],
        dropout: float,
        features_only: bool,
        ulsam_substitute: Sequence[int],
        ulsam_insert: Sequence[int],
        ulsam_subspaces: int,
    ):
        super().__init__()
        if not 0 <= dropout < 1:
            raise InvalidArgumentError(f"dropout={dropout!r}: must be at least 0 and below 1.")
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only = features_only
        fitting = [n for n, (layer, _, _) in enumerate(layers, 1) if getattr(layer, "keeps_shape", False)]
        _check_places("ulsam_substitute", ulsam_substitute, fitting)
        _check_places("ulsam_insert", ulsam_insert, range(1, len(layers) + 1))
        self.layers = nn.ModuleList()
        ends: dict[int, Feature] = {}
        reduction, channels = 1, in_chans
        for number, (layer, channels, stride) in enumerate(layers, 1):
            reduction *= stride
            if number in ulsam_substitute:
                check_subspaces("ulsam_subspaces", channels, ulsam_subspaces, f" of layer {number}")
                layer = ULSAM(channels, ulsam_subspaces)
            self.layers.append(layer)
            if number in ulsam_insert:
                check_subspaces("ulsam_subspaces", channels, ulsam_subspaces, f" of layer {number}")
                self.layers.append(ULSAM(channels, ulsam_subspaces))
            ends[reduction] = Feature(channels, reduction, f"layers.{len(self.layers) - 1}")
        self.feature_info = FeatureInfo(ends.values())
        self._ends = {int(feature.module.removeprefix("layers.")) for feature in self.feature_info}
        self.num_features = channels
        self.norm = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = linear_head(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward_stages(self, x_BCHW: Tensor) -> list[Tensor]:
        """Return the last map of each stride, (B, C, H, W)."""
        maps = []
        for i, layer in enumerate(self.layers):
            x_BCHW = self._block(layer, x_BCHW)
            if i in self._ends:
                maps.append(x_BCHW)
        return maps

    def forward_head(self, features_BCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return logits (B, K), or with ``pre_logits`` the pooled features (B, F)."""
        pooled = features_BCHW.flatten(2).mean(2)
        return pooled if pre_logits else self.head(self.dropout(pooled))

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Groups for layer-wise decay: the stem, then each layer."""
        return {"stem": r"^layers\.0\.", "blocks": r"^layers\.(\d+)"}


def _check_places(name: str, given: Sequence[int], allowed: Sequence[int]) -> None:
    if isinstance(given, (int, str)) or any(number not in allowed for number in given):
        shown = ", ".join(map(str, allowed))
        raise InvalidArgumentError(f"{name}={given!r}: must be numbers of layers among {shown} (the stem is layer 1).")


def _divisible(channels: float) -> int:
    """Round to a multiple of 8 without losing more than a tenth, as published."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _check_width(width: float) -> None:
    if isinstance(width, bool) or not isinstance(width, (int, float)) or not 0 < width <= 4:
        raise InvalidArgumentError(f"width={width!r}: must be above 0 and at most 4; 1.0, 0.75, 0.5 are published.")


def _convert_v2(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """From torchvision's keys, with or without published ULSAM blocks in their row, or from timm's."""
    if "conv_stem.weight" in state:
        return _from_timm(state)
    rules = [
        (r"^features\.1\.conv\.0\.", "layers.1.depthwise."),
        (r"^features\.1\.conv\.1\.", "layers.1.project.0."),
        (r"^features\.1\.conv\.2\.", "layers.1.project.1."),
        (r"^features\.(\d+)\.conv\.0\.", r"layers.\1.expand."),
        (r"^features\.(\d+)\.conv\.1\.", r"layers.\1.depthwise."),
        (r"^features\.(\d+)\.conv\.2\.", r"layers.\1.project.0."),
        (r"^features\.(\d+)\.conv\.3\.", r"layers.\1.project.1."),
        (r"^features\.", "layers."),
        (r"^classifier\.1\.", "head."),
    ]
    return join_subspaces(renamed(state, rules))


_TIMM = {
    False: {"conv_dw": "depthwise.0", "bn1": "depthwise.1", "conv_pw": "project.0", "bn2": "project.1"},
    True: {
        "conv_pw": "expand.0",
        "bn1": "expand.1",
        "conv_dw": "depthwise.0",
        "bn2": "depthwise.1",
        "conv_pwl": "project.0",
        "bn3": "project.1",
    },
}


def _from_timm(state: StateDict) -> dict[str, Tensor]:
    """From timm's keys, which number blocks by stage."""
    found = {re.match(r"blocks\.(\d+)\.(\d+)\.", key) for key in state}
    order = sorted({(int(match[1]), int(match[2])) for match in found if match})
    last = len(order) + 1
    fixed = {"conv_stem": "layers.0.0", "bn1": "layers.0.1", "conv_head": f"layers.{last}.0", "bn2": f"layers.{last}.1"}
    made = {}
    for key, value in state.items():
        match = re.match(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(.*)", key)
        if match:
            stage, block, part, rest = match.groups()
            expands = f"blocks.{stage}.{block}.conv_pwl.weight" in state
            number = order.index((int(stage), int(block))) + 1
            made[f"layers.{number}.{_TIMM[expands].get(part, part)}.{rest}"] = value
        else:
            first, _, rest = key.partition(".")
            made[f"{'head' if first == 'classifier' else fixed.get(first, first)}.{rest}"] = value
    return made


def _convert_v1(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    return join_subspaces(renamed(state, [(r"^fc\.", "head.")]))


_ULSAM = "Saini et al., ULSAM, WACV 2020 (code: Nandan91/ULSAM)"
V1 = Family(
    name="mobilenet_v1",
    title="MobileNet V1",
    kind="ann",
    paper=f"Howard et al., MobileNets, arXiv 1704.04861; subspace attention: {_ULSAM}",
    source="own; ULSAM's block: https://github.com/Nandan91/ULSAM",
    tiny={
        "name": "mobilenetv1",
        "width": 0.125,
        "img_size": 64,
        "in_chans": 1,
        "num_classes": 4,
        "ulsam_insert": (9,),
    },
    published=(
        Published("mobilenetv1", 70.65, 4.2, note="as trained by the authors of ULSAM"),
        Published("mobilenetv1", 70.43, 3.9, note="one 512-channel layer substituted, 4 subspaces"),
    ),
    checkpoints=("none with ULSAM",),
    unconfirmed=(
        "the published repository has the ULSAM block alone; where it stands follows from the published parameter and "
        "operation counts",
    ),
    marks=(r"^layers\.0\.0\.weight$", r"^layers\.1\.dw\.weight$"),
    convert=_convert_v1,
)
V2 = Family(
    name="mobilenet_v2",
    title="MobileNet V2",
    kind="ann",
    paper=f"Sandler et al., MobileNetV2, CVPR 2018, arXiv 1801.04381; subspace attention: {_ULSAM}",
    source="torchvision; ULSAM's block: https://github.com/Nandan91/ULSAM",
    tiny={
        "name": "mobilenetv2",
        "width": 0.125,
        "img_size": 64,
        "in_chans": 1,
        "num_classes": 4,
        "ulsam_substitute": (14,),
        "ulsam_insert": (17,),
    },
    published=(
        Published("mobilenetv2", 71.88, 3.5, note="torchvision's weights IMAGENET1K_V1"),
        Published("mobilenetv2", 71.25, 3.4, note="as trained by the authors of ULSAM"),
        Published("mobilenetv2", 71.64, 3.4, note="inserted after layer 17, 4 subspaces"),
        Published("mobilenetv2", 71.52, 2.96, note="layers 14, 17 substituted, 4 subspaces"),
        Published("mobilenetv2", 70.74, 2.77, note="layers 16, 17 substituted, 4 subspaces"),
        Published("mobilenetv2", 69.72, 2.54, note="layers 13, 14, 16, 17 substituted, 4 subspaces"),
    ),
    checkpoints=("torchvision: mobilenet_v2", "timm: mobilenetv2_100", "none with ULSAM"),
    unconfirmed=V1.unconfirmed,
    marks=(
        r"^(features\.1\.conv\.0\.0|conv_stem|layers\.1\.depthwise\.0)\.weight$",
        r"^(features\.\d+\.conv\.3|blocks\.\d+\.\d+\.conv_pwl|layers\.\d+\.project\.0)\.weight$",
    ),
    convert=_convert_v2,
)


@register_model(V1, params=4231976)
def mobilenetv1(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    features_only: bool = False,
    width: float = 1.0,
    dropout: float = 0.0,
    ulsam_substitute: Sequence[int] = (),
    ulsam_insert: Sequence[int] = (),
    ulsam_subspaces: int = 4,
) -> MobileNet:
    """MobileNet V1, 14 layers, with or without ULSAM; ``width`` scales the channels."""
    _check_width(width)
    channels = max(1, int(32 * width))
    stem = nn.Sequential(_conv(in_chans, channels, 3, 2), nn.BatchNorm2d(channels), nn.ReLU())
    layers: list[tuple[nn.Module, int, int]] = [(stem, channels, 2)]
    for outputs, stride in _V1:
        outputs = max(1, int(outputs * width))
        layers.append((Separable(channels, outputs, stride), outputs, stride))
        channels = outputs
    return MobileNet(
        layers, num_classes, in_chans, img_size, dropout, features_only, ulsam_substitute, ulsam_insert, ulsam_subspaces
    )


@register_model(V2, params=3504872)
def mobilenetv2(
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] = 224,
    features_only: bool = False,
    width: float = 1.0,
    dropout: float = 0.2,
    ulsam_substitute: Sequence[int] = (),
    ulsam_insert: Sequence[int] = (),
    ulsam_subspaces: int = 4,
) -> MobileNet:
    """MobileNet V2, 19 layers, with or without ULSAM; ``width`` scales the channels."""
    _check_width(width)
    channels = _divisible(32 * width)
    stem = nn.Sequential(_conv(in_chans, channels, 3, 2), nn.BatchNorm2d(channels), nn.ReLU6())
    layers: list[tuple[nn.Module, int, int]] = [(stem, channels, 2)]
    for expansion, outputs, repeats, first_stride in _V2:
        outputs = _divisible(outputs * width)
        for i in range(repeats):
            stride = 1 if i else first_stride
            layers.append((InvertedResidual(channels, outputs, stride, expansion), outputs, stride))
            channels = outputs
    last = _divisible(1280 * max(1.0, width))
    layers.append((nn.Sequential(_conv(channels, last, 1), nn.BatchNorm2d(last), nn.ReLU6()), last, 1))
    return MobileNet(
        layers, num_classes, in_chans, img_size, dropout, features_only, ulsam_substitute, ulsam_insert, ulsam_subspaces
    )
