"""Chains of moves become one: the simplest that does the same, or one index.

Would break it: padding taken for a value, a permutation of equal sizes found the wrong way round, a chain composed
although something else reads its middle.
"""

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.random_graphs import QUICK, Random, assert_same_meaning, data_for, ops

from compiler.capturing import capture
from compiler.graph import BINARY, integer
from compiler.passes import compose_moves, simplify


def check(graph, wanted):
    composed = compose_moves(graph)
    assert ops(composed) == wanted
    assert_same_meaning(graph, composed, data_for(graph), 0)
    assert compose_moves(composed) is composed
    return composed


def chain(b, steps, x="x"):
    """Apply moves drawn as numbers."""
    for number in steps:
        shape, more = b.shape(x), number // 6
        rank, size = len(shape), b.signals[x].size
        axis = -1 - more % rank
        if number % 6 == 0:
            x = b.permute(x, *[-1 - (i + more) % rank for i in range(rank)])
        elif number % 6 == 1:
            x = b.reshape(
                x, [(size,), (shape[0], size // shape[0]), (size // shape[-1], shape[-1]), (1, size)][more % 4]
            )
        elif number % 6 == 2:
            x = b.roll(x, more, axis)
        elif number % 6 == 3 and shape[axis] > 1:
            x = b.slice(x, axis, more % 2, shape[axis], 1 + more % 3)
        elif number % 6 == 4:
            x = b.pad(x, more % 2, more % 3, *((1, 0) if rank > 1 and more % 5 == 0 else ()))
        else:
            index = torch.arange(shape[axis]).flip(0) if more % 2 else torch.tensor([0, shape[axis] - 1])
            x = b.add("take", (x,), {"axis": axis}, {"index": index})
    return x


@QUICK
@given(shape=st.sampled_from([(2, 3, 4), (4, 4), (12,), (1, 3, 1, 4)]), steps=st.lists(st.integers(0, 127), max_size=7))
def test_any_chain_is_one_move_at_most(shape, steps):
    b = Random(shape)
    graph = b.finish([b.add("neg", (chain(b, steps),))])
    composed = compose_moves(graph)
    assert len(composed) <= 2
    assert_same_meaning(graph, composed, data_for(graph), 0)
    assert compose_moves(composed) is composed


@pytest.mark.parametrize(
    ("shape", "build", "wanted"),
    [
        ((2, 3, 4), lambda b: b.reshape(b.reshape("x", (6, 4)), (24,)), ["reshape"]),
        ((2, 3, 4), lambda b: b.permute(b.permute("x", -1, -3, -2), -1, -3, -2), ["permute"]),
        ((4, 4), lambda b: b.permute(b.reshape("x", (4, 4)), -1, -2), ["permute"]),
        ((4, 4), lambda b: b.permute(b.permute("x", -1, -2), -1, -2), []),
        ((3, 8), lambda b: b.roll(b.roll("x", 3, -1), -3, -1), []),
        ((3, 8), lambda b: b.slice(b.slice("x", -1, 1, 8), -1, 1, 6, 2), ["slice"]),
        ((3, 8), lambda b: b.slice(b.slice("x", -1, 1, 8), -2, 1, 3), ["rearrange"]),
        ((2, 12), lambda b: b.slice(b.permute(b.permute("x", -1, -2), -1, -2), -2, 1, 2), ["slice"]),
        ((2, 12), lambda b: b.permute(b.reshape("x", (2, 3, 4)), -2, -3, -1), ["rearrange"]),
        ((2, 12), lambda b: b.slice(b.pad("x", 1, 1), -1, 1, 13), []),
        (
            (4, 4, 2),
            lambda b: b.reshape(b.permute(b.reshape("x", (2, 2, 2, 2, 2)), -5, -3, -4, -2, -1), (4, 4, 2)),
            ["rearrange"],
        ),
    ],
)
def test_the_simplest_that_does_the_same(shape, build, wanted):
    b = Random(shape)
    check(b.finish([b.add("neg", (build(b),))]), [*wanted, "neg"])


def test_padding_stays_zero_and_types_know():
    b = Random((3, 4), input_type=integer(1, 3))
    graph = b.finish([b.roll(b.pad("x", 1, 0), 1, -1)])
    composed = compose_moves(graph)
    (node,) = composed.nodes
    assert (node.op, node.attributes["zeros"], composed.type(node.output)) == ("rearrange", 1, integer(0, 3))
    assert (node.parameters["index"] == -1).sum() == 3
    b = Random((3, 4), input_type=BINARY)
    number = b.finish([b.roll(b.pad("x", 1, 0, value=1.0), 1, -1)])
    assert compose_moves(number) is number


def test_a_beginning_that_only_moves_share():
    """Queries, keys and values: one permutation, three slices."""
    b = Random((5, 12))
    x = b.permute(b.reshape(b.linear("x", 12), (5, 3, 2, 2)), -3, -2, -4, -1)
    parts = [b.reshape(b.slice(x, -4, i, i + 1), (2, 5, 2)) for i in range(3)]
    graph = b.finish([b.add("add", (b.add("add", (parts[0], parts[1])), parts[2]))])
    check(graph, ["linear", "rearrange", "rearrange", "rearrange", "add", "add"])


def test_a_middle_that_others_read_stays():
    b = Random((2, 12))
    x = b.permute(b.reshape("x", (2, 3, 4)), -2, -3, -1)
    y = b.reshape(x, (24,))
    check(b.finish([b.add("neg", (x,)), b.roll(y, 1, -1)]), ["rearrange", "neg", "rearrange"])
    b = Random((2, 12))
    x = b.permute("x", -1, -2)
    graph = b.finish([x, b.reshape(x, (24,))])
    assert compose_moves(graph) is graph


def test_equal_chains_share_their_index():
    b = Random((2, 12))
    x = "x"
    for _ in range(2):
        x = b.add("neg", (b.permute(b.reshape(b.reshape(x, (2, 12)), (2, 3, 4)), -2, -3, -1),))
        x = b.reshape(x, (2, 12))
    composed = compose_moves(b.finish([x]))
    moves = [node for node in composed if node.op == "rearrange"]
    assert len({id(node.parameters["index"]) for node in moves}) < len(moves) + 1
    assert_same_meaning(composed, composed, data_for(composed), 0)


@pytest.mark.slow
def test_swin_tiny():
    """Windows, shifts and heads: of 474 captured nodes 289 stay, and about 100 of them move values."""
    torch.manual_seed(0)
    model = timm.create_model("swin_tiny_patch4_window7_224").eval()
    graph = capture(model, torch.zeros(1, 3, 224, 224))
    moves = {"reshape", "permute", "slice", "roll", "rearrange", "concat", "pad", "take"}
    simple = simplify(graph)
    assert (len(graph), len(simple)) == (474, 289)
    assert sum(node.op in moves for node in simple) < 105
    x = torch.randn(1, 1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert_same_meaning(graph, simple, x, 1e-5)
