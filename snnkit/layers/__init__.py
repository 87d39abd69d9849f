"""Building blocks shared by the models. Layers without memory run on time folded into the batch."""

from snnkit.layers.conv_bn import ConvBN
from snnkit.layers.sequence import over_time
from snnkit.renamed import old_module

__all__ = ["ConvBN", "over_time"]

old_module("snnkit.layers.fold", {"over_time": "snnkit.layers.over_time"})
old_module(
    "snnkit.layers.folding",
    {
        "layer_then_norm": "snnkit.layers.merging.layer_then_norm",
        "layer_then_scale": "snnkit.layers.merging.layer_then_scale",
        "norm_then_conv": "snnkit.layers.merging.norm_then_conv",
    },
)
old_module(
    "snnkit.layers.checkpoint",
    {
        "checkpoint": "snnkit.layers.recompute.recompute",
        "frozen_statistics": "snnkit.layers.recompute.frozen_statistics",
    },
)
