"""The event-driven convolution in groups, where an output sees the inputs of its group alone.

Every event adds its few weights to the outputs of its group. Where there is one input per output (depthwise) and many
fire, the bits of 64 channels select 64 weights at once instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError, SnnkitError
from snnkit.events.bits import Packed
from snnkit.events.library import library
from snnkit.events.sums import Geometry, checked_weights, event_lists, in_shares, padded, shape_of

_WORD = 64
_MANY = 0.04  # spikes per value from which bits are faster than lists, as measured


@dataclass(frozen=True, slots=True)
class GroupWeights:
    """Weights prepared for the C code: ``made`` by ``group_weights``.

    Attributes:
        weights: (kh · kw, C, N / groups), what a spike of a channel adds to the outputs of its group.
        words: the same by 64 channels, (⌈C / 64⌉, kh · kw, 64), where there is one input per output.
        places: the first output that each input has.
    """

    weights: Tensor
    words: Tensor | None
    scale: Tensor | None
    bias: Tensor
    inputs: int
    outputs: int
    groups: int
    places: Tensor


def group_weights(weight: Tensor, groups: int, bias: Tensor | None = None, scale: Tensor | None = None) -> GroupWeights:
    """Prepare weights.

    Args:
        weight: (N, C / groups, kh, kw); float32, or int8 for exact integer sums.
        groups: number of groups, a divisor of N.
        bias: (N,) float32, added to float outputs.
        scale: (N,) float32, with int8 weights: the sums become ``sum · scale + bias``. Without it they stay int32.
    """
    integers = checked_weights(weight, bias, scale)
    outputs, ins, kernel_h, kernel_w = weight.shape
    if groups < 1 or outputs % groups:
        raise InvalidArgumentError(f"groups={groups} do not divide the {outputs} outputs.")
    outs, inputs = outputs // groups, ins * groups
    taps = weight.detach().view(groups, outs, ins, kernel_h * kernel_w).permute(3, 0, 2, 1).reshape(-1, inputs, outs)
    taps = taps.to(torch.int16 if integers else torch.float32).contiguous()
    words = None
    if outs == ins == 1:
        words = padded(taps.squeeze(-1), _WORD).view(len(taps), -1, _WORD).transpose(0, 1).contiguous()
    places = torch.arange(inputs, dtype=torch.int32) // ins * outs
    bias = torch.zeros(outputs) if bias is None else bias
    scale, bias = (None if v is None else padded(v.to(torch.float32), _WORD) for v in (scale, bias))
    return GroupWeights(taps, words, scale, bias, inputs, outputs, groups, places)


def event_group_conv(x: Packed, weights: GroupWeights, geometry: Geometry) -> Tensor:
    """(N, H, W, C) spikes → (N, C', H', W'), which lies channels-last in memory; int32 for integers without a scale."""
    n, height, width, channels = x.shape
    if channels != weights.inputs:
        raise InvalidArgumentError(f"the images have {channels} channels, the weights take {weights.inputs}.")
    shape, out_h, out_w = shape_of(geometry, height, width, channels, weights.outputs)
    integers = weights.weights.dtype == torch.int16
    out = torch.empty(
        n, out_h, out_w, weights.outputs, dtype=torch.int32 if integers and weights.scale is None else torch.float32
    )
    scale = None if weights.scale is None else weights.scale.data_ptr()
    rest, rows, failed = (integers, scale, weights.bias.data_ptr(), out.data_ptr()), n * out_h * out_w, []
    if weights.words is not None and x.rate > _MANY:
        run, pointers = library().snnkit_depthwise, (x.words.data_ptr(), weights.words.data_ptr())
        in_shares(rows, lambda first, last: run(shape, *pointers, *rest, x.levels, first, last))
    else:
        run, (starts, columns) = library().snnkit_grouped, event_lists(x)
        lists = (starts.data_ptr(), columns.data_ptr(), weights.places.data_ptr(), weights.outputs // weights.groups)
        numbers = (weights.weights.data_ptr(), *rest)
        in_shares(rows, lambda first, last: failed.append(run(shape, *lists, *numbers, first, last)))
    if any(failed):
        raise SnnkitError(f"there is no memory for images of {height} × {width}; give smaller ones.")
    return out.permute(0, 3, 1, 2)
