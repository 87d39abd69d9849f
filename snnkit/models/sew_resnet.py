"""SEW ResNet: residual networks whose shortcuts add spikes (spike-element-wise).

    image → conv 7×7 /2, BN → IF → max-pool 3×3 /2 → four stages of SEW blocks (/4, /8, /16, /32) → mean → linear
    → mean over time

With ``connect="add"`` blocks hand on counts of spikes, not spikes, so their weights are not spike-driven; "and" and
"iand" stay binary. Any image size serves: a map has ⌈side / stride⌉ pixels a side. For small images
``stem_kernel=3, stem_stride=1, stem_pool=False``.

Source: Fang et al., "Deep Residual Learning in Spiking Neural Networks", NeurIPS 2021, arXiv 2102.04159.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError, unknown_name
from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.sequence import MaxPool2d
from snnkit.layers.spiking_residual import BOTTLENECK, CONNECT, SpikeBlock, residual_stages
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier
from snnkit.models.family import Family, Published, StateDict, renamed
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_stages, check_whole
from snnkit.neurons import IF
from snnkit.surrogates import ATan


def _neuron() -> IF:
    return IF(surrogate=ATan())


class SEWResNet(SpikingClassifier):
    """Spiking classifier of images (B, C, H, W) or sequences (T, B, C, H, W).

    Args:
        num_classes: K; 0 for no head.
        in_chans: C.
        img_size: side of the images it is meant for; any is served.
        timesteps: T for images.
        drop_path_rate: stochastic depth of the last block, with ``connect="add"`` only.
        features_only: return the spikes (or counts) behind the four stages.
        widths: channels of the 3×3 convolutions of each stage.
        depths: blocks of each stage.
        bottleneck: bottleneck blocks.
        connect: "add", "and" or "iand": how a block joins its shortcut.
        stem_kernel, stem_stride, stem_pool: the first convolution, and whether a max-pool follows.

    Raises:
        UnknownNameError: no such ``connect``.
        InvalidArgumentError: a size outside its range, or stochastic depth with "and" or "iand".
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        timesteps: int = 4,
        drop_path_rate: float = 0.0,
        features_only: bool = False,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        depths: tuple[int, ...] = (2, 2, 2, 2),
        bottleneck: bool = False,
        connect: str = "add",
        stem_kernel: int = 7,
        stem_stride: int = 2,
        stem_pool: bool = True,
    ):
        super().__init__(timesteps)
        check_stages(widths=widths, depths=depths)
        check_whole(stem_kernel=stem_kernel, stem_stride=stem_stride)
        if connect not in CONNECT:
            raise unknown_name("connect", str(connect), CONNECT)
        if drop_path_rate and connect != "add":
            raise InvalidArgumentError(
                f"drop_path_rate={drop_path_rate:g} with connect={connect!r}: a dropped branch is no identity there; "
                "give 0, or connect='add'."
            )
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only = features_only
        self.stem = ConvBN(in_chans, widths[0], stem_kernel, stem_stride)
        self.stem_neuron = _neuron()
        self.stem_pool = MaxPool2d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        block = partial(SpikeBlock, neuron=_neuron, connect=CONNECT[connect])
        strides = [1] + [2] * (len(widths) - 1)
        self.stages = residual_stages(block, widths[0], widths, depths, strides, bottleneck, drop_path_rate)
        first, factor = stem_stride * (2 if stem_pool else 1), BOTTLENECK if bottleneck else 1
        self.num_features = factor * widths[-1]
        self.feature_info = FeatureInfo(
            Feature(factor * width, first * 2**i, f"stages.{i}") for i, width in enumerate(widths)
        )
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first neurons."""
        return self.stem(x_TBCHW)

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return what leaves each stage."""
        x, maps = self.stem_pool(self.stem_neuron(current_TBCHW)), []
        for stage in self.stages:
            x = self._blocks(stage, x)
            maps.append(x)
        return maps

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step (T, B, K), or with ``pre_logits`` the means (T, B, F)."""
        pooled = features_TBCHW.mean((3, 4))
        return pooled if pre_logits else self.head(pooled)


def convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Translate keys of SpikingJelly's models, torchvision's ResNets, or the authors' containers.

    A container of a convolution and its norm is called ``conv1.module.0``, ``conv1.module.1`` in files of the first
    SpikingJelly and ``conv1.0``, ``conv1.1`` in those of later ones.
    """
    return renamed(
        state,
        [
            (r"\.(conv\d)\.(?:module\.)?0\.", r".\1."),
            (r"\.(conv\d)\.(?:module\.)?1\.", lambda m: f".{m[1].replace('conv', 'bn')}."),
            (r"\.downsample\.0\.(?:module\.)?([01])\.", r".downsample.\1."),
            (r"^conv1\.", "stem.conv."),
            (r"^bn1\.", "stem.bn."),
            (r"^layer(\d)\.", lambda m: f"stages.{int(m[1]) - 1}."),
            (r"\.conv(\d)\.", lambda m: f".convs.{int(m[1]) - 1}.conv."),
            (r"\.bn(\d)\.", lambda m: f".convs.{int(m[1]) - 1}.bn."),
            (r"\.downsample\.0\.", ".shortcut.conv."),
            (r"\.downsample\.1\.", ".shortcut.bn."),
            (r"^fc\.", "head."),
        ],
    )


FAMILY = Family(
    name="sew_resnet",
    title="SEW ResNet",
    kind="snn",
    paper="Fang et al., Deep Residual Learning in Spiking Neural Networks, NeurIPS 2021, arXiv 2102.04159",
    source="github.com/fangwei123456/Spike-Element-Wise-ResNet; SpikingJelly 2.0 activation_based.model.sew_resnet",
    tiny={
        "name": "sew_resnet18",
        "widths": (6, 8),
        "depths": (1, 1),
        "img_size": 24,
        "in_chans": 2,
        "timesteps": 3,
        "num_classes": 4,
        "stem_kernel": 3,
        "stem_pool": False,
    },
    published=(
        Published("sew_resnet18", 63.18, 11.69, None, 4),
        Published("sew_resnet34", 67.04, 21.79, 4.04, 4),
        Published("sew_resnet50", 67.78, 25.56, 4.89, 4),
        Published("sew_resnet101", 68.76, 44.55, None, 4),
        Published("sew_resnet152", 69.26, 60.19, None, 4),
    ),
    checkpoints=("figshare 14752998 (Spike-Element-Wise-ResNet): torch pickles with the weights under 'model'",),
    unconfirmed=(
        "accuracies and energies were read in papers that compare with it, 63.18 % and the accuracies of 101 and 152 "
        "layers in summaries of the paper; energies "
        "are such papers' estimates: one version of Spikformer's paper has 0.299 and 0.372 mJ for 34 and 50",
        "the authors normalise the stem once per image also in training; here it sees the image T times",
        "the authors' checkpoint keys are derived from their source; no file of theirs was loaded",
    ),
    marks=(r"^layer1\.0\.conv1\.", r"^bn1\.running_var$", r"^fc\.weight$"),
    convert=convert,
)

_RESULTS = "ImageNet top-1 {} % at T=4"
register_variant(FAMILY, "sew_resnet18", SEWResNet, params=11689512, summary=f"SEW ResNet-18, {_RESULTS.format(63.18)}")
register_variant(
    FAMILY,
    "sew_resnet34",
    SEWResNet,
    params=21797672,
    summary=f"SEW ResNet-34, {_RESULTS.format(67.04)}",
    depths=(3, 4, 6, 3),
)
register_variant(
    FAMILY,
    "sew_resnet50",
    SEWResNet,
    params=25557032,
    summary=f"SEW ResNet-50, {_RESULTS.format(67.78)}",
    depths=(3, 4, 6, 3),
    bottleneck=True,
)
register_variant(
    FAMILY,
    "sew_resnet101",
    SEWResNet,
    params=44549160,
    summary=f"SEW ResNet-101, {_RESULTS.format(68.76)}",
    depths=(3, 4, 23, 3),
    bottleneck=True,
)
register_variant(
    FAMILY,
    "sew_resnet152",
    SEWResNet,
    params=60192808,
    summary=f"SEW ResNet-152, {_RESULTS.format(69.26)}",
    depths=(3, 8, 36, 3),
    bottleneck=True,
)
