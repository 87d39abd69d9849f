"""A small spiking convolutional network that fits on one neuromorphic chip.

    image → direct encoding → stem 3×3 → LIF → down 3×3 /2 → LIF ┬→ depthwise 3×3 → LIF → mix 1×1 → (+) → LIF
    → pool → linear → mean over time                             └───────────────────────────────────┘

Every convolution is followed by batch norm. The residual adds the spikes of the second layer to the currents of the
last (a membrane shortcut, as in Spike-driven Transformer V2, arXiv 2404.03663): what a neuron receives is real, what it
sends is binary, so every weight but the first layer's meets spikes only.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError
from snnkit.layers import ConvBN, over_time
from snnkit.models.classifier import Feature, FeatureInfo, SpikingClassifier
from snnkit.models.family import Family
from snnkit.models.registry import register_model
from snnkit.neurons import LIF
from snnkit.surrogates import ATan

_LAYERS = ("down", "depthwise", "mix")


class SpikingCNN(SpikingClassifier):
    """Spiking classifier for small images; shapes: T steps, B images, C channels, K classes.

    Args:
        num_classes: K.
        in_chans: channels of the images.
        img_size: side of the images in pixels; a multiple of 4.
        timesteps: T.
        width: channels of the stem.
        expansion: how many times as many the other layers have.
        tau: time constant of the neurons in steps.
        v_threshold: threshold of the neurons.
        dropout: share of the head's inputs that training drops.

    Raises:
        InvalidArgumentError: an argument outside its range.
    """

    def __init__(
        self,
        num_classes: int,
        in_chans: int,
        img_size: int,
        timesteps: int,
        width: int,
        expansion: int,
        tau: float,
        v_threshold: float,
        dropout: float,
    ):
        super().__init__(timesteps)
        if not isinstance(img_size, int):
            raise InvalidArgumentError(f"img_size={img_size!r}: the head serves square images; give one side.")
        if img_size % 4 or img_size < 4:
            lower = max(4, img_size // 4 * 4)
            raise InvalidArgumentError(
                f"img_size={img_size}: must be a multiple of 4; {lower} or {lower + 4} would do."
            )
        for name, value in (("width", width), ("expansion", expansion)):
            if not isinstance(value, int) or value < 1:
                raise InvalidArgumentError(f"{name}={value!r}: must be a whole number ≥ 1.")
        if not 0 <= dropout < 1:
            raise InvalidArgumentError(f"dropout={dropout!r}: must be at least 0 and below 1.")

        def neuron() -> LIF:
            return LIF(tau, v_threshold, surrogate=ATan())

        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        inner = expansion * width
        self.stem, self.stem_lif = ConvBN(in_chans, width, 3), neuron()
        self.down, self.down_lif = ConvBN(width, inner, 3, stride=2), neuron()
        self.depthwise, self.depthwise_lif = ConvBN(inner, inner, 3, groups=inner), neuron()
        self.mix, self.mix_lif = ConvBN(inner, inner, 1), neuron()
        self.pool = nn.AvgPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inner * (img_size // 4) ** 2, num_classes) if num_classes else nn.Identity()
        self.num_features = inner * (img_size // 4) ** 2
        self.feature_info = FeatureInfo([Feature(inner, 2, "mix_lif")])

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Groups for layer-wise decay: the stem, then each layer."""
        return {"stem": r"^stem", "blocks": [(rf"^{name}\.", (i,)) for i, name in enumerate(_LAYERS)]}

    def forward_stem(self, x_TBCHW: Tensor) -> Tensor:
        """Return the currents of the first layer, (T, B, width, H, W)."""
        return self.stem(x_TBCHW)

    def forward_stages(self, current_TBCHW: Tensor) -> list[Tensor]:
        """Return one map: the spikes of the last layer, (T, B, expansion·width, H/2, W/2)."""
        stem = self.stem_lif(current_TBCHW)
        down = self.down_lif(self.down(stem))
        depthwise = self.depthwise_lif(self.depthwise(down))
        return [self.mix_lif(self.mix(depthwise) + down)]

    def forward_head(self, features_TBCHW: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the logits of every step, (T, B, K), or with ``pre_logits`` what the last layer reads."""
        head = nn.Identity() if pre_logits else self.head
        return over_time(lambda y: head(self.dropout(self.pool(y).flatten(1))), features_TBCHW)

    def _check(self, x: Tensor, leading: int) -> None:
        expected = (self.in_chans, self.img_size, self.img_size)
        if x.ndim != leading + 3 or tuple(x.shape[leading:]) != expected:
            raise InvalidArgumentError(
                f"this network takes images of shape (B, {', '.join(map(str, expected))}) or sequences (T, B, …), "
                f"got {tuple(x.shape)}. Resize the images, or create the model with img_size= and in_chans=."
            )


FAMILY = Family(
    name="spiking_cnn",
    title="Small spiking convolutional network",
    kind="snn",
    paper="membrane shortcut: Yao et al., Spike-driven Transformer V2, arXiv 2404.03663",
    source="own design",
    tiny={"name": "spiking_cnn_small", "width": 6, "img_size": 16, "in_chans": 1, "timesteps": 3, "num_classes": 4},
)


@register_model(FAMILY, params=33642)
def spiking_cnn_small(
    num_classes: int = 10,
    in_chans: int = 1,
    img_size: int = 28,
    timesteps: int = 4,
    width: int = 16,
    expansion: int = 3,
    tau: float = 2.0,
    v_threshold: float = 0.5,
    dropout: float = 0.1,
) -> SpikingCNN:
    """Four LIF layers, a residual and a depthwise convolution; the network of ``snnkit demo``."""
    return SpikingCNN(num_classes, in_chans, img_size, timesteps, width, expansion, tau, v_threshold, dropout)
