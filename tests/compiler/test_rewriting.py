"""Rules and patterns: what matches, what takes its place, and when it ends.

Would break it: a second reader overlooked, a node dropped that an output or state needs, names that change where a node
stays, an order in which something is read before it is written, rules that run for ever.
"""

from __future__ import annotations

import pytest
import torch
from support.clock import timed
from support.random_graphs import Random, assert_same_meaning, data_for, ops

from compiler.errors import GraphError
from compiler.graph import BINARY
from compiler.rewriting import ANYTHING, Rule, pattern, rewrite

RELU = Rule("relu twice", pattern("relu", pattern("relu", name="first")), lambda m, draft: m["first"].output)


def test_a_chain_becomes_one_and_keeps_the_first_name():
    b = Random((3,))
    first = b.add("relu", ("x",), name="first")
    graph = b.finish([b.linear(b.add("relu", (b.add("relu", (first,)),)), 2, name="head")])
    passed = rewrite(graph, [RELU])
    assert [node.name for node in passed] == ["first", "head"]
    assert passed.node("head").inputs == ("first",)
    assert set(passed.signals) == {"x", "first", "head"}
    assert_same_meaning(graph, passed, data_for(graph), 0)


def test_where_nothing_matches_the_graph_itself_comes_back():
    b = Random((3,))
    graph = b.finish([b.linear("x", 2)])
    assert rewrite(graph, [RELU]) is graph


def test_outputs_follow():
    b = Random((3,))
    first = b.add("relu", ("x",), name="first")
    second = b.add("relu", (first,))
    graph = b.finish([second, first])
    assert rewrite(graph, [RELU]).outputs == ("first", "first")


@pytest.mark.parametrize("reader", ["another", "output", "twice", "state"])
def test_alone_means_that_nobody_else_reads(reader):
    b = Random((3,))
    state = b.state("memory", (3,)) if reader == "state" else None
    relu = b.add("relu", ("x",))
    outputs = [b.add("neg", (relu,))] if reader != "twice" else [b.add("add", (relu, relu))]
    if reader == "another":
        outputs.append(b.add("gelu", (relu,), {"approximate": "none"}))
    if reader == "output":
        outputs.append(relu)
    if state is not None:
        b.carry(state, relu)
        outputs.append(b.add("neg", (state,)))
    graph = b.finish(outputs)
    for alone in (True, False):
        found = []
        rule = Rule(
            "look", pattern(("neg", "add"), pattern("relu", alone=alone)), lambda m, d, f=found: f.append(m.root.name)
        )
        rewrite(graph, [rule])
        assert bool(found) is not alone


def test_through_passes_what_is_read_once_and_says_what_it_was():
    b = Random((2, 3, 4))
    conv = b.conv("x", 2, name="conv")
    moved = b.reshape(b.permute(conv, -1, -2, -3), (24,))
    graph = b.finish([b.add("relu", (moved,))])
    found = []

    def look(match, draft):
        found.append((match["layer"].name, [node.op for node in match.path("layer")]))

    rule = Rule("look", pattern("relu", pattern("conv", name="layer", through=("permute", "reshape"))), look)
    rewrite(graph, [rule])
    assert found == [("conv", ["permute", "reshape"])]
    found.clear()
    rewrite(graph, [Rule("look", pattern("relu", pattern("conv", name="layer", through=("reshape",))), look)])
    assert not found
    other = b.add("neg", (b.nodes[1].output,))
    rewrite(b.finish([graph.outputs[0], other]), [rule])
    assert not found


def test_either_order_and_anything():
    for swapped in (False, True):
        b = Random((3,))
        pair = (b.add("neg", ("x",)), "x")
        graph = b.finish([b.add("sub", pair[::-1] if swapped else pair)])
        found = []
        for either in (False, True):
            rule = Rule(
                "look",
                pattern("sub", pattern("neg", name="neg"), ANYTHING, either=either),
                lambda m, d, f=found, e=either: f.append((e, m.other(m["neg"].output))),
            )
            rewrite(graph, [rule])
        assert found == ([] if swapped else [(False, "x")]) + [(True, "x")]


def test_the_first_rule_wins_and_predicates_decide():
    b = Random((3,))
    graph = b.finish([b.scale(b.scale("x", (3,)), ())])

    def tagged(tag):
        def make(match, draft):
            return draft.change(match.root, op="neg", attributes={}, parameters={}) if tag == "neg" else None

        return make

    small = pattern("scale", where=lambda node: node.parameters["weight"].ndim == 0)
    assert ops(rewrite(graph, [Rule("a", small, tagged("neg"))])) == ["scale", "neg"]
    refused = Rule("b", pattern("scale"), tagged("no"))
    assert ops(rewrite(graph, [refused, Rule("a", small, tagged("neg"))])) == ["scale", "neg"]


def test_shapes_and_types_are_found_out_and_followed():
    """A scale of spikes that goes makes everything behind it binary."""
    b = Random((2, 4, 4), input_type=BINARY)
    scaled = b.scale("x", (2, 1, 1))
    graph = b.finish([b.reshape(b.permute(scaled, -1, -2, -3), (32,))])
    assert not graph.type(graph.outputs[0]).is_event
    passed = rewrite(graph, [Rule("drop", pattern("scale"), lambda m, d: m.root.inputs[0])])
    assert passed.type(passed.outputs[0]) == BINARY
    assert passed.shape(passed.outputs[0]) == (32,)


def test_what_does_not_fit_is_an_error():
    b = Random((3,))
    graph = b.finish([b.add("relu", ("x",))])
    wrong = {"weight": torch.zeros(2, 7, dtype=torch.float64)}
    made = Rule("w", pattern("relu"), lambda m, d: d.add("linear", ("x",), {}, wrong))
    with pytest.raises(GraphError, match="linear"):
        rewrite(graph, [made])
    shrunk = Rule(
        "w", pattern("relu"), lambda m, d: d.change(m.root, op="sum", attributes={"axes": (-1,), "keepdim": True})
    )
    with pytest.raises(GraphError, match="shape"):
        rewrite(graph, [shrunk])
    with pytest.raises(GraphError, match="'conv2d'"):
        pattern("conv2d")


def test_rules_that_undo_one_another_are_found_out():
    b = Random((3,))
    graph = b.finish([b.add("relu", ("x",))])

    def swap(to):
        return lambda m, d: d.change(m.root, op=to)

    with pytest.raises(GraphError, match="does not come to an end"):
        rewrite(graph, [Rule("there", pattern("relu"), swap("neg")), Rule("back", pattern("neg"), swap("relu"))])


def test_new_names_are_new_and_order_holds():
    b = Random((3,))
    x = b.add("relu", ("x",), name="a")
    graph = b.finish([b.add("relu", (b.add("neg", (x,), name="b"),), name="c")])

    def doubled(match, draft):
        return draft.add("abs", (draft.add("neg", match.root.inputs, name="b"),), name="c")

    passed = rewrite(graph, [Rule("split", pattern("relu"), doubled)])
    assert len({node.name for node in passed}) == len(passed) == 5
    known = {"x"}
    for node in passed:
        assert set(node.inputs) <= known
        known |= set(node.outputs)


@pytest.mark.parametrize("length", [500, 4000])
def test_the_time_grows_with_the_graph(length):
    def fresh():
        b = Random((3,))
        x = "x"
        for _ in range(length):
            x = b.add("relu", (x,))
        return b.finish([x])

    bound = 0.002 * length
    seconds, found = timed(lambda graph: rewrite(graph, [RELU]), fresh, bound)
    assert len(found) == 1
    assert seconds < bound
