"""Split attention into its products: softmax(q kᵀ · scale + mask) v as permute, matmul, scale, add, softmax, matmul."""

from __future__ import annotations

import torch

from compiler.graph import Graph, Node
from compiler.graph.builder import stored_dtype
from compiler.rewriting import Draft, Match, Rule, pattern, rewrite

_TRUTHS = frozenset(
    {"ge", "gt", "le", "lt", "eq", "ne", "logical_and", "logical_or", "logical_not", "logical_xor", "isnan"}
)


def split_attention(graph: Graph) -> Graph:
    """Return the graph with every attention as single steps; the last product keeps its name.

    A mask of truths says where a query may look; it becomes −∞ elsewhere. So does the causal mask, a stored one.
    """
    dtype = stored_dtype(graph)

    def split(match: Match, draft: Draft) -> str | None:
        return _split(match.root, draft, dtype)

    return rewrite(graph, [Rule("split attention", pattern("attention"), split)])


def _split(node: Node, draft: Draft, dtype: torch.dtype) -> str | None:
    q, k, v, *mask = node.inputs
    rank = len(draft.shape(k))
    axes = (*range(-rank, -2), -1, -2)
    keys = draft.add("permute", (k,), {"axes": axes}, name=f"{node.name}.keys", like=node)
    logits = draft.add("matmul", (q, keys), name=f"{node.name}.logits", like=node)
    scale = torch.tensor(float(node.attributes["scale"]), dtype=dtype)
    logits = draft.add("scale", (logits,), parameters={"weight": scale}, name=f"{node.name}.scale", like=node)
    for one in mask:
        logits = _masked(node, draft, logits, one, dtype)
    if node.attributes["causal"]:
        queries, keys_count = draft.shape(logits)[-2:]
        ahead = torch.ones(queries, keys_count, dtype=torch.bool).tril().logical_not()
        value = torch.zeros(queries, keys_count, dtype=dtype).masked_fill(ahead, -torch.inf)
        stored = draft.store(value, node, f"{node.name}.causal")
        logits = draft.add("add", (logits, stored), name=f"{node.name}.mask", like=node)
    weights = draft.add("softmax", (logits,), {"axis": -1}, name=f"{node.name}.softmax", like=node)
    return draft.change(node, op="matmul", inputs=(weights, v), attributes={})


def _masked(node: Node, draft: Draft, logits: str, mask: str, dtype: torch.dtype) -> str:
    """Add a mask of numbers; a mask of truths is −∞ where it is false."""
    name, stored, producer = f"{node.name}.mask", draft.value(mask), draft.producer(mask)
    if stored is not None and stored.dtype == torch.bool:
        value = torch.zeros(stored.shape, dtype=dtype).masked_fill(stored.logical_not(), -torch.inf)
        return draft.add("add", (logits, draft.store(value, node, f"{name}.values")), name=name, like=node)
    if producer is not None and _is_truth(producer, draft):
        never = draft.store(torch.tensor(-torch.inf, dtype=dtype), node, f"{name}.never")
        return draft.add("where", (mask, logits, never), name=name, like=node)
    return draft.add("add", (logits, mask), name=name, like=node)


def _is_truth(node: Node, draft: Draft) -> bool:
    """Whether a node gives truths, directly or by moving them."""
    while node.op in ("reshape", "permute", "slice", "expand", "take", "rearrange", "identity"):
        before = draft.producer(node.inputs[0])
        if before is None:
            return False
        node = before
    stored = node.parameters.get("value")
    return (
        node.op in _TRUTHS
        or (node.op == "cast" and node.attributes["to"] == "bool")
        or (node.op == "constant" and stored is not None and stored.dtype == torch.bool)
    )
