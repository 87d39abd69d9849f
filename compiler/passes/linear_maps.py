"""What linear nodes do to stored numbers, and how factors and shifts of their results or inputs become weights.

Stored numbers are tensors of one sample's shape, or smaller ones that broadcast to it from the end. All is computed in
float64; weights are stored in the type that they had.

Layers are conv, conv_transpose, linear and batch_norm. C channels lie along one axis of a layer's input and output, the
same negative number for both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from compiler.graph import Node, operation
from compiler.graph.graph import doubled

LAYERS = frozenset({"conv", "conv_transpose", "linear", "batch_norm"})
"""Layers whose results have channels with a bias."""

MOVES = frozenset({"reshape", "permute", "slice", "take", "roll", "pad", "rearrange", "identity", "expand"})
"""Operations with one input that only move values (and put zeros or, for a pad, another number beside them)."""

POOLS = frozenset({"avg_pool", "adaptive_avg_pool", "mean", "sum"})
"""Sums and averages over axes or windows."""


def is_plain(node: Node) -> bool:
    """Whether a node is no part of an integer graph, whose weights are what a chip stores."""
    return "weight_exponent" not in node.attributes


def is_linear_pad(node: Node) -> bool:
    """Whether a node, if it pads, pads with zeros."""
    return node.op != "pad" or (node.attributes["mode"] == "constant" and node.attributes["value"] == 0)


def run_on(node: Node, value: Tensor) -> Tensor:
    """Return what a node with one input makes of stored numbers of its input's shape, in float64."""
    return operation(node.op).run(doubled(node), value.double().unsqueeze(0))[0][0]


def linear_part(node: Node, value: Tensor) -> Tensor:
    """Return ``node(value) − node(0)``: what a linear node makes of stored numbers, without its own bias."""
    return run_on(node, value) - run_on(node, torch.zeros_like(value))


def spread(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Return stored numbers at every position of a sample of this shape."""
    return value.expand(tuple(shape)) if value.ndim <= len(shape) else value.reshape(tuple(shape))


def compact(value: Tensor) -> Tensor:
    """Return the smallest tensor that broadcasts to ``value`` from the end."""
    for axis in range(value.ndim):
        first = value.narrow(axis, 0, 1)
        if value.shape[axis] > 1 and bool((value == first).all()):
            value = first
    while value.ndim and value.shape[0] == 1:
        value = value[0]
    return value.contiguous()


def rounding(dtype: torch.dtype, *values: Tensor) -> float:
    """Return the error that sums of stored numbers of this type may have."""
    largest = max(float(value.abs().max()) for value in values)
    return 16 * torch.finfo(dtype if dtype.is_floating_point else torch.float64).eps * largest


def per_channel(value: Tensor, shape: Sequence[int], axis: int, tolerance: float = 0.0) -> Tensor | None:
    """Return stored numbers that depend on the channel alone as a vector (C,), None where they do not."""
    aligned = value.double().reshape(*[1] * (len(shape) - value.ndim), *value.shape)
    others = [i for i in range(aligned.ndim) if i != axis % aligned.ndim and aligned.shape[i] > 1]
    if others:
        high, low = aligned.amax(others, keepdim=True), aligned.amin(others, keepdim=True)
        if bool((high - low > tolerance).any()):
            return None
        aligned = (high + low) / 2 if tolerance else low
    return aligned.reshape(-1).expand(shape[axis]).clone()


def channel_axis(layer: Node) -> int:
    """Return where the channels of a layer lie in its input and output."""
    if layer.op == "batch_norm":
        return int(layer.attributes["axis"])
    return -1 if layer.op == "linear" else 1 - layer.parameters["weight"].ndim


def affine(norm: Node, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return (factor, shift) of a batch_norm or scale, each broadcasting to a sample of this shape."""
    p = {key: value.double() for key, value in norm.parameters.items()}
    if norm.op == "scale":
        return p["weight"], torch.zeros((), dtype=torch.float64)
    factor = torch.rsqrt(p["variance"] + norm.attributes["eps"])
    factor = factor * p["weight"] if "weight" in p else factor
    shift = -p["mean"] * factor
    shift = shift + p["bias"] if "bias" in p else shift
    after = [1] * (-int(norm.attributes["axis"]) - 1)
    return factor.reshape(-1, *after), shift.reshape(-1, *after)


def weight_type(layer: Node) -> torch.dtype:
    """Return the type in which a layer's numbers are stored."""
    return layer.parameters["mean" if layer.op == "batch_norm" else "weight"].dtype


def with_bias(layer: Node, more: Tensor) -> dict[str, Tensor]:
    """Return a layer's parameters with a vector (C,) added to its bias."""
    bias = layer.parameters["bias"].double() + more if "bias" in layer.parameters else more
    return {**layer.parameters, "bias": bias.to(weight_type(layer))}


def without_bias(layer: Node) -> dict[str, Tensor]:
    """Return a layer's parameters without its bias."""
    return {key: value for key, value in layer.parameters.items() if key != "bias"}


def bias_of(layer: Node) -> Tensor:
    """Return a layer's bias as stored numbers that broadcast to its result; it has one."""
    return layer.parameters["bias"].double().reshape(-1, *[1] * (-channel_axis(layer) - 1))


def scaled_results(layer: Node, factor: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """Return the parameters of the layer ``factor · layer(x) + shift``, both (C,)."""
    weight = _scaled(layer, factor, inputs=False)
    dtype = weight_type(layer)
    found = {**layer.parameters, "weight": weight.to(dtype)}
    bias = layer.parameters["bias"].double() * factor + shift if "bias" in layer.parameters else shift
    if "bias" in layer.parameters or bool((bias != 0).any()):
        found["bias"] = bias.to(dtype)
    return found


def scaled_inputs(layer: Node, factor: Tensor) -> dict[str, Tensor]:
    """Return the parameters of a layer on ``factor · x``, factor (C of the input,)."""
    if layer.op == "batch_norm":
        own, shift = (part.reshape(-1) for part in affine(layer, ()))
        p = layer.parameters
        weight = own * factor * torch.sqrt(p["variance"].double() + layer.attributes["eps"])
        dtype = p["mean"].dtype
        return {**p, "mean": torch.zeros_like(p["mean"]), "weight": weight.to(dtype), "bias": shift.to(dtype)}
    weight = _scaled(layer, factor, inputs=True)
    return {**layer.parameters, "weight": weight.to(layer.parameters["weight"].dtype)}


def input_channels(layer: Node) -> int:
    """Return how many channels a layer reads."""
    if layer.op == "batch_norm":
        return len(layer.parameters["mean"])
    weight = layer.parameters["weight"]
    if layer.op == "conv_transpose":
        return weight.shape[0]
    return weight.shape[1] * int(layer.attributes.get("groups", 1))


def _scaled(layer: Node, factor: Tensor, inputs: bool) -> Tensor:
    """Return a layer's weights, each times the factor of its output (or input) channel."""
    if layer.op == "batch_norm":
        own = layer.parameters.get("weight")
        return factor if own is None else own.double() * factor
    weight = layer.parameters["weight"].double()
    groups = int(layer.attributes.get("groups", 1))
    # (groups, first axis of a group, second axis of a group, taps)
    parts = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    along_first = inputs == (layer.op == "conv_transpose")
    factors = factor.reshape(groups, -1, 1, 1) if along_first else factor.reshape(groups, 1, -1, 1)
    return (parts * factors).reshape(weight.shape)


def to_channels(
    value: Tensor, path: Sequence[Node], shape: Sequence[int], axis: int, end: Sequence[int], fill: float = 0.0
) -> Tensor | None:
    """Trace numbers at the end of a path of moves and pools back to the channels that they belong to.

    Args:
        value: stored numbers that broadcast to ``end``.
        path: the nodes from a layer's result to there, from ``MOVES`` and ``POOLS``.
        shape, axis: of the layer's result, and where its channels lie.
        end: shape behind the path.
        fill: for channels of which nothing is left.

    Returns:
        A vector (C,), so that all positions of one channel hold its number; what stands at padded borders is ignored.
        None where the numbers differ within a channel.
    """
    if not path:
        return per_channel(value, end, axis)
    places = _channels_behind(path, shape, axis)
    if places is None:
        return None
    here, inside = spread(value.double(), end).reshape(-1), places > 0
    vector = torch.full((shape[axis] + 1,), fill, dtype=torch.float64)
    vector[places] = here
    if bool((vector[places] != here)[inside].any()):
        return None
    return vector[1:]


def borders(path: Sequence[Node], shape: Sequence[int]) -> bool:
    """Whether a path of moves and pools puts zeros beside values, so that a shift before it is none behind it."""
    if not path:
        return False
    value = torch.ones(tuple(shape), dtype=torch.float64)
    for node in path:
        value = run_on(node, value)
    return bool((value != value.reshape(-1)[0]).any())


def gain(path: Sequence[Node], shape: Sequence[int]) -> float:
    """Return what a path without borders makes of the number 1: 1, but for sums."""
    value = torch.ones(tuple(shape), dtype=torch.float64)
    for node in path:
        value = run_on(node, value)
    return float(value.reshape(-1)[0])


def _channels_behind(path: Sequence[Node], shape: Sequence[int], axis: int) -> Tensor | None:
    """Return, for every position behind a path, 1 + its channel, 0 for a padded border; None where channels mix."""
    numbers = torch.arange(1, shape[axis] + 1, dtype=torch.float64)
    value = numbers.reshape(-1, *[1] * (-axis - 1)).expand(tuple(shape))
    for node in path:
        if not is_linear_pad(node):
            return None
        if node.op in MOVES:
            value = run_on(node, value)
            continue
        weights = run_on(node, (value > 0).double())
        mean = run_on(node, value) / weights.clamp(min=1e-30)
        square = run_on(node, value * value) / weights.clamp(min=1e-30)
        if bool(((square - mean * mean).abs() > 1e-6 * (1 + square)).any()):
            return None
        value = torch.where(weights > 0, mean.round(), torch.zeros_like(mean))
    return value.reshape(-1).long()
