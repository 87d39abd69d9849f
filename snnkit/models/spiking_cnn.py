"""A small spiking convolutional network that fits on one neuromorphic chip.

    image ─ direct encoding ─ conv 3×3 /2 ─ LIF ─ conv 3×3 /2 ─ LIF ─┬─ depthwise 3×3 ─ LIF ─ conv 3×3 ─(+)─ LIF ─ pool
    ─ linear └────────────────────────────────┘

Every convolution is followed by batch norm. The residual adds the spikes of the second layer to the currents of the
last (a membrane shortcut, as in Spike-driven Transformer V2, arXiv 2404.03663): what a neuron receives is real, what it
sends is binary, so every weight but the first layer's meets spikes only.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.encoders import Direct
from snnkit.errors import InvalidArgumentError
from snnkit.layers import ConvBN, over_time
from snnkit.models.registry import register_model
from snnkit.neurons import LIF
from snnkit.readouts import Mean
from snnkit.surrogates import ATan


class SpikingCNN(nn.Module):
    """Spiking classifier for small images; shapes: T steps, B images, C channels, K classes.

    Args:
        num_classes: K.
        in_chans: channels of the images.
        img_size: side of the images in pixels; a multiple of 4 of at least 8.
        timesteps: T.
        width: channels after the first convolution; the others have twice as many.
        tau: time constant of the neurons in steps.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 1,
        img_size: int = 28,
        timesteps: int = 4,
        width: int = 32,
        tau: float = 2.0,
    ):
        super().__init__()
        if img_size % 4 or img_size < 8:
            lower = max(8, img_size // 4 * 4)
            raise InvalidArgumentError(
                f"img_size={img_size}: must be a multiple of 4 of at least 8; {lower} or {lower + 4} would do."
            )
        if not isinstance(width, int) or width < 1:
            raise InvalidArgumentError(f"width={width!r}: must be a whole number ≥ 1.")
        self.in_chans, self.img_size, self.num_classes = in_chans, img_size, num_classes
        self.encoder = Direct(timesteps)
        self.stem = ConvBN(in_chans, width, 3, stride=2)
        self.stem_lif = LIF(tau, surrogate=ATan())
        self.down = ConvBN(width, 2 * width, 3, stride=2)
        self.down_lif = LIF(tau, surrogate=ATan())
        self.depthwise = ConvBN(2 * width, 2 * width, 3, groups=2 * width)
        self.depthwise_lif = LIF(tau, surrogate=ATan())
        self.mix = ConvBN(2 * width, 2 * width, 3)
        self.mix_lif = LIF(tau, surrogate=ATan())
        side = img_size // 4
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(2 * width * (side // 2) ** 2, num_classes)
        self.readout = Mean()

    def forward_features(self, x_TBCHW: Tensor) -> Tensor:
        """Return the spikes of the last layer, (T, B, 2·width, H/4, W/4), for a sequence of images."""
        stem = self.stem_lif(self.stem(x_TBCHW))
        down = self.down_lif(self.down(stem))
        depthwise = self.depthwise_lif(self.depthwise(down))
        return self.mix_lif(self.mix(depthwise) + down)

    def forward_sequence(self, x_TBCHW: Tensor) -> Tensor:
        """Return the logits of every step, (T, B, K), for a sequence of images."""
        expected = (self.in_chans, self.img_size, self.img_size)
        if x_TBCHW.ndim != 5 or tuple(x_TBCHW.shape[2:]) != expected:
            raise InvalidArgumentError(
                f"this network takes images of shape (B, {', '.join(map(str, expected))}) or sequences (T, B, …), "
                f"got {tuple(x_TBCHW.shape)}. Resize the images, or create the model with img_size= and in_chans=."
            )
        features = self.forward_features(x_TBCHW)
        return over_time(lambda y: self.head(self.pool(y).flatten(1)), features)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, K) for images (B, C, H, W), or for a sequence (T, B, C, H, W)."""
        sequence = x if x.ndim == 5 else self.encoder(x)
        return self.readout(self.forward_sequence(sequence))


@register_model(
    kind="snn",
    paper="membrane shortcut: Yao et al., Spike-driven Transformer V2, arXiv 2404.03663",
    source="own design",
)
def spiking_cnn_small(
    num_classes: int = 10, in_chans: int = 1, img_size: int = 28, timesteps: int = 4, width: int = 32, tau: float = 2.0
) -> SpikingCNN:
    """Four LIF layers, a residual and a depthwise convolution; the network of ``snnkit demo``."""
    return SpikingCNN(num_classes, in_chans, img_size, timesteps, width, tau)
