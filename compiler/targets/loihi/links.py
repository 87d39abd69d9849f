"""Links: the summands of a current in one form, source → selection → layer → selection.

A selection says for each value which one it is taken from (−1: none). Averages become convolutions or merge into the
layer beside them (``averages``); what only moves values becomes part of a selection.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compiler.analysis.currents import NOTHING, Hop, Term, terms, through
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node, operation
from compiler.targets.loihi.averages import as_convolution, joined

Ints = NDArray[np.int64]

DENSE_LIMIT = 2**24
"""Largest number of weights that two layers in a row may be merged into."""


@dataclass(frozen=True, eq=False)
class Link:
    """A set of synapses: from the signal ``source``, whose values ``before`` selects, through one layer, and on.

    ``before`` has the shape of the layer's input, ``after`` that of the current, ``middle`` is the layer's output.
    ``op`` is "conv", "conv_transpose", "linear" or "scale" with its ``attributes`` and ``weight`` (float64);
    ``name`` is the node's. The source's values are from ``delay`` steps ago and lie in ``levels``.
    """

    name: str
    source: str
    before: Ints
    op: str
    weight: Tensor
    middle: tuple[int, ...]
    after: Ints
    attributes: Mapping[str, Any] = field(default_factory=dict)
    delay: int = 0
    levels: tuple[int, int] = (0, 1)

    @property
    def exponent(self) -> int:
        """Shift of the integer sum (of a quantised graph)."""
        return int(self.attributes.get("weight_exponent", 0))

    @property
    def most(self) -> float:
        """The largest magnitude of what comes."""
        return float(max(-self.levels[0], self.levels[1], 0))

    def node(self, weight: Tensor) -> Node:
        """Return the layer as a node with these weights."""
        return Node(self.name, self.op, ("",), (self.name,), self.attributes, {"weight": weight})

    def run(self, weight: Tensor, x: Tensor) -> Tensor:
        """Send ``x``, of the source's shape, through the link with other weights: the current, without shift."""
        plain = {key: value for key, value in self.attributes.items() if key != "weight_exponent"}
        node = replace(self.node(weight), attributes=plain)
        (y,) = operation(self.op).run(node, _select(x.reshape(-1), self.before).unsqueeze(0))
        return _select(y.reshape(-1), self.after)

    def reach(self, weight: Tensor, sources: int) -> tuple[Tensor, Tensor]:
        """Return the lowest (≤ 0) and highest (≥ 0) current of each neuron, over all spikes of ``sources`` neurons."""
        ones = torch.ones(sources, dtype=weight.dtype)
        down, up = self.run(weight.clamp(max=0), ones), self.run(weight.clamp(min=0), ones)
        low, high = min(self.levels[0], 0), max(self.levels[1], 0)
        return down * high + up * low, up * high + down * low


def _select(values: Tensor, picked: Ints) -> Tensor:
    """Return ``values`` (flat) where ``picked`` says, 0 at −1."""
    padded = torch.cat([values, values.new_zeros(1)])
    return padded[torch.from_numpy(picked)]


def links(
    graph: Graph, signal: str, reader: str, chip: str = "a chip", stops: Container[str] = NOTHING
) -> tuple[Link, ...]:
    """Return the summands of ``signal``; ``reader`` names the neuron or output it feeds, ``stops`` where paths begin.

    Raises:
        CompileError: there is an operation between two neurons that a set of synapses cannot do.
    """
    shape = graph.shape(signal)
    return tuple(link_of(graph, term, shape, reader, chip) for term in terms(graph, signal, reader, chip, stops))


def link_of(graph: Graph, term: Term, shape: tuple[int, ...], reader: str, chip: str = "a chip") -> Link:
    """Return one summand of a current of ``shape`` as a link.

    Raises:
        CompileError: a set of synapses cannot do it.
    """
    kind = graph.type(term.source)
    levels = (kind.low, kind.high) if kind.is_event else (0, 1)
    link = _link(graph, term, shape, reader, chip)
    # What travels is a level, a whole number; what it stands for is in the weights.
    weight = link.weight * float(kind.scale) if kind.is_event else link.weight
    return replace(link, weight=weight, delay=term.delay, levels=levels)


def _link(graph: Graph, term: Term, shape: tuple[int, ...], reader: str, chip: str) -> Link:
    source = graph.shape(term.source)
    weighing = [i for i, hop in enumerate(term.path) if hop.weighs]
    if not weighing:
        picked = _selected(graph, term.path, source, reader, chip)
        weight = torch.tensor(term.factor, dtype=torch.float64)
        return Link(f"{reader}.shortcut", term.source, picked, "scale", weight, shape, everything(shape))
    first, last = weighing[0], weighing[-1]
    layer = _as_layer(graph, term.path[first : last + 1])
    if layer is None:
        return _summed(graph, term, shape, reader) or _merged(graph, term, shape, reader, chip)
    middle = graph.shape(term.path[last].node.output)
    return Link(
        name=_name(term, reader),
        source=term.source,
        before=_selected(graph, term.path[:first], source, reader, chip),
        op=layer.op,
        weight=layer.parameters["weight"].double() * term.factor,
        middle=middle,
        after=_selected(graph, term.path[last + 1 :], middle, reader, chip),
        attributes=layer.attributes,
    )


def sums_of(link: Link, shape: tuple[int, ...]) -> Link:
    """Return a link that sums up what each row (n,) of ``link.before`` (N, n) selects, in equal parts, as ``shape``."""
    rows, width = link.before.shape
    weight = torch.ones(1, width, dtype=torch.float64)
    return replace(link, op="linear", weight=weight, middle=(rows, 1), after=everything(shape), attributes={})


def _summed(graph: Graph, term: Term, shape: tuple[int, ...], reader: str) -> Link | None:
    """Return a path of sums (or averages) of disjoint sets of values as one link, None where it is another path."""
    if any(operation(hop.node.op).kind == "synapse" for hop in term.path):
        return None
    source, count = graph.shape(term.source), math.prod(shape)
    with torch.enable_grad():
        x = torch.zeros(1, *source, dtype=torch.float64, requires_grad=True)
        y = through(graph, term.path, x).reshape(-1)
        numbers = torch.arange(1, count + 1, dtype=torch.float64)
        weight = torch.autograd.grad(y, x, torch.ones_like(y), retain_graph=True)[0].reshape(-1)
        place = torch.autograd.grad(y, x, numbers, retain_graph=True)[0].reshape(-1)
        check = torch.autograd.grad(y, x, numbers.square())[0].reshape(-1)
    value = float(weight.abs().max())
    used = weight != 0
    target = (place[used] / value).round()
    if not value or not bool(torch.isclose(weight[used], weight.new_tensor(value), rtol=1e-12).all()):
        return None
    if not bool(torch.isclose(check[used] / value, target.square(), rtol=1e-9).all()):
        return None  # some value goes to two sums
    sources, targets = used.nonzero()[:, 0].numpy(), target.long().numpy() - 1
    order = np.argsort(targets, kind="stable")
    sources, targets = sources[order], targets[order]
    sizes = np.bincount(targets, minlength=count)
    column = np.arange(len(targets)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    picked = np.full((count, int(sizes.max())), -1, np.int64)
    picked[targets, column] = sources
    name = _name(term, reader)
    link = Link(name, term.source, picked, "linear", torch.ones(1), shape, everything(shape))
    link = sums_of(link, shape)
    return replace(link, weight=link.weight * value * term.factor)


def _as_layer(graph: Graph, path: tuple[Hop, ...]) -> Node | None:
    """Return layers and averages in a row as one layer, None where that takes a matrix."""
    nodes = [hop.node for hop in path]
    shapes = [graph.shape(hop.node.inputs[hop.position]) for hop in path]
    if len(path) == 1:
        return nodes[0] if operation(nodes[0].op).kind == "synapse" else as_convolution(nodes[0], shapes[0])
    merged: Node | None = nodes[0]
    for node, shape in zip(nodes[1:], shapes[1:], strict=True):
        merged = None if merged is None else joined(merged, node, shapes[0], shape)
    return merged


def _merged(graph: Graph, term: Term, shape: tuple[int, ...], reader: str, chip: str) -> Link:
    """Return several layers in a row (at most one of them more than an average) as one linear layer."""
    source = math.prod(graph.shape(term.source))
    target = math.prod(shape)
    names = " and ".join(hop.node.name for hop in term.path if hop.weighs)
    if source * target > DENSE_LIMIT:
        limit = f"{chip} weighs a spike once, and merging these would give {source:,} × {target:,} weights"
        raise CompileError(Violation(reader, f"{names} in a row", f"{limit}; put a neuron between them"))
    weight = _jacobian(graph, term, source, target) * term.factor
    name = _name(term, reader)
    return Link(name, term.source, everything((source,)), "linear", weight, (target,), everything(shape))


def _jacobian(graph: Graph, term: Term, sources: int, targets: int) -> Tensor:
    """Return the matrix (targets, sources) of a linear path, backwards from its outputs where they are fewer."""
    shape = graph.shape(term.source)
    trains = torch.is_grad_enabled() and any(p.requires_grad for hop in term.path for p in hop.node.parameters.values())
    if targets < sources:
        with torch.enable_grad():
            x = torch.zeros(1, *shape, dtype=torch.float64, requires_grad=True)
            y = through(graph, term.path, x).reshape(-1)
            # Weights on the way that train get their gradients through this matrix.
            rows = [
                torch.autograd.grad(y[i], x, retain_graph=True, create_graph=trains)[0].reshape(-1)
                for i in range(targets)
            ]
        return torch.stack(rows)
    columns = []
    for start in range(0, sources, 256):
        one_hot = torch.zeros(min(256, sources - start), sources, dtype=torch.float64)
        one_hot[:, start:].fill_diagonal_(1.0)
        columns.append(through(graph, term.path, one_hot.reshape(-1, *shape)).reshape(-1, targets))
    return torch.cat(columns).T.contiguous()


def _name(term: Term, reader: str) -> str:
    """Name a link after the layer it stands for."""
    layers = [hop.node.name for hop in term.path if operation(hop.node.op).kind == "synapse"]
    return layers[0] if layers else f"{reader}.average"


def everything(shape: tuple[int, ...]) -> Ints:
    """Return the selection that takes every value where it stands."""
    return np.arange(math.prod(shape)).reshape(shape)


def _selected(graph: Graph, path: tuple[Hop, ...], shape: tuple[int, ...], reader: str, chip: str) -> Ints:
    """Return which value of a signal of ``shape`` stands where behind a path that only moves values; −1 is none."""
    if not path:
        return everything(shape)
    numbers = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).reshape(1, *shape)
    picked: Ints = through(graph, path, numbers)[0].round().long().numpy() - 1
    # Whoever says that it only moves values is believed when it moves others the same way.
    test = torch.cos(numbers)
    moved = through(graph, path, test)[0]
    if not torch.equal(moved, _select(test.reshape(-1), picked)):
        names = ", ".join(f"{hop.node.name} ({hop.node.op})" for hop in path)
        limit = f"{chip} has sums of convolutions, linear layers, averages and shortcuts between two neurons"
        raise CompileError(Violation(reader, f"{names} before it, which mixes values", limit))
    return picked
