"""Merge layers that follow one another directly: two sets of weights, one after the other, are one.

Convolutions: with kernels k₁, k₂, strides s, dilations d and paddings p, the merged kernel has its taps at
s₁·d₂·t₂ + d₁·t₁, stride s₁·s₂ and padding p₁ + s₁·p₂. Where the second pads, its zeros must be what the first makes of
zeros beside its own input: so it is if no window of the first reaches across the border from outside (a 1×1
convolution, windows that tile). A first layer's bias must come to one number a channel. A depthwise convolution, and an
average pool, which is one, merges with its neighbours in the same way; a pad joins the padding.

What it costs: the merged layer may have more weights than the two. ``growth`` bounds its multiply-accumulates by so
many times theirs; layers that would grow more stay two. A 1×1 → depthwise 3×3 → 1×1 (RepConv) grows less than 4.5
times, a depthwise 7×7 → 1×1 nearly 49 times. Reading events, a merged layer adds weights for spikes only, where the
second of two layers multiplies all values: an accumulate costs about a fifth of a multiply-accumulate (0.9 and 4.6 pJ
in 45 nm), and few neurons fire in any step, so that ``GROWTH`` = 8 is always a gain for them up to 60 % firing.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.graph import Graph, Node
from compiler.passes.linear_maps import (
    bias_of,
    channel_axis,
    is_plain,
    linear_part,
    per_channel,
    rounding,
    spread,
    weight_type,
    with_bias,
)
from compiler.rewriting import Draft, Match, Rule, pattern, rewrite

GROWTH = 8.0
"""How many times the multiply-accumulates of two layers a merged one may have."""


def merge_layers(graph: Graph, growth: float = GROWTH) -> Graph:
    """Return the graph with one layer where two follow one another and nothing else reads the first.

    Args:
        graph: any graph.
        growth: how many times the multiply-accumulates of two layers the merged one may have.
    """
    return rewrite(graph, rules(growth))


def rules(growth: float) -> tuple[Rule, ...]:
    """Return the rules of ``merge_layers`` for a bound."""

    def convolutions(match: Match, draft: Draft) -> str | None:
        return _merged_convs(match.root, draft, growth)

    def linears(match: Match, draft: Draft) -> str | None:
        return _merged_linear(match.root, match["first"], draft, growth)

    first = pattern("conv", where=is_plain, alone=True)
    linear = pattern("linear", name="first", where=is_plain, alone=True)
    return (
        Rule("a pad into a convolution", pattern("conv", _PAD, where=is_plain), _padded),
        Rule("convolutions in a row", pattern("conv", first, where=is_plain), convolutions),
        Rule("two linear layers", pattern("linear", linear, where=is_plain), linears),
    )


# Padding.


def _is_zero_pad(node: Node) -> bool:
    return bool(node.attributes["mode"] == "constant" and node.attributes["value"] == 0)


_PAD = pattern("pad", name="pad", where=_is_zero_pad, alone=True)


def _padded(match: Match, draft: Draft) -> str | None:
    """A pad of zeros, alike on both sides, becomes the convolution's own."""
    conv, pad = match.root, match["pad"]
    rank, amounts = conv.parameters["weight"].ndim - 2, pad.attributes["amounts"]
    sides = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)][::-1]
    more = [(0, 0)] * (rank - len(sides)) + sides
    beyond = more[: len(more) - rank]
    if any(low != high or low < 0 for low, high in more) or any(low for low, _ in beyond):
        return None
    padding = tuple(own + low for own, (low, _) in zip(conv.attributes["padding"], more[-rank:], strict=True))
    return draft.change(conv, inputs=pad.inputs, attributes={**conv.attributes, "padding": padding})


# Convolutions.


def _merged_convs(last: Node, draft: Draft, growth: float) -> str | None:
    """Merge the longest part of a chain of convolutions that ends in ``last`` and does not grow too much."""
    if draft.alone(last.output) and draft.readers(last.output)[0].op == "conv":
        return None  # the chain goes on
    chain = [last]
    while True:
        before = draft.producer(chain[0].inputs[0])
        if before is None or before.op != "conv" or not is_plain(before) or not draft.alone(before.output):
            break
        chain.insert(0, before)
    for length in range(len(chain), 1, -1):
        for start in range(len(chain) - length + 1):
            part = chain[start : start + length]
            if not _grows(part, draft, growth):
                merged = _folded(part, draft)
                if merged is not None:
                    return _put(part, merged, chain[start + length :], draft)
    return None


def _grows(part: list[Node], draft: Draft, growth: float) -> bool:
    """Whether merging a chain takes more than ``growth`` times its multiply-accumulates, or is not possible at all."""
    bare = [replace(node, parameters={"weight": node.parameters["weight"].to("meta")}) for node in part]
    merged = _folded(bare, draft)
    if merged is None:
        return True
    places = [math.prod(draft.shape(node.output)) for node in part]
    before = sum(n * node.parameters["weight"][0].numel() for n, node in zip(places, part, strict=True))
    return places[-1] * merged.parameters["weight"][0].numel() > growth * before


def _folded(part: list[Node], draft: Draft) -> Node | None:
    """Return a chain as one convolution with its bias; None where there is none."""
    merged, source = part[0], draft.shape(part[0].inputs[0])
    for before, node in pairwise(part):
        middle = draft.shape(before.output)
        bias = bias_behind(node, merged, middle, draft.shape(node.output))
        joined = merged_conv(node, merged, source, middle)
        if joined is None or bias is None:
            return None
        merged = replace(joined, parameters=with_bias(joined, bias)) if bias.numel() else joined
    return merged


def bias_behind(layer: Node, first: Node, middle: tuple[int, ...], shape: tuple[int, ...]) -> Tensor | None:
    """Return what the bias of ``first`` adds to the bias of ``layer``; empty without one, None where it depends on the
    place."""
    if "bias" not in first.parameters:
        return torch.empty(0)
    meets = linear_part(layer, spread(bias_of(first), middle))
    return per_channel(meets, shape, channel_axis(layer), rounding(weight_type(layer), meets))


def _put(part: list[Node], merged: Node, behind: list[Node], draft: Draft) -> str:
    """Put a merged layer in the place of a chain, under the name of its largest layer; return what is read then."""
    largest = max(part, key=lambda node: node.parameters["weight"].numel())
    made = draft.change(
        largest, inputs=part[0].inputs, attributes=merged.attributes, parameters=merged.parameters, resized=True
    )
    if not behind:
        return made
    draft.change(behind[0], inputs=(made,))
    return behind[-1].output


def merged_conv(second: Node, first: Node, shape: tuple[int, ...], middle: tuple[int, ...]) -> Node | None:
    """Return ``second(first(x))`` as one convolution, without the first one's bias; None where there is no such.

    Args:
        second, first: convolutions of the same rank.
        shape, middle: of the first one's input and result.
    """
    a1, a2, w1, w2 = first.attributes, second.attributes, first.parameters["weight"], second.parameters["weight"]
    rank = w1.ndim - 2
    if w2.ndim != w1.ndim or not _meets_zeros(a1, a2, w1.shape[2:], shape[-rank:], middle[-rank:]):
        return None
    taps = list(zip(w1.shape[2:], w2.shape[2:], a1["dilation"], a2["dilation"], a1["stride"], strict=True))
    # A dilation can stay where one of the two has a single tap; else taps in between are 0.
    dilation = tuple(s * d2 if k1 == 1 else d1 if k2 == 1 else 1 for k1, k2, d1, d2, s in taps)
    inner = tuple(1 if k1 == 1 or k2 == 1 else d1 for k1, k2, d1, d2, s in taps)
    outer = tuple(1 if k1 == 1 or k2 == 1 else s * d2 for k1, k2, d1, d2, s in taps)
    found = _kernel(w1.double(), int(a1["groups"]), w2.double(), int(a2["groups"]), inner, outer)
    if found is None:
        return None
    weight, groups = found
    attributes: dict[str, Any] = {
        "stride": tuple(x * y for x, y in zip(a1["stride"], a2["stride"], strict=True)),
        "padding": tuple(p + s * q for p, s, q in zip(a1["padding"], a1["stride"], a2["padding"], strict=True)),
        "dilation": dilation,
        "groups": groups,
    }
    parameters = {**second.parameters, "weight": weight.to(w2.dtype)}
    return replace(second, inputs=first.inputs, attributes=attributes, parameters=parameters)


def _meets_zeros(a1: Any, a2: Any, kernel: Any, size: Any, middle: Any) -> bool:
    """Whether what the second layer pads with zeros is what the first would make of zeros beside its input."""
    rows = zip(a1["stride"], a1["padding"], a1["dilation"], a2["padding"], kernel, size, middle, strict=True)
    for stride, padding, dilation, outer, taps, length, results in rows:
        reach = dilation * (taps - 1) + 1
        before = -stride - padding + reach - 1  # the last value that the window in front of the first one sees
        behind = stride * results - padding  # the first value that the window behind the last one sees
        if outer and (before >= 0 or behind < length):
            return False
    return True


def _kernel(
    w1: Tensor, groups1: int, w2: Tensor, groups2: int, inner: tuple[int, ...], outer: tuple[int, ...]
) -> tuple[Tensor, int] | None:
    """Return the taps of two convolutions in a row, and the groups; the first one's dilated by ``inner``, the second
    one's by ``outer``."""
    rank = w1.ndim - 2
    transpose = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
    taps1, taps2 = w1.shape[2:], w2.shape[2:]
    if groups1 == w1.shape[0] and w1.shape[1] == 1:
        # Depthwise first: each channel of every second kernel meets the first kernel of that channel.
        kernels = w2.reshape(groups2, -1, *w2.shape[1:]).transpose(0, 1).reshape(-1, groups1, *taps2)
        made = transpose(kernels, w1, None, outer, 0, 0, groups1, inner)
        parts = made.reshape(-1, groups2, w2.shape[1], *made.shape[2:]).transpose(0, 1)
        return parts.reshape(w2.shape[0], w2.shape[1], *made.shape[2:]).contiguous(), groups2
    if groups2 % groups1:
        return None
    channels, middle = w1.shape[1], w1.shape[0] // groups2
    if math.prod(taps2) == 1:
        made = torch.bmm(w2.reshape(groups2, -1, middle), w1.reshape(groups2, middle, -1))
        return made.reshape(-1, channels, *taps1), groups1
    if math.prod(taps1) == 1:
        second = w2.reshape(groups2, -1, middle, math.prod(taps2)).transpose(2, 3).reshape(groups2, -1, middle)
        made = torch.bmm(second, w1.reshape(groups2, middle, channels))
        return made.reshape(len(w2), -1, channels).transpose(1, 2).reshape(-1, channels, *taps2), groups1
    # Every first kernel, an image of its input channel, meets the second kernels that read its results.
    images = w1.reshape(groups1, -1, *w1.shape[1:]).transpose(1, 2)  # (groups, I, M, taps)
    images = images.transpose(0, 1).reshape(channels, w1.shape[0], *taps1)
    if any(step > 1 for step in inner):
        images = _dilated(images, inner)
    second = w2.reshape(groups2, -1, *w2.shape[1:]).transpose(1, 2).reshape(w1.shape[0], -1, *taps2)
    made = transpose(images, second, None, 1, 0, 0, groups2, outer)
    return made.transpose(0, 1).contiguous(), groups1


def _dilated(weight: Tensor, dilation: tuple[int, ...]) -> Tensor:
    """Return a kernel with zeros between its taps."""
    sizes = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    wide = weight.new_zeros(*weight.shape[:2], *sizes)
    places = (slice(None), slice(None), *(slice(None, None, d) for d in dilation))
    wide[places] = weight
    return wide


# Linear layers.


def _merged_linear(second: Node, first: Node, draft: Draft, growth: float) -> str | None:
    w1, w2 = (node.parameters["weight"].double() for node in (first, second))
    if w2.shape[0] * w1.shape[1] > growth * (w1.numel() + w2.numel()):
        return None
    weight = (w2 @ w1).to(second.parameters["weight"].dtype)
    merged = replace(second, parameters={**second.parameters, "weight": weight})
    if "bias" in first.parameters:
        merged = replace(merged, parameters=with_bias(merged, w2 @ first.parameters["bias"].double()))
    largest = max((first, second), key=lambda node: node.parameters["weight"].numel())
    return draft.change(largest, inputs=first.inputs, parameters=merged.parameters, resized=True)
