"""Graphs as data: what the queries answer, and in no more time than it takes to look it up.

Would break it: a consumer listed twice, an ancestor that is left out because a state lies between, a signal that is
called static though it changes, an index that is built again for every question.
"""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from support.clock import timed
from support.graphs import assert_same, chain, small, wide

import compiler
import snnkit
from compiler.graph import BINARY, REAL, SIGNED, Graph, GraphBuilder, Node, Signal, SignalType, integer, verify
from compiler.graph.graph import State
from compiler.passes import simplify


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4, timesteps=3, num_classes=2)
    return simplify(compiler.capture(model, torch.rand(1, 1, 8, 8)))


def test_who_writes_and_who_reads(graph):
    stem = graph.producer("stem.conv")
    assert stem is graph.nodes[0]
    assert graph.producer("input") is None
    assert graph.producer("stem_lif.v") is None
    assert graph.producer("no signal") is None
    assert graph.producer("stem_lif.v_next").name == "stem_lif"
    assert {node.name for node in graph.consumers("down_lif")} >= {"depthwise.conv"}
    assert len(graph.consumers("down_lif")) == 2
    assert graph.consumers(graph.outputs[0]) == ()
    assert graph.consumers("no signal") == ()
    assert graph.node("down_lif").op == "lif"
    with pytest.raises(KeyError):
        graph.node("no node")


def test_a_node_that_reads_a_signal_twice_is_one_consumer():
    b = GraphBuilder()
    x = b.input("x", (3,))
    y = b.add("mul", (x, x))
    built = b.finish([b.add("add", (y, x))])
    assert [node.op for node in built.consumers("x")] == ["mul", "add"]


def test_the_answers_are_those_of_a_scan(graph):
    for one in (graph, wide(), small()):
        for signal in one.signals:
            writers = [node for node in one if signal in node.outputs]
            assert one.producer(signal) is (writers[0] if writers else None)
            assert one.consumers(signal) == tuple(node for node in one if signal in node.inputs)
            needed, waiting = set(), [signal]
            while waiting:
                wanted = waiting.pop()
                for node in one:
                    if wanted in node.outputs and node.name not in needed:
                        needed.add(node.name)
                        waiting += node.inputs
            assert [n.name for n in one.ancestors(signal)] == [n.name for n in one if n.name in needed]


def test_ancestors_of_several_signals(graph):
    both = {n.name for n in graph.ancestors(["stem_lif", "down_lif"])}
    assert both == {n.name for n in graph.ancestors("down_lif")} | {n.name for n in graph.ancestors("stem_lif")}
    assert graph.ancestors([]) == ()
    assert graph.ancestors("input") == ()
    assert graph.ancestors("stem_lif.v") == ()  # a state ends the search: it is of the step before


def test_questions_take_no_scan():
    """5,000 nodes, every one asked for: a scan for each would take a minute."""
    b = GraphBuilder()
    signal = b.input("x", ())
    nodes = [Node(f"n{i}", "relu", (f"n{i - 1}" if i else signal,), (f"n{i}",)) for i in range(5000)]
    signals = {name: Signal(name, ()) for name in ["x", *(node.name for node in nodes)]}

    def asked(long):
        for name in signals:
            long.producer(name)
            long.consumers(name)
        for node in nodes:
            assert long.node(node.name) is node
        assert len(long.ancestors("n4999")) == 5000
        assert len(long.static_signals()) == 0

    assert timed(asked, lambda: Graph(("x",), ("n4999",), tuple(nodes), signals), enough=1)[0] < 1


def test_building_takes_no_scan_either():
    """Twice as many nodes take about twice as long, and names that collide do not count from 1 each time."""

    def build(b, count):
        signal = b.input("x", (2,))
        for _ in range(count):
            signal = b.add("relu", (signal,))
        b.finish([signal])

    bound = 8 * timed(lambda b: build(b, 500), GraphBuilder)[0] + 0.5
    assert timed(lambda b: build(b, 2000), GraphBuilder, bound)[0] < bound


def test_every_signal_is_written_before_it_is_read(graph):
    known = {*graph.inputs, *(state.read for state in graph.states)}
    for node in graph:
        assert set(node.inputs) <= known, node.name
        known |= set(node.outputs)
    assert known == set(graph.signals)
    assert {state.written for state in graph.states} <= known
    assert set(graph.outputs) <= known


def test_static_signals_end_at_the_first_neuron(graph):
    assert graph.static_input
    static = graph.static_signals()
    assert {"input", "stem.conv"} <= static
    assert not any(name.startswith(("stem_lif", "down")) for name in static)
    assert replace(graph, static_input=False).static_signals() == frozenset()


def test_constants_are_static_whatever_the_input():
    b = GraphBuilder()
    x = b.input("x", (2,))
    c = b.constant(torch.ones(2), "c")
    d = b.add("relu", (c,), name="d")
    built = b.finish([b.add("add", (x, d), name="y")])
    assert built.static_signals() == {"c", "d"}
    assert replace(built, static_input=True).static_signals() == {"x", "c", "d", "y"}


def test_signals_that_nothing_uses_are_dropped(graph):
    short = replace(graph, outputs=(graph.nodes[1].output,)).with_nodes(graph.nodes[:2], graph.signals)
    assert set(short.signals) == {"input", "stem.conv", "stem_lif", "stem_lif.v", "stem_lif.v_next"}
    assert [state.read for state in short.states] == ["stem_lif.v"]
    assert len(graph.states) == 4  # the graph itself has not changed
    verify(short)


def test_a_state_that_only_another_state_reads_is_kept():
    """A delay of two steps."""
    b = GraphBuilder()
    x = b.input("x", (3,))
    first, second = b.state("first", (3,)), b.state("second", (3,))
    b.carry(first, x)
    b.carry(second, first)
    built = b.finish([b.add("neg", (second,))])
    assert [state.read for state in built.states] == ["first", "second"]
    assert [s.read for s in built.with_nodes(built.nodes, built.signals).states] == ["first", "second"]


def test_a_graph_does_not_change(graph):
    with pytest.raises(FrozenInstanceError):
        graph.name = "other"
    with pytest.raises(FrozenInstanceError):
        graph.nodes[0].op = "relu"
    assert len(graph) == len(graph.nodes) == len(list(graph))


def test_a_replaced_graph_has_its_own_index(graph):
    """Answers are remembered by graph: another graph must not be told the first one's."""
    graph.producer("stem.conv")
    renamed = replace(graph.nodes[0], name="other", outputs=("other",))
    other = replace(graph, nodes=(renamed,), outputs=("other",), states=())
    assert other.producer("stem.conv") is None
    assert other.producer("other") is renamed
    assert graph.producer("stem.conv") is graph.nodes[0]


def test_double_changes_parameters_and_starts_and_nothing_else(graph):
    for one in (graph, wide()):
        double = one.double()
        for a, b in zip(one, double, strict=True):
            for key, value in a.parameters.items():
                assert b.parameters[key].dtype == torch.float64
                assert torch.equal(b.parameters[key], value.double())
        for a, b in zip(one.states, double.states, strict=True):
            if isinstance(a.initial, torch.Tensor):
                assert b.initial.dtype == torch.float64
            else:
                assert b.initial == a.initial
        assert dict(double.signals) == dict(one.signals)
        verify(double)
        assert_same(double, double.double())


def test_whole_numbers_stay_whole():
    b = GraphBuilder()
    index = torch.tensor([2, 0])
    built = b.finish([b.add("take", (b.input("x", (3,)),), {"axis": -1}, {"index": index})])
    assert built.double().nodes[0].parameters["index"].dtype == torch.int64


@pytest.mark.parametrize(
    ("signal_type", "text", "event"),
    [
        (REAL, "real", False),
        (BINARY, "binary", True),
        (SIGNED, "signed", True),
        (SignalType("integer", 0, 2), "integer[0,2]", True),
        (integer(0, 4).scaled(0.25), "integer[0,4]×1/4", True),
        (BINARY.scaled(0.5), "binary×1/2", True),
        (SignalType("pow2", -8, 8), "pow2[3]", True),
    ],
    ids=str,
)
def test_types_read_as_they_are_written(signal_type, text, event):
    assert str(signal_type) == text
    assert signal_type.is_event is event
    if "×" not in text:
        assert SignalType.parse(text) == signal_type


def test_a_signal_knows_its_size():
    assert Signal("x", (2, 3, 4)).size == 24
    assert Signal("x", ()).size == 1
    assert Signal("x", ()).type == REAL


def test_states_are_compared_by_their_fields():
    state = State("a", "b", 0.0)
    assert (state.read, state.written, state.initial) == ("a", "b", 0.0)


def test_a_chain_of_a_thousand_nodes_is_built_and_run():
    built = chain(1000)
    assert len(built.ancestors(built.outputs[0])) == 1000
