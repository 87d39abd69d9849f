"""Gates: what feeds a population that is an AND or an OR of spikes.

With as much decay as there is, a neuron keeps nothing of a step: it fires where enough spikes come at once. Every input
weighs the same, w; an AND of two needs 2·w, an OR w. What must be silent (1 minus a spike) weighs −w and is not waited
for.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import replace

import numpy as np
import torch

from compiler.analysis.currents import terms
from compiler.graph import Graph, Node, operation
from compiler.targets.loihi.links import Link, everything, link_of, sums_of


def gate_links(graph: Graph, node: Node, kind: str, stops: Container[str], chip: str) -> tuple[tuple[Link, ...], int]:
    """Return the links of a gate, whose weights are all 1 or −1, and how many spikes at once it takes to fire.

    ``node``: a product or a maximum of spikes (``plan.GATES``); ``stops``: signals at which paths begin.
    """
    links: list[Link] = []
    needed = 2 if kind == "and" else 1
    for signal in node.inputs:
        found = terms(graph, signal, node.name, chip, stops)
        needed -= any(term.factor < 0 for term in found)
        for term in found:
            picked = link_of(graph, term, graph.shape(signal), node.name, chip).before
            first = Link(node.name, term.source, picked, "scale", _ones(), picked.shape, everything(picked.shape))
            first = replace(first, delay=term.delay, weight=_ones() * term.factor)
            links.append(_spread(first, graph.shape(node.output)) if len(node.inputs) > 1 else _gathered(node, first))
    return tuple(links), needed


def _ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.float64)


def _spread(link: Link, shape: tuple[int, ...]) -> Link:
    """Broadcast one operand to the shape of the result."""
    picked = np.broadcast_to(link.before, shape)
    return replace(link, before=picked, middle=shape, after=everything(shape))


def _gathered(node: Node, link: Link) -> Link:
    """Let every window of a maximum read what lies in it."""
    shape, a = link.before.shape, node.attributes
    if node.op == "max_pool" and not a["ceil_mode"]:
        rank = len(a["kernel_size"])
        channels = shape[-rank - 1]
        settings = {"stride": a["stride"], "padding": a["padding"], "dilation": a["dilation"], "groups": channels}
        outside = tuple(
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, pad, dilation, kernel, stride in zip(
                shape[-rank:], a["padding"], a["dilation"], a["kernel_size"], a["stride"], strict=True
            )
        )
        middle = (*shape[:-rank], *outside)
        weight = _ones(channels, 1, *a["kernel_size"])
        return replace(link, op="conv", weight=weight, middle=middle, after=everything(middle), attributes=settings)
    result, reached = _reached(node, shape)
    picked = np.full((len(reached), max(len(row) for row in reached)), -1, np.int64)
    for index, row in enumerate(reached):
        picked[index, : len(row)] = link.before.ravel()[row]
    return sums_of(replace(link, before=picked), result)


_ASKED = 256
"""So many values at once are asked for where they go."""


def _reached(node: Node, shape: tuple[int, ...]) -> tuple[tuple[int, ...], list[list[int]]]:
    """Return the shape of a maximum's result and what each value of it looks at, found by asking the operation."""
    size, found, result = math.prod(shape), [], shape
    for start in range(0, size, _ASKED):
        one_hot = torch.zeros(min(_ASKED, size - start), size, dtype=torch.float64)
        one_hot[:, start:].fill_diagonal_(1.0)
        (out,) = operation(node.op).run(node, one_hot.reshape(-1, *shape))
        result = tuple(out.shape[1:])
        found.append((out.flatten(1) > 0).nonzero() + torch.tensor([start, 0]))
    pairs = torch.cat(found)
    rows: list[list[int]] = [[] for _ in range(math.prod(result))]
    for value, place in pairs.tolist():
        rows[place].append(value)
    return result, rows
