"""Quantisers, and weights on a grid on which sums have no rounding error.

A quantiser turns values into codes n = clip(⌊y/s + ½⌋, low, high). Its scale moves into the weights that read the
codes, and these are rounded to a power of two per output channel, as fine as it may be while no sum of weights times
codes, and no part of it, can leave the whole numbers that the type of floating-point numbers holds: 2^24 of the grid's
steps in float32, 2^53 in float64. So sums are those of integers, in any order, and two ways to add up the same events
give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compiler.converting.places import Places
from compiler.graph import Graph, Node, operation
from snnkit.errors import InvalidArgumentError

BITS = {torch.float32: 24, torch.float64: 53}
"""Whole numbers that floating-point numbers hold exactly: up to 2^bits."""


@dataclass(frozen=True)
class Quantiser:
    """Codes of one signal: its scale, a tensor () or of one value a channel that broadcasts, and its bounds."""

    signal: str
    scale: Tensor
    low: int
    high: int

    @property
    def width(self) -> int:
        """The largest event, and the most that codes can differ: high − low levels."""
        return self.high - self.low


Quantisers = Mapping[str, Quantiser]


def rounded(node: Node, quantiser: Quantiser, dtype: torch.dtype) -> Node:
    """Return a layer that reads codes: the scale in its weights, weights and bias on the exact grid.

    Raises:
        InvalidArgumentError: weights that are no numbers.
    """
    weight = _with_scale(node, quantiser.scale.double())
    bias = node.parameters["bias"].double() if "bias" in node.parameters else None
    reach = _over_inputs(node, weight.abs()) * quantiser.width
    step = _step(node.name, reach if bias is None else reach + bias.abs(), BITS[dtype])
    parameters = {"weight": _onto(weight, _per_output(node, step, weight)).to(dtype)}
    if bias is not None:
        parameters["bias"] = _onto(bias, step).to(dtype)
    return replace(node, parameters=parameters)


def rounded_operand(graph: Graph, node: Node, stored: str, quantiser: Quantiser, dtype: torch.dtype) -> Tensor:
    """Return the stored operand of a product, with the scale of the codes that it meets, on one exact grid."""
    producer = graph.producer(stored)
    assert producer is not None
    value = producer.parameters["value"].double() * quantiser.scale.double()
    full = [
        value.abs()[None] if name == stored else torch.full((1, *graph.shape(name)), float(quantiser.width)).double()
        for name in node.inputs
    ]
    (reach,) = operation(node.op).run(node, *full)
    return _onto(value, _step(node.name, reach.max(), BITS[dtype])).to(dtype)


def exact_product(graph: Graph, node: Node, left: Quantiser, right: Quantiser, dtype: torch.dtype) -> bool:
    """Whether no sum of products of codes can leave the whole numbers that ``dtype`` holds."""
    return terms(graph, node) * _size(left) * _size(right) <= int(2 ** BITS[dtype])


def terms(graph: Graph, node: Node) -> int:
    """Return how many products are added up to one value of a matmul, an einsum or a product value by value."""
    shapes = [graph.shape(name) for name in node.inputs]
    if node.op == "matmul":
        return shapes[0][-1]
    if node.op == "einsum":
        left, right = node.attributes["equation"].split("->")
        sizes: dict[str, int] = {}
        for term, shape in zip(left.split(","), shapes, strict=True):
            for letter, size in zip(term, shape, strict=True):
                sizes[letter] = max(size, sizes.get(letter, 1))
        return math.prod(size for letter, size in sizes.items() if letter not in right)
    return 1


def _size(quantiser: Quantiser) -> int:
    return max(abs(quantiser.low), abs(quantiser.high))


def check_exact(graph: Graph, places: Places, quantisers: Quantisers, dtype: torch.dtype) -> None:
    """Raise InvalidArgumentError where a product of two signals has more terms than are exact in ``dtype``."""
    for node in graph:
        if places.role(node) != "product":
            continue
        left, right = (quantisers[places.origin(name)] for name in node.inputs)
        if not exact_product(graph, node, left, right, dtype):
            count = terms(graph, node) * _size(left) * _size(right)
            raise InvalidArgumentError(
                f"{node.name} ({node.op}) adds up to {count} levels, more than {dtype} holds exactly "
                f"(2^{BITS[dtype]}). Convert the model in float64, or use fewer levels."
            )


def _with_scale(node: Node, scale: Tensor) -> Tensor:
    """Return a layer's weights times the scale of its input, one number or one a channel."""
    weight = node.parameters["weight"].double()
    if scale.numel() == 1:
        return weight * scale.reshape(())
    scale = scale.reshape(-1)
    if node.op == "linear":
        return weight * scale
    kernel = [1] * (weight.ndim - 2)
    if node.op == "conv_transpose":
        return weight * scale.reshape(-1, 1, *kernel)
    groups = node.attributes["groups"]
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return (split * scale.reshape(groups, 1, -1, *kernel)).reshape(weight.shape)


def _over_inputs(node: Node, weight: Tensor) -> Tensor:
    """Add up a layer's weights over all that reaches an output channel: (O,)."""
    if node.op != "conv_transpose":
        return weight.flatten(1).sum(1)
    groups = node.attributes["groups"]
    return weight.flatten(2).sum(2).reshape(groups, -1, weight.shape[1]).sum(1).flatten()


def _per_output(node: Node, step: Tensor, weight: Tensor) -> Tensor:
    """Lay out one number an output channel so that it broadcasts over the weights."""
    if node.op != "conv_transpose":
        return step.reshape(-1, *[1] * (weight.ndim - 1))
    groups = node.attributes["groups"]
    inputs = weight.shape[0] // groups
    spread = step.reshape(groups, 1, -1).expand(groups, inputs, -1)
    return spread.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))


def _step(name: str, reach: Tensor, bits: int) -> Tensor:
    """Return the finest power of two of which sums up to ``reach``, of rounded weights, hold at most 2^bits."""
    if not bool(torch.isfinite(reach).all()):
        raise InvalidArgumentError(f"{name} has weights that are not finite.")
    # One bit of room: rounding moves each weight by half a step, and a sum of many by more.
    _, exponent = torch.frexp(reach)
    return torch.ldexp(torch.ones_like(reach), torch.where(reach > 0, exponent - bits + 1, torch.zeros_like(exponent)))


def _onto(value: Tensor, step: Tensor) -> Tensor:
    return torch.round(value / step) * step
