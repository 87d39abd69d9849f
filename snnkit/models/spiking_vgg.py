"""Spiking VGG with batch norm: 3×3 convolutions in five stages, three linear layers, a neuron behind each.

    image → 5 × {(conv 3×3, BN → IF) × n → max-pool 2×2 /2} → mean to 7×7 → linear → IF → linear → IF → linear
    → mean over time

No shortcuts: every weight but the first meets spikes, those behind the mean pooling spikes divided by a constant.
A pool drops a last odd row and column, as the published one does; images under 32 pixels a side leave nothing.

Source: SpikingJelly 2.0 ``activation_based.model.spiking_vgg`` (spiking_vgg11_bn, spiking_vgg16_bn), after Simonyan and
Zisserman, "Very Deep Convolutional Networks", arXiv 1409.1556.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.sequence import AdaptiveAvgPool2d, Dropout, MaxPool2d
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier
from snnkit.models.family import Family, StateDict
from snnkit.models.registry import register_variant
from snnkit.models.sizes import check_stages, check_whole
from snnkit.neurons import IF
from snnkit.surrogates import ATan


def _neuron() -> IF:
    return IF(surrogate=ATan())


class _Layer(nn.Module):
    """Convolution, norm, neuron."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv, self.neuron = ConvBN(in_channels, out_channels, 3, bias=True), _neuron()

    def forward(self, x_TBCHW: Tensor) -> Tensor:
        """Return spikes (T, B, C', H, W)."""
        return self.neuron(self.conv(x_TBCHW))


class SpikingVGG(SpikingClassifier):
    """Spiking classifier of images (B, C, H, W) or sequences (T, B, C, H, W).

    Args:
        num_classes: K; 0 for no head.
        in_chans: C.
        img_size: side of the images it is meant for; any from 2^stages pixels on is served.
        timesteps: T for images.
        features_only: return the spikes behind each pool.
        widths: channels of each stage.
        depths: convolutions of each stage.
        pool_size: side of the map that the linear layers read.
        hidden: width of the two hidden linear layers.
        drop_rate: share of their outputs that training drops, the same for all steps.

    Raises:
        InvalidArgumentError: a size outside its range, or images too small for the pools.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        timesteps: int = 4,
        features_only: bool = False,
        widths: tuple[int, ...] = (64, 128, 256, 512, 512),
        depths: tuple[int, ...] = (1, 1, 2, 2, 2),
        pool_size: int = 7,
        hidden: int = 4096,
        drop_rate: float = 0.5,
    ):
        super().__init__(timesteps)
        check_stages(widths=widths, depths=depths)
        check_whole(pool_size=pool_size, hidden=hidden)
        if not 0 <= drop_rate < 1:
            raise InvalidArgumentError(f"drop_rate={drop_rate!r}: must be at least 0 and below 1.")
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.features_only, self.stride = features_only, 2 ** len(widths)
        self._check_side(*(img_size if isinstance(img_size, tuple) else (img_size, img_size)))
        self.stem, self.stem_neuron = ConvBN(in_chans, widths[0], 3, bias=True), _neuron()
        self.stages, channels = nn.ModuleList(), widths[0]
        for i, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            stage = nn.Sequential()
            for _ in range(depth - (i == 0)):  # the first of all is the stem
                stage.append(_Layer(channels, width))
                channels = width
            self.stages.append(stage)
        self.pools = nn.ModuleList(MaxPool2d(2) for _ in widths)
        self.mean = AdaptiveAvgPool2d(pool_size)
        self.fc1, self.fc1_neuron = nn.Linear(widths[-1] * pool_size**2, hidden), _neuron()
        self.fc2, self.fc2_neuron = nn.Linear(hidden, hidden), _neuron()
        self.dropout = Dropout(drop_rate)
        self.num_features = hidden
        self.feature_info = FeatureInfo(Feature(width, 2 ** (i + 1), f"pools.{i}") for i, width in enumerate(widths))
        self.head = nn.Linear(hidden, num_classes) if num_classes else nn.Identity()
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")  # 0.009 behind 25088 pixels, else wider
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.zeros_(module.bias)

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first neurons."""
        return self.stem(x_TBCHW)

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return the spikes behind each pool."""
        x, maps = self.stem_neuron(current_TBCHW), []
        for stage, pool in zip(self.stages, self.pools, strict=True):
            x = pool(self._blocks(stage, x))
            maps.append(x)
        return maps

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step (T, B, K), or with ``pre_logits`` the last spikes (T, B, F)."""
        x = self.mean(features_TBCHW).flatten(2)
        x = self.dropout(self.fc1_neuron(self.fc1(x)))
        x = self.dropout(self.fc2_neuron(self.fc2(x)))
        return x if pre_logits else self.head(x)

    def _check(self, x: Tensor, leading: int) -> None:
        super()._check(x, leading)
        self._check_side(*x.shape[-2:])

    def _check_side(self, height: int, width: int) -> None:
        if min(height, width) < self.stride:
            raise InvalidArgumentError(
                f"images of {height}×{width} pixels: {self.stride.bit_length() - 1} pools halve them, so each side "
                f"needs at least {self.stride}. Resize them, or give fewer stages in widths= and depths=."
            )


def convert(state: StateDict, model: nn.Module) -> dict[str, Tensor]:
    """Translate numbered layers, as SpikingJelly's and torchvision's VGG have them: convolution, norm, …"""
    layers = [("stem", model.stem)]
    layers += [(f"stages.{i}.{j}.conv", layer) for i, stage in enumerate(model.stages) for j, layer in enumerate(stage)]
    numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith("features.")})
    own = [f"{name}.{part}" for name, _ in layers for part in ("conv", "bn")]
    names = {f"features.{number}": name for number, name in zip(numbers, own, strict=False)}
    names |= {"classifier.0": "fc1", "classifier.3": "fc2", "classifier.6": "head"}
    made = {}
    for key, value in state.items():
        layer, _, rest = key.rpartition(".")
        made[f"{names.get(layer, layer)}.{rest}"] = value
    return made


FAMILY = Family(
    name="spiking_vgg",
    title="Spiking VGG",
    kind="snn",
    paper="Simonyan and Zisserman, Very Deep Convolutional Networks, arXiv 1409.1556, with neurons for ReLU",
    source="SpikingJelly 2.0 activation_based.model.spiking_vgg (spiking_vgg11_bn, spiking_vgg16_bn)",
    tiny={
        "name": "spiking_vgg11",
        "widths": (6, 8),
        "depths": (1, 2),
        "pool_size": 2,
        "hidden": 32,
        "drop_rate": 0.0,
        "img_size": 8,
        "in_chans": 2,
        "timesteps": 3,
        "num_classes": 4,
    },
    unconfirmed=("no accuracy of this exact model is published: it is a peer of SpikingJelly's definition",),
    marks=(r"^features\.0\.weight$", r"^features\.1\.running_var$", r"^classifier\.6\.weight$"),
    convert=convert,
)

register_variant(
    FAMILY, "spiking_vgg11", SpikingVGG, params=132868840, summary="VGG-11 with batch norm and IF neurons, T=4"
)
register_variant(
    FAMILY,
    "spiking_vgg16",
    SpikingVGG,
    params=138365992,
    summary="VGG-16 with batch norm and IF neurons, T=4",
    depths=(2, 2, 3, 3, 3),
)
