"""MS-ResNet: residual networks whose shortcuts add membrane currents, so that every weight but the first meets spikes.

    image → conv 7×7 /2, BN → four stages of MS blocks (/4, /8, /16, /32) → LIF → mean → linear → mean over time

The neuron is a LIF with decay 1/4 (τ = 4/3, the input undivided) and threshold 1/2; norms start at the threshold, the
last of a block at 0. Any image size serves: a map has ⌈side / stride⌉ pixels a side. For small images
``stem_kernel=3, stem_stride=1``.

Source: Hu et al., "Advancing Spiking Neural Networks towards Deep Residual Learning", arXiv 2112.08954.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.sequence import Conv2d
from snnkit.layers.spiking_residual import BOTTLENECK, MembraneBlock, residual_stages
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_stages, check_whole
from snnkit.neurons import LIF
from snnkit.surrogates import Rect

THRESHOLD = 0.5


def _neuron() -> LIF:
    return LIF(tau=4 / 3, v_threshold=THRESHOLD, decay_input=False, surrogate=Rect(1.0))


class MSResNet(SpikingClassifier):
    """Spiking classifier of images (B, C, H, W) or sequences (T, B, C, H, W).

    Args:
        num_classes: K; 0 for no head.
        in_chans: C.
        img_size: side of the images it is meant for; any is served.
        timesteps: T for images.
        drop_path_rate: stochastic depth of the last block.
        features_only: return the currents behind the stages.
        widths: channels of the 3×3 convolutions of each stage.
        depths: blocks of each stage.
        bottleneck: bottleneck blocks.
        stem_kernel, stem_stride: the first convolution.
        first_stride: stride of the first stage.
        deep_stem: three 3×3 convolutions with biases, the first with the stride, in place of the one.
        pooled_shortcuts: shortcuts are halved by means of 2×2 in place of a stride.

    Raises:
        InvalidArgumentError: a size outside its range.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        timesteps: int = 6,
        drop_path_rate: float = 0.0,
        features_only: bool = False,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        bottleneck: bool = False,
        stem_kernel: int = 7,
        stem_stride: int = 2,
        first_stride: int = 2,
        deep_stem: bool = False,
        pooled_shortcuts: bool = False,
    ):
        super().__init__(timesteps)
        check_stages(widths=widths, depths=depths)
        check_whole(stem_kernel=stem_kernel, stem_stride=stem_stride, first_stride=first_stride)
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only = features_only
        if deep_stem:
            self.stem: nn.Module = nn.Sequential(
                Conv2d(in_chans, widths[0], 3, stem_stride, 1),
                Conv2d(widths[0], widths[0], 3, 1, 1),
                ConvBN(widths[0], widths[0], 3, bias=True),
            )
        else:
            self.stem = ConvBN(in_chans, widths[0], stem_kernel, stem_stride)
        strides = [first_stride] + [2] * (len(widths) - 1)
        block = partial(MembraneBlock, neuron=_neuron, pooled=pooled_shortcuts)
        self.stages = residual_stages(block, widths[0], widths, depths, strides, bottleneck, drop_path_rate)
        self.head_neuron = _neuron()
        first, factor = stem_stride * first_stride, BOTTLENECK if bottleneck else 1
        self.num_features = factor * widths[-1]
        self.feature_info = FeatureInfo(
            Feature(factor * width, first * 2**i, f"stages.{i}") for i, width in enumerate(widths)
        )
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, THRESHOLD)
        for block in self.modules():
            if isinstance(block, MembraneBlock):
                nn.init.zeros_(block.convs[-1].bn.weight)  # every block begins as its shortcut

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents behind the first convolution."""
        return self.stem(x_TBCHW)

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the currents behind each stage."""
        x, maps = current_TBCHW, []
        for stage in self.stages:
            x = self._blocks(stage, x)
            maps.append(x)
        return maps

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step (T, B, K), or with ``pre_logits`` mean spikes (T, B, F)."""
        pooled = self.head_neuron(features_TBCHW).mean((3, 4))
        return pooled if pre_logits else self.head(pooled)


# The deep model: three convolutions and a norm in a row, and a pool in front of the shortcut's convolution.
_DEEP = (
    (r"^conv1\.([01])\.", r"stem.\1."),
    (r"^conv1\.2\.", "stem.2.conv."),
    (r"^conv1\.3\.bn\.", "stem.2.bn."),
    (r"\.shortcut\.1\.(weight|bias)$", r".shortcut.layer.conv.\1"),
    (r"\.shortcut\.2\.bn\.", ".shortcut.layer.bn."),
)
_PLAIN = ((r"^(conv1|stem)\.0\.", "stem.conv."), (r"^(conv1\.1\.bn|stem\.1)\.", "stem.bn."))


def convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Translate the authors' keys (``conv2_x.0.residual_function…``) or SpikingJelly's (``layer1.0.conv1…``)."""
    return renamed(
        state,
        [
            *(_DEEP if any(key.startswith("conv1.2.") for key in state) else _PLAIN),
            (r"^conv(\d)_x\.", lambda m: f"stages.{int(m[1]) - 2}."),
            (r"^layer(\d)\.", lambda m: f"stages.{int(m[1]) - 1}."),
            (r"\.residual_function\.(\d)\.bn\.", lambda m: f".convs.{int(m[1]) // 3}.bn."),
            (r"\.residual_function\.(\d)\.", lambda m: f".convs.{int(m[1]) // 3}.conv."),
            (r"\.(?:downsample|shortcut)\.0\.", ".shortcut.conv."),
            (r"\.(?:downsample\.1|shortcut\.1\.bn)\.", ".shortcut.bn."),
            (r"\.(conv|bn)(\d)\.", lambda m: f".convs.{int(m[2]) - 1}.{m[1]}."),
            (r"^fc\.", "head."),
        ],
    )


FAMILY = Family(
    name="ms_resnet",
    title="MS-ResNet",
    kind="snn",
    paper="Hu et al., Advancing Spiking Neural Networks towards Deep Residual Learning, IEEE TNNLS 2024, "
    "arXiv 2112.08954",
    source="github.com/Ariande1/MS-ResNet; SpikingJelly 2.0 activation_based.model.ms_resnet",
    tiny={
        "name": "ms_resnet18",
        "widths": (6, 8),
        "depths": (2, 1),
        "img_size": 24,
        "in_chans": 2,
        "timesteps": 3,
        "num_classes": 4,
        "stem_kernel": 3,
        "stem_stride": 1,
    },
    published=(
        Published("ms_resnet18", 63.10, 11.69, None, 6, note="unconfirmed"),
        Published("ms_resnet34", 69.42, 21.80, None, 6),
        Published("ms_resnet104", 76.02, 77.28, None, 5, note="unconfirmed"),
    ),
    unconfirmed=(
        "the accuracy of ms_resnet18 was found in no source; that of ms_resnet34 is quoted from arXiv 2604.12365, "
        "which compares with it; energies are not published per model",
        "the authors' neuron fires above its threshold, this one at it too: they differ on exact hits",
        "the authors' checkpoint keys are derived from their source; no file of theirs was loaded",
        "the accuracy of ms_resnet104 was read in papers that compare with it (5 steps; the released code has 6); odd "
        "maps are pooled with what is there, where the released code fails; "
        "it also drops a fifth of what the head reads in training",
        "ms_resnet50 (bottleneck blocks) is snnkit's own extension; the paper's deep model is MS-ResNet-104",
    ),
    marks=(r"^(conv2_x\.0\.residual_function\.1|layer1\.0\.conv1)\.weight$", r"^(conv1|stem)\.0\.weight$"),
    convert=convert,
)

register_variant(
    FAMILY,
    "ms_resnet18",
    MSResNet,
    params=11693736,
    summary="MS-ResNet-18, ImageNet top-1 63.10 % at T=6 (unconfirmed)",
)
register_variant(
    FAMILY,
    "ms_resnet34",
    MSResNet,
    params=21801896,
    summary="MS-ResNet-34, ImageNet top-1 69.42 % at T=6",
    depths=(3, 4, 6, 3),
)
register_variant(
    FAMILY,
    "ms_resnet50",
    MSResNet,
    params=25557032,
    summary="MS-ResNet with bottleneck blocks (own extension, no published result)",
    depths=(3, 4, 6, 3),
    bottleneck=True,
)
register_variant(
    FAMILY,
    "ms_resnet104",
    MSResNet,
    params=77350504,
    summary="MS-ResNet-104, ImageNet top-1 76.02 % at T=5 (unconfirmed)",
    depths=(3, 8, 32, 8),
    deep_stem=True,
    pooled_shortcuts=True,
)
