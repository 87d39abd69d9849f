"""Compute what is known, and leave out what does nothing.

A node that reads stored numbers only becomes stored numbers. Moves that move nothing, scales by 1, sums with 0 and
means over one value go; a reshape of a reshape, a permutation of a permutation and a scale of a scale become one.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from compiler.graph import Graph, Node, operation, operations
from compiler.graph.graph import doubled
from compiler.passes.linear_maps import is_plain
from compiler.rewriting import Draft, Match, Rule, pattern, rewrite

LARGEST = 2**22
"""Values that a node may store beyond those it was made from: copies are better made when they are needed."""


def fold_constants(graph: Graph) -> Graph:
    """Return the graph without nodes whose result is known or is what they read."""
    return rewrite(graph, RULES)


def _known(match: Match, draft: Draft) -> str | None:
    node, values = match.root, [draft.value(name) for name in match.root.inputs]
    given = [value for value in values if value is not None]
    if len(given) != len(values) or len(node.outputs) != 1:
        return None
    if draft.signals[node.output].size > LARGEST + sum(value.numel() for value in given):
        return None
    return draft.change(node, op="constant", inputs=(), attributes={}, parameters={"value": _computed(node, given)})


def _computed(node: Node, values: list[Tensor]) -> Tensor:
    """Return a node's result of stored numbers: computed in float64, in the type that it would have."""
    floats = [v.dtype for v in (*values, *node.parameters.values()) if v.is_floating_point()]
    wide = [(v.double() if v.is_floating_point() else v).unsqueeze(0) for v in values]
    result = operation(node.op).run(doubled(node), *wide)[0][0]
    if not result.is_floating_point() or not floats:
        return result
    narrow = floats[0]
    for dtype in floats[1:]:
        narrow = torch.promote_types(narrow, dtype)
    return result.to(narrow)


def _nothing(match: Match, draft: Draft) -> str | None:
    """The node's input, where the node gives back just that."""
    node = match.root
    x = node.inputs[0]
    return x if draft.shape(x) == draft.shape(node.output) and _does_nothing(node, draft) else None


def _does_nothing(node: Node, draft: Draft) -> bool:
    """Whether a node whose result has the shape of its first input does nothing to it."""
    a, shape = node.attributes, draft.shape(node.inputs[0])
    if node.op in ("identity", "reshape", "expand"):
        return True
    if node.op == "slice":
        return bool(a["step"] == 1)
    if node.op == "permute":
        axes = [axis % len(shape) for axis in a["axes"]]
        kept = [axis for axis in axes if shape[axis] > 1]
        return len(axes) == len(shape) and kept == sorted(kept)
    if node.op == "pad":
        return not any(a["amounts"])
    if node.op == "roll":
        return all(shift % shape[axis] == 0 for shift, axis in zip(a["shifts"], a["axes"], strict=True))
    if node.op in ("take", "rearrange"):
        index = node.parameters["index"].reshape(-1)
        return bool((index == torch.arange(len(index))).all())
    if node.op == "concat":
        return len(node.inputs) == 1
    if node.op in ("mean", "sum"):
        return all(shape[axis] == 1 for axis in a["axes"])
    if node.op == "adaptive_avg_pool":
        return True
    return node.op == "scale" and is_plain(node) and bool((node.parameters["weight"] == 1).all())


def _plus_nothing(match: Match, draft: Draft) -> str | None:
    node = match.root
    for x, other in (node.inputs, node.inputs[::-1]):
        value = draft.value(other)
        first = x == node.inputs[0] or node.op == "add"
        if first and value is not None and draft.shape(x) == draft.shape(node.output) and not bool(value.any()):
            return x
    return None


def _reshaped_twice(match: Match, draft: Draft) -> str | None:
    return draft.change(match.root, inputs=match["first"].inputs)


def _flat_mean(match: Match, draft: Draft) -> str | None:
    """A mean or sum over axes of one value is a reshape."""
    node, x = match.root, match.root.inputs[0]
    if any(draft.shape(x)[axis] != 1 for axis in node.attributes["axes"]):
        return None
    return draft.change(node, op="reshape", attributes={"shape": draft.shape(node.output)})


def _permuted_twice(match: Match, draft: Draft) -> str | None:
    node, first = match.root, match["first"]
    rank = len(draft.shape(node.output))
    if len(node.attributes["axes"]) != rank or len(first.attributes["axes"]) != rank:
        return None
    inner = [axis % rank - rank for axis in first.attributes["axes"]]
    axes = tuple(inner[axis % rank] for axis in node.attributes["axes"])
    return draft.change(node, inputs=first.inputs, attributes={"axes": axes})


def _scaled_twice(match: Match, draft: Draft) -> str | None:
    node, first = match.root, match["first"]
    weight = node.parameters["weight"]
    product = (first.parameters["weight"].double() * weight.double()).to(weight.dtype)
    return draft.change(node, inputs=first.inputs, parameters={"weight": product})


def _times_stored(match: Match, draft: Draft) -> str | None:
    """A product with stored numbers is a scale, where the other operand has the result's shape."""
    node = match.root
    for x, other in (node.inputs, node.inputs[::-1]):
        value = draft.value(other)
        if value is not None and value.is_floating_point() and draft.shape(x) == draft.shape(node.output):
            return draft.change(node, op="scale", inputs=(x,), parameters={"weight": value})
    return None


def _divided_by_stored(match: Match, draft: Draft) -> str | None:
    """A real signal divided by stored numbers is a scale; events keep the exact fraction of the division."""
    node, value = match.root, draft.value(match.root.inputs[1])
    x = node.inputs[0]
    if value is None or not value.is_floating_point() or draft.shape(x) != draft.shape(node.output):
        return None
    if draft.type(x).is_event or not bool((value != 0).all()):
        return None
    weight = (1 / value.double()).to(value.dtype)
    return draft.change(node, op="scale", inputs=(x,), parameters={"weight": weight})


def _computable() -> list[str]:
    """Return the operations that give one result and have no memory."""
    table: Mapping[str, object] = operations()
    return [name for name in table if operation(name).kind not in ("constant", "neuron")]


def _after(op: str, *, alone: bool = True) -> Rule:
    makers = {"reshape": _reshaped_twice, "permute": _permuted_twice, "scale": _scaled_twice}
    first = pattern(op, name="first", alone=alone, where=is_plain)
    return Rule(f"one {op} for two", pattern(op, first, where=is_plain), makers[op])


_IDLE = (
    "identity",
    "reshape",
    "expand",
    "slice",
    "permute",
    "pad",
    "roll",
    "take",
    "rearrange",
    "concat",
    "mean",
    "sum",
    "adaptive_avg_pool",
    "scale",
)

RULES = (
    Rule("compute what is known", pattern(_computable()), _known),
    Rule("leave out what does nothing", pattern(_IDLE), _nothing),
    Rule("leave out sums with 0", pattern(("add", "sub")), _plus_nothing),
    # A reshape or permutation is free, so that it need not wait until nobody else reads the one before.
    _after("reshape", alone=False),
    _after("permute", alone=False),
    _after("scale"),
    Rule("a mean of one value", pattern(("mean", "sum")), _flat_mean),
    Rule("a product with stored numbers", pattern("mul"), _times_stored),
    Rule("a quotient by stored numbers", pattern("div"), _divided_by_stored),
)
