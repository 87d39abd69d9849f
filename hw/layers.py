"""Limits of chips that are programmed layer by layer: what one layer, and one core, may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hw.quantity import Quantity


@dataclass(frozen=True)
class LayerLimits:
    """What a layer may be. ``None``, an empty tuple or an empty mapping: nothing is known of it.

    Attributes:
        source: where the plain numbers here were read; confirmed: whether it was looked at.
        kernel: largest side of a convolution's kernel. strides: those there are.
        stride_kernels: strides that only go with some kernels: {stride: kernel sides}.
        padding: the most on a side. channels: the most of a map.
        input_map, output_map: largest side of a layer's input and output.
        pools: kernel sides of pooling (which sums). destinations: layers that one core may send to.
        neuron_memory, kernel_memory, bias_memory: words of each core in turn, one word a neuron, weight or bias.
        inputs, hidden, outputs: neurons of the whole network's parts, where a chip has no layers but such parts.
        fan_in, fan_out: synapses of a neuron. spikes_per_step: the most that a neuron may send in one step.
        loops: whether a layer may reach back to itself or to an earlier one.
        groups: whether grouped and depthwise convolutions are known to run.
    """

    source: str
    confirmed: bool = True
    kernel: Quantity | None = None
    strides: tuple[int, ...] = ()
    stride_kernels: Mapping[int, tuple[int, ...]] = field(default_factory=dict, hash=False)
    padding: Quantity | None = None
    channels: Quantity | None = None
    input_map: Quantity | None = None
    output_map: Quantity | None = None
    pools: tuple[int, ...] = ()
    destinations: Quantity | None = None
    neuron_memory: tuple[int, ...] = ()
    kernel_memory: tuple[int, ...] = ()
    bias_memory: tuple[int, ...] = ()
    inputs: Quantity | None = None
    hidden: Quantity | None = None
    outputs: Quantity | None = None
    fan_in: Quantity | None = None
    fan_out: Quantity | None = None
    spikes_per_step: Quantity | None = None
    loops: bool | None = None
    groups: bool | None = None
