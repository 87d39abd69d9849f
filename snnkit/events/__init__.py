"""Event-driven inference: layers that add up the weights of what fired, where that beats a dense product.

    fast = accelerate(deploy(model), example)     # or weights="int8"
    report(fast)                                  # a row per layer: rate, choice, reason, times

bits.py        spikes as bits and back
sums.py        the event-driven linear layer and convolution (C, ``csrc/``)
groups.py      the event-driven convolution in groups, depthwise or not
quantise.py    weights as int8
choice.py      timing the ways, and which one is taken at which rate
base.py        what the layers share
layers.py      linear and convolution
accelerate.py  a network with these layers
training.py    convolutions that train by events: spikes kept as bits, gradients of weights summed over events
library.py     the compiled C library, or why there is none: then all layers compute densely
"""

from snnkit.events.accelerate import accelerate, report
from snnkit.events.bits import Packed, pack, pack_pixels, popcount, unpack
from snnkit.events.groups import GroupWeights, event_group_conv, group_weights
from snnkit.events.layers import EventConv, EventLinear
from snnkit.events.quantise import quantise
from snnkit.events.sums import Geometry, Panels, event_conv, event_linear, panels
from snnkit.events.training import train_by_events, weight_gradient
from snnkit.renamed import old_module

__all__ = [
    "EventConv",
    "EventLinear",
    "Geometry",
    "GroupWeights",
    "Packed",
    "Panels",
    "accelerate",
    "event_conv",
    "event_group_conv",
    "event_linear",
    "group_weights",
    "pack",
    "pack_pixels",
    "panels",
    "popcount",
    "quantise",
    "report",
    "train_by_events",
    "unpack",
    "weight_gradient",
]

old_module(
    "snnkit.events.layer",
    {name: f"snnkit.events.base.{name}" for name in ("DENSE", "DENSE_INTEGERS", "WEIGHTS", "EventLayer")},
)
