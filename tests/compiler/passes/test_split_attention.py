"""Attention in single steps is the same attention.

Would break it: keys not turned, a mask of truths added as numbers, causality the wrong way round, a scale lost.
"""

import pytest
import torch
from support.random_graphs import Random, assert_same_meaning, data_for, ops

from compiler.graph import BINARY
from compiler.interpreting import interpret
from compiler.passes import simplify, split_attention


def attended(mask=None, causal=False, lead=(), scale=0.3, input_type=BINARY):
    b = Random((*lead, 5, 4), input_type=input_type)
    q, k, v = (b.linear("x", 4, bias=True) for _ in range(3))
    given = []
    if mask == "numbers":
        given = [b.constant(b.normal(5, 5))]
    elif mask == "truths":
        given = [b.constant(torch.rand(5, 5, generator=b.random) > 0.3)]
    elif mask == "computed":
        given = [b.add("gt", (b.linear("x", 5), b.constant(b.normal(1) - 0.5)))]
    elif mask == "computed numbers":
        given = [b.linear("x", 5)]
    out = b.add("attention", (q, k, v, *given), {"scale": scale, "causal": causal}, name="attention")
    return b.finish([out])


@pytest.mark.parametrize("lead", [(), (3,), (2, 3)], ids=str)
@pytest.mark.parametrize("mask", [None, "numbers", "truths", "computed", "computed numbers"])
def test_it_is_the_same(mask, lead):
    graph = attended(mask, lead=lead)
    split = split_attention(graph)
    assert "attention" not in ops(split)
    assert split.outputs == ("attention",)
    assert split.node("attention").op == "matmul"
    assert_same_meaning(graph, split, data_for(graph), 7e-15)
    assert_same_meaning(graph, simplify(split), data_for(graph), 1e-13)
    assert split_attention(split) is split


def test_the_steps():
    split = split_attention(attended("numbers", lead=(3,)))
    assert ops(split)[-7:] == ["constant", "permute", "matmul", "scale", "add", "softmax", "matmul"]
    assert split.node("attention.keys").attributes["axes"] == (-3, -1, -2)
    assert split.node("attention.scale").parameters["weight"].item() == 0.3


def test_a_causal_mask_is_stored():
    graph = attended(causal=True)
    split = split_attention(graph)
    assert_same_meaning(graph, split, data_for(graph), 7e-15)
    stored = split.node("attention.causal").parameters["value"]
    assert torch.equal(stored == 0, torch.ones(5, 5).tril().bool())
    assert stored.dtype == torch.float64


def test_no_query_sees_what_comes_after_it():
    split, x = split_attention(attended(causal=True)), data_for(attended(causal=True))
    other = x.clone()
    other[..., 3:, :] = 1 - other[..., 3:, :]
    one, two = interpret(split, x)[0], interpret(split, other)[0]
    assert torch.equal(one[..., :3, :], two[..., :3, :])
    assert not torch.equal(one[..., 3:, :], two[..., 3:, :])
