"""Where a network is quantised: at the input of everything in which a weight or a signal meets a signal.

Two kinds of signals follow from that. *Codes* lead from a quantiser to its readers: they consist of whole numbers, and
in a spiking network of events. All others are *values*, known as well as events have told so far. Between a quantiser
and its readers may lie moves that lose nothing (a window partition, heads): they are routing. So one quantiser serves
everybody who reads the same signal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from compiler.graph import Graph, Node, operation
from compiler.passes.linear_maps import is_linear_pad

WEIGHTS = ("conv", "conv_transpose", "linear")
PRODUCTS = ("matmul", "einsum", "mul")
_ROUTES = ("reshape", "permute", "roll", "identity", "expand")
_POSITIVE = ("relu", "sigmoid", "hardsigmoid", "softmax", "exp", "abs", "sqrt", "softplus")
_KEEP_SIGN = (
    "avg_pool",
    "max_pool",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "mean",
    "sum",
    "max",
    "resize",
    "concat",
)


@dataclass(frozen=True)
class Place:
    """A signal that is quantised: its name, who reads its codes, and whether it cannot be negative.

    ``axis`` is its channel axis (negative) where every reader meets the channels with weights of their own, so that
    each may have its own scale; None elsewhere.
    """

    signal: str
    readers: tuple[str, ...]
    positive: bool
    axis: int | None


class Places:
    """What in a graph becomes codes and what stays a value.

    Args:
        graph: an ordinary network, simplified, its attention split into products.
        spike_input: whether the network's input is sent as events too; else the layers that read it directly get the
            real numbers once.
        activation_codes: whether what leaves a ReLU or a clamp from 0 on becomes codes for everybody, also for sums and
            pools: then events are all that layers hand on, as on a chip. What is computed from the input's real
            numbers alone stays as it is.
    """

    def __init__(self, graph: Graph, spike_input: bool = False, activation_codes: bool = False):
        self.graph, self.spike_input, self.activation_codes = graph, spike_input, activation_codes
        self.moving: set[str] = set(graph.inputs)
        for node in graph:
            if any(name in self.moving for name in node.inputs):
                self.moving.update(node.outputs)

    def is_held(self, signal: str) -> bool:
        """Whether a signal is known to all of its readers as codes alone."""
        node = self.graph.producer(signal)
        if not self.activation_codes or node is None or signal not in self.moving - self._analog:
            return False
        return node.op == "relu" or (node.op == "clamp" and float(node.attributes["low"]) == 0.0)

    @cached_property
    def _analog(self) -> set[str]:
        """Signals that are computed before anything becomes codes."""
        found = set() if self.spike_input else set(self.graph.inputs)
        for node in self.graph:
            moving = [name for name in node.inputs if name in self.moving]
            if moving and self.role(node) == "value" and all(name in found for name in moving):
                found.update(node.outputs)
        return found

    def role(self, node: Node) -> str:
        """Return "weights", "stored" (a product with stored numbers), "product" or "value"."""
        moving = [name for name in node.inputs if name in self.moving]
        if node.op in WEIGHTS and moving:
            return "value" if self._reads_input(node.inputs[0]) else "weights"
        if node.op in PRODUCTS and len(node.inputs) == 2 and moving:
            if len(moving) == 2:
                return "product"
            if node.op != "mul":
                return "value" if self._reads_input(moving[0]) else "stored"
        return "value"

    def _reads_input(self, signal: str) -> bool:
        return not self.spike_input and self.origin(signal) in self.graph.inputs

    def origin(self, signal: str) -> str:
        """Return the signal that is quantised for those who read ``signal``: before the moves that lose nothing."""
        while (route := self.route(signal)) is not None:
            signal = route.inputs[0]
        return signal

    def route(self, signal: str) -> Node | None:
        """Return the move that ``signal`` comes from if codes can follow it, else None."""
        node = self.graph.producer(signal)
        return node if node is not None and _keeps_all(self.graph, node) else None

    @cached_property
    def all(self) -> Mapping[str, Place]:
        """Every place by its signal, in the order of the graph."""
        readers: dict[str, list[str]] = {}
        direct: dict[str, set[int | None]] = {}
        for node in self.graph:
            role = self.role(node)
            for name in dict.fromkeys(node.inputs):
                if name in self.moving and role != "value":
                    origin = self.origin(name)
                    readers.setdefault(origin, []).append(node.name)
                    axis = _channels(node) if role == "weights" and origin == name else None
                    direct.setdefault(origin, set()).add(axis)
            for name in node.outputs:
                if self.is_held(name):
                    readers.setdefault(name, [])
                    direct.setdefault(name, set()).add(None)  # one scale: sums read it beside layers
        order = {name: index for index, name in enumerate(self.graph.signals)}
        found = {}
        for signal in sorted(readers, key=order.__getitem__):
            axes = direct[signal]
            axis = next(iter(axes)) if len(axes) == 1 else None
            found[signal] = Place(signal, tuple(readers[signal]), _is_positive(self.graph, signal), axis)
        return found


def _keeps_all(graph: Graph, node: Node) -> bool:
    """Whether a node moves one signal and leaves out none of its values."""
    if node.op in _ROUTES:
        return True
    if node.op == "pad":
        # Values that are not copied or 0 would need codes of their own; negative amounts cut off.
        return (node.attributes["mode"] != "constant" or is_linear_pad(node)) and min(node.attributes["amounts"]) >= 0
    if node.op == "rearrange":
        index = node.parameters["index"]
        size = graph.signals[node.inputs[0]].size
        return index.numel() >= size and int(torch.unique(index[index >= 0]).numel()) == size
    return False


def _channels(node: Node) -> int:
    """Return the axis of the input along which a layer's weights differ."""
    return -1 if node.op == "linear" else 1 - node.parameters["weight"].ndim


def _is_positive(graph: Graph, signal: str) -> bool:
    """Whether a signal cannot be negative, as far as its operations tell."""
    node = graph.producer(signal)
    if node is None:
        return False
    if node.op in _POSITIVE:
        return True
    if node.op == "clamp":
        return bool(node.attributes["low"] >= 0)
    if node.op in _KEEP_SIGN or (operation(node.op).kind == "move" and node.op != "pad"):
        return all(_is_positive(graph, name) for name in node.inputs)
    if node.op in ("add", "mul", "maximum"):
        if node.op == "mul" and len(set(node.inputs)) == 1:
            return True
        return all(_is_positive(graph, name) for name in node.inputs)
    if node.op == "constant":
        return bool((node.parameters["value"] >= 0).all())
    return False
