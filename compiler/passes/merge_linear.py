"""Merge what is linear between two neurons, so that there is one set of synapses where there can be one.

Average (and sum) pools go into the layer that follows: pool → conv is one convolution of larger stride, pool → reshape
→ linear one linear layer on the unpooled signal. Layers in a row become one (see ``merge_layers``). Sums become a list:
added from the left, in the order in which their terms are computed, stored numbers last. All is exact; what cannot be
merged is left as it is.

For the compiler: no part of the pipeline, since a merged layer may have many more weights, and fewer names.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.analysis.types import infer_signals
from compiler.graph import Graph, Node
from compiler.passes.linear_maps import input_channels, is_linear_pad, is_plain, run_on
from compiler.passes.merge_layers import merged_conv, rules
from compiler.rewriting import Draft, Match, Rule, pattern, rewrite

MOVED = ("reshape", "permute", "slice", "take", "roll", "rearrange", "pad")


def merge_linear(graph: Graph, growth: float = math.inf) -> Graph:
    """Return the graph with pools and layers merged and sums as lists, typed anew.

    Args:
        graph: any graph.
        growth: how many times the multiply-accumulates of two layers a merged one may have; pools always merge.
    """
    return infer_signals(rewrite(graph, (*_POOLS, *rules(growth), _SUMS)))


# Pools.


def _is_even(pool: Node) -> bool:
    """Whether all windows divide by the same number."""
    a = pool.attributes
    return not a["ceil_mode"] and bool(a["count_include_pad"] or a["divisor"] or not any(a["padding"]))


def _divisor(pool: Node) -> int:
    return int(pool.attributes["divisor"] or math.prod(pool.attributes["kernel_size"]))


def _pooled_conv(match: Match, draft: Draft) -> str | None:
    conv, pool = match.root, match["pool"]
    a, weight = pool.attributes, conv.parameters["weight"]
    rank, channels = len(a["kernel_size"]), input_channels(conv)
    if weight.ndim != rank + 2:
        return None
    window = torch.full((channels, 1, *a["kernel_size"]), 1 / _divisor(pool), dtype=torch.float64)
    settings = {"stride": a["stride"], "padding": a["padding"], "dilation": (1,) * rank, "groups": channels}
    first = Node(pool.name, "conv", pool.inputs, pool.outputs, settings, {"weight": window})
    merged = merged_conv(conv, first, draft.shape(pool.inputs[0]), draft.shape(pool.output))
    if merged is None:
        return None
    return draft.change(conv, inputs=pool.inputs, attributes=merged.attributes, parameters=merged.parameters)


def _pooled_linear(match: Match, draft: Draft) -> str | None:
    linear, pool, path = match.root, match["pool"], match.path("pool")
    shape, rank = draft.shape(pool.inputs[0]), len(pool.attributes["kernel_size"])
    if len(draft.shape(linear.inputs[0])) != 1 or not all(is_linear_pad(node) for node in path):
        return None
    small = _before_moves(linear.parameters["weight"].double(), path, draft.shape(pool.output))
    weight = _unpooled(small, pool, shape, rank).to(linear.parameters["weight"].dtype)
    flat = {"shape": (math.prod(shape),)}
    if path:
        made = draft.change(path[-1], op="reshape", inputs=pool.inputs, attributes=flat, parameters={}, resized=True)
    else:
        made = draft.add("reshape", pool.inputs, flat, like=pool)
    return draft.change(linear, inputs=(made,), parameters={**linear.parameters, "weight": weight})


def _before_moves(weight: Tensor, path: tuple[Node, ...], shape: tuple[int, ...]) -> Tensor:
    """Return weights (O, N) behind moves as weights (O, *shape) before them."""
    size = math.prod(shape)
    places = torch.arange(1, size + 1, dtype=torch.float64).reshape(shape)
    for node in path:
        places = run_on(node, places)
    spread = torch.zeros(len(weight), size + 1, dtype=torch.float64)
    spread.index_add_(1, places.reshape(-1).long(), weight)
    return spread[:, 1:].reshape(len(weight), *shape)


def _unpooled(weight: Tensor, pool: Node, shape: tuple[int, ...], rank: int) -> Tensor:
    """Return weights (O, *pooled shape) as weights (O, N) of the N unpooled values; those that no window sees get 0."""
    a = pool.attributes
    window = torch.full((1, 1, *a["kernel_size"]), 1 / _divisor(pool), dtype=torch.float64)
    transpose = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
    made = transpose(weight.reshape(-1, 1, *weight.shape[-rank:]), window, None, a["stride"])
    # Cut off the padded border, and add what the last window does not reach.
    amounts = [
        amount
        for size, pad, own in zip(shape[-rank:], a["padding"], made.shape[2:], strict=True)
        for amount in (size + pad - own, -pad)
    ]
    made = F.pad(made, tuple(reversed(amounts)))
    return made.reshape(len(weight), -1)


_POOL = pattern("avg_pool", name="pool", where=_is_even, alone=True, through=MOVED)
_POOLS = (
    Rule(
        "a pool into a convolution",
        pattern("conv", pattern("avg_pool", name="pool", where=_is_even, alone=True), where=is_plain),
        _pooled_conv,
    ),
    Rule("a pool into a linear layer", pattern("linear", _POOL, where=is_plain), _pooled_linear),
)


# Sums.


def _listed(match: Match, draft: Draft) -> str | None:
    """Add the terms of nested sums from the left, in the order in which they are computed, stored numbers last."""
    root = match.root
    if draft.alone(root.output) and draft.readers(root.output)[0].op == "add":
        return None  # part of a larger sum
    sums, terms = _terms(root, draft)
    shape = draft.shape(root.output)
    if len(sums) < 2 or any(draft.shape(node.output) != shape for node in sums):
        return None
    if any(draft.shape(term) != shape and draft.value(term) is None for term in terms):
        return None
    ordered = sorted(terms, key=lambda term: (draft.value(term) is not None, draft.position(term)))
    if draft.shape(ordered[0]) != shape:
        return None
    sums.sort(key=lambda node: draft.position(node.output))
    total, changes = ordered[0], []
    for node, term in zip(sums, ordered[1:], strict=True):
        changes.append((node, (total, term)))
        total = node.output
    if all(node.inputs == inputs for node, inputs in changes):
        return None
    for node, inputs in changes:
        draft.change(node, inputs=inputs)
    return root.output


def _terms(root: Node, draft: Draft) -> tuple[list[Node], list[str]]:
    """Return the sums that make up a sum, and what they add."""
    sums, terms, waiting = [root], [], list(root.inputs)
    while waiting:
        signal = waiting.pop(0)
        node = draft.producer(signal)
        if node is not None and node.op == "add" and draft.alone(signal):
            sums.append(node)
            waiting = [*node.inputs, *waiting]
        else:
            terms.append(signal)
    return sums, terms


_SUMS = Rule("sums as lists", pattern("add"), _listed)
