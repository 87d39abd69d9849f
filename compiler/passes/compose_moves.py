"""Compose chains of moves: one reshape, permutation or slice where that is what they do, else one ``rearrange``.

A chain is sent over the positions of its input; what comes out says for every value where it came from. Window
partition, shifted windows, the heads of an attention and patch embedding are such chains. A chain may begin with moves
that other moves read too: each of these gets its own way to the values, and the shared beginning goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compiler.graph import Graph, Node, operation
from compiler.passes.linear_maps import is_linear_pad
from compiler.rewriting import Draft, Match, Rule, pattern, rewrite

MOVED = ("reshape", "permute", "slice", "take", "roll", "pad", "rearrange", "identity")

LARGEST = 2**24
"""Values behind a chain, above which its index would take more memory than it is worth: such a chain stays."""


def compose_moves(graph: Graph) -> Graph:
    """Return the graph with one move for each chain of moves."""
    seen: dict[Any, Move] = {}

    def composed(match: Match, draft: Draft) -> str | None:
        return _composed(match.root, draft, seen)

    return rewrite(graph, [Rule("compose moves", pattern(MOVED), composed)])


@dataclass(frozen=True, eq=False)
class Move:
    """A single move: operation, attributes, parameters."""

    op: str
    attributes: dict[str, Any]
    parameters: dict[str, Tensor]


def _is_move(node: Node | None) -> bool:
    return node is not None and node.op in MOVED and is_linear_pad(node)


def _composed(node: Node, draft: Draft, seen: dict[Any, Move]) -> str | None:
    if not _is_move(node) or _goes_on(node, draft) or draft.signals[node.output].size > LARGEST:
        return None
    chain = _chain(node, draft)
    if len(chain) < 2:
        return None
    source = chain[0].inputs[0]
    shape = draft.shape(source)
    key = (shape, tuple(_key(one) for one in chain))
    if key not in seen:
        seen[key] = composition(chain, shape)
    move = seen[key]
    if move.op == "identity":
        return source
    return draft.change(node, op=move.op, inputs=(source,), attributes=move.attributes, parameters=move.parameters)


def _goes_on(node: Node, draft: Draft) -> bool:
    """Whether a chain does not end here: moves alone read the node."""
    readers = draft.readers(node.output)
    return bool(readers) and not draft.kept(node.output) and all(_is_move(reader) for reader in readers)


def _chain(node: Node, draft: Draft) -> list[Node]:
    """Return the moves that lead to ``node``, it included, as far back as moves alone read them."""
    chain = [node]
    while True:
        before = draft.producer(chain[0].inputs[0])
        if before is None or not _is_move(before) or not _goes_on(before, draft):
            return chain
        chain.insert(0, before)


def _key(node: Node) -> Any:
    return node.op, tuple(sorted(node.attributes.items())), tuple(id(p) for p in node.parameters.values())


def composition(chain: Sequence[Node], shape: Sequence[int]) -> Move:
    """Return the simplest single move that does what a chain does to a sample of this shape."""
    size = math.prod(shape)
    # Positions count from 1, so that padding is 0.
    value = torch.arange(1, size + 1, dtype=torch.int64).reshape(1, *shape)
    for node in chain:
        value = operation(node.op).run(node, value)[0]
    index = value[0] - 1
    simple = _simple(index, tuple(shape)) if bool((index >= 0).all()) else None
    if simple is not None:
        return simple
    zeros = {"zeros": 1} if bool((index < 0).any()) else {}
    narrow = torch.int32 if size < 2**31 else torch.int64
    return Move(
        "rearrange",
        {"shape": tuple(index.shape), **zeros},
        {"index": index.reshape(-1).to(narrow).contiguous()},
    )


def _simple(index: Tensor, shape: tuple[int, ...]) -> Move | None:
    """Return the identity, reshape, permutation or slice that an index is."""
    own = tuple(index.shape)
    in_order = index.numel() == math.prod(shape) and bool((index.reshape(-1) == torch.arange(index.numel())).all())
    if in_order:
        return Move("identity", {}, {}) if own == shape else Move("reshape", {"shape": own}, {})
    steps = _steps(index)
    if steps is None or len(own) != len(shape):
        return None
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return _permutation(index, steps, shape, strides) or _slice(index, steps, shape, strides)


def _steps(index: Tensor) -> list[int] | None:
    """Return by how much an index grows along each axis, None where that is not constant."""
    steps = []
    for axis, size in enumerate(index.shape):
        if size == 1:
            steps.append(0)
            continue
        grown = index.diff(dim=axis)
        if bool((grown != grown.reshape(-1)[0]).any()):
            return None
        steps.append(int(grown.reshape(-1)[0]))
    return steps


def _permutation(index: Tensor, steps: list[int], shape: tuple[int, ...], strides: list[int]) -> Move | None:
    if index.numel() != math.prod(shape) or int(index.reshape(-1)[0]) != 0:
        return None
    rank, free, axes = len(shape), list(range(len(shape))), []
    for size, step in zip(index.shape, steps, strict=True):
        fits = [axis for axis in free if shape[axis] == size and (size == 1 or strides[axis] == step)]
        if not fits:
            return None
        axes.append(fits[0] - rank)
        free.remove(fits[0])
    return Move("permute", {"axes": tuple(axes)}, {})


def _slice(index: Tensor, steps: list[int], shape: tuple[int, ...], strides: list[int]) -> Move | None:
    rank, own = len(shape), tuple(index.shape)
    cut = [axis for axis in range(rank) if own[axis] != shape[axis]]
    if len(cut) != 1:
        return None
    axis = cut[0]
    if any(own[i] > 1 and steps[i] != strides[i] for i in range(rank) if i != axis):
        return None
    start, left = divmod(int(index.reshape(-1)[0]), strides[axis])
    step, uneven = divmod(steps[axis], strides[axis]) if own[axis] > 1 else (1, 0)
    if left or uneven or step < 1:
        return None
    stop = min(start + (own[axis] - 1) * step + 1, shape[axis])
    return Move("slice", {"axis": axis - rank, "start": start, "stop": stop, "step": step}, {})
