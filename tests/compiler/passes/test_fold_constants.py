"""What is known is computed, what does nothing goes.

Would break it: a move called idle that is not, a constant computed in float32, a fraction of events lost in a division.
"""

import pytest
import torch
from support.random_graphs import Random, assert_same_meaning, data_for, ops

from compiler.graph import BINARY
from compiler.passes import drop_dead, fold_constants


def check(graph, wanted, tolerance=1e-14):
    folded = fold_constants(graph)
    assert ops(folded) == wanted
    assert_same_meaning(graph, folded, data_for(graph), tolerance)
    return folded


def test_what_depends_on_stored_numbers_is_computed_once():
    b = Random((2, 3))
    stored = b.add("softmax", (b.permute(b.constant(b.normal(3, 2)), -1, -2),), {"axis": -1})
    stored = b.add("sub", (stored, b.linear(b.constant(b.normal(2, 4)), 3)))
    folded = check(b.finish([b.add("mul", ("x", b.add("gt", (stored, b.constant(b.normal(3))))))]), ["constant", "mul"])
    assert folded.nodes[0].parameters["value"].dtype == torch.bool


def test_in_float64_and_stored_as_before():
    b = Random((1000,))
    value = (b.normal(1000) * 5).float()
    folded = fold_constants(b.finish([b.add("add", ("x", b.add("softmax", (b.constant(value),), {"axis": -1})))]))
    stored = folded.nodes[0].parameters["value"]
    assert stored.dtype == torch.float32
    assert torch.equal(stored, value.double().softmax(-1).float())
    assert not torch.equal(stored, value.softmax(-1))


def test_copies_are_made_when_they_are_needed():
    b = Random((1, 1))
    stored = b.add("expand", (b.constant(b.normal(1, 1)),), {"shape": (3000, 3000)})
    graph = b.finish([b.mean(b.add("add", ("x", stored)), -1, -2)])
    assert fold_constants(graph) is graph


@pytest.mark.parametrize(
    ("op", "attributes", "idle"),
    [
        ("identity", {}, True),
        ("reshape", {"shape": (4, 1, 6)}, True),
        ("reshape", {"shape": (1, 4, 6)}, False),
        ("permute", {"axes": (-3, -2, -1)}, True),
        ("permute", {"axes": (-2, -3, -1)}, False),
        ("slice", {"axis": -1, "start": 0, "stop": 6, "step": 1}, True),
        ("slice", {"axis": -1, "start": 0, "stop": 6, "step": 2}, False),
        ("slice", {"axis": -1, "start": 1, "stop": 6, "step": 1}, False),
        ("roll", {"shifts": (6, 0), "axes": (-1, -3)}, True),
        ("roll", {"shifts": (5,), "axes": (-1,)}, False),
        ("pad", {"amounts": (0, 0), "mode": "constant", "value": 0.0}, True),
        ("pad", {"amounts": (1, -1), "mode": "constant", "value": 0.0}, False),
        ("expand", {"shape": (4, 1, 6)}, True),
        ("expand", {"shape": (4, 2, 6)}, False),
        ("mean", {"axes": (-2,), "keepdim": True}, True),
        ("mean", {"axes": (-1,), "keepdim": True}, False),
        ("adaptive_avg_pool", {"output_size": (1, 6)}, True),
        ("adaptive_avg_pool", {"output_size": (1, 3)}, False),
        ("concat", {"axis": -1}, True),
    ],
    ids=str,
)
def test_what_does_nothing_goes(op, attributes, idle):
    b = Random((4, 1, 6))
    x = b.add(op, ("x",), attributes)
    check(b.finish([b.add("relu", (x,))]), ["relu"] if idle else [op, "relu"], 0)


def test_indices_factors_and_sums_that_do_nothing():
    for index, idle in ((torch.arange(6), True), (torch.arange(6).flip(0), False)):
        b = Random((4, 6))
        x = b.add("take", ("x",), {"axis": -1}, {"index": index})
        check(b.finish([b.add("relu", (x,))]), ["relu"] if idle else ["take", "relu"], 0)
    for one, idle in ((torch.ones(6), True), (torch.ones(3, 1, 1), False)):
        b = Random((4, 6))
        x = b.add("scale", ("x",), {}, {"weight": one.double()})
        check(b.finish([b.add("relu", (x,))]), ["relu"] if idle else ["scale", "relu"], 0)
    b = Random((4, 6))
    zero = b.constant(torch.zeros(6, dtype=torch.float64))
    check(
        b.finish([b.add("sub", (b.add("add", (zero, "x")), zero)), b.add("sub", (zero, "x"))]), ["constant", "sub"], 0
    )


def test_two_become_one():
    b = Random((4, 6))
    x = b.reshape(b.reshape("x", (24,)), (2, 3, 4))
    x = b.permute(b.permute(x, -1, -3, -2), -1, -3, -2)
    folded = check(b.finish([b.scale(b.scale(x, (4, 1)), ())]), ["reshape", "permute", "scale"])
    assert folded.nodes[1].attributes["axes"] == (-2, -1, -3)
    b = Random((4, 1, 1))
    check(b.finish([b.mean("x", -1, -2, keepdim=False)]), ["reshape"], 0)


def test_products_and_quotients_with_stored_numbers_are_scales():
    b = Random((2, 3))
    check(b.finish([b.add("mul", (b.constant(b.normal(3)), "x"))]), ["scale"])
    b = Random((2, 3))
    check(b.finish([b.add("div", ("x", b.constant(b.uniform(1, 2, 3))))]), ["scale"])
    b = Random((2, 3), input_type=BINARY)
    third = b.add("div", ("x", b.constant(torch.tensor(3.0))))
    folded = check(b.finish([third]), ["constant", "div"], 0)
    assert str(folded.type(third)) == "binary×1/3"


def test_dead_nodes_go_and_what_a_later_step_needs_stays():
    b = Random((3,))
    state = b.state("memory", (3,))
    after = b.add("add", (state, "x"))
    b.carry(state, after)
    graph = b.finish([b.add("neg", (state,))])
    assert drop_dead(graph) is graph
    dead = graph.with_nodes((*graph.nodes, type(graph.nodes[0])("dead", "neg", ("x",), ("dead",))), {**graph.signals})
    assert "dead" in {node.name for node in dead}
    assert [n.name for n in drop_dead(dead)] == [n.name for n in graph]
