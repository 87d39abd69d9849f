"""Building blocks shared by the models. Layers without memory run on time folded into the batch."""

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.fold import over_time

__all__ = ["ConvBN", "over_time"]
