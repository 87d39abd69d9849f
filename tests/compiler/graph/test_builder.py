"""GraphBuilder: names, states, what is pruned, and that nothing wrong gets in.

Would break it: two nodes of one name, a shape that is believed rather than inferred, a state nobody writes, a node that
is kept though nothing needs it, one that is dropped though a later step does.
"""

import pytest
import torch
from support.graphs import small

from compiler.errors import GraphError
from compiler.graph import BINARY, REAL, GraphBuilder, Node, SignalType, integer, verify
from compiler.graph.builder import prune, stored_dtype
from compiler.interpreting import interpret

IF = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}


@pytest.fixture
def b():
    builder = GraphBuilder("net", timesteps=3)
    builder.input("x", (2, 4, 4))
    return builder


def test_shapes_and_types_are_inferred(b):
    weight = {"weight": torch.zeros(6, 2, 3, 3)}
    conv = b.add("conv", ("x",), {"stride": (2, 1), "padding": (0, 1), "dilation": (1, 1), "groups": 1}, weight)
    assert b.signals[conv].shape == (6, 1, 4)
    assert b.signals[conv].type == REAL
    spikes = b.neuron("integrate_fire", conv, IF, states=[("v", 0.0)])
    assert b.signals[spikes].type == BINARY
    assert b.signals[b.add("add", (spikes, spikes))].type == integer(0, 2)
    assert b.signals[b.reshape(spikes, (24,))].type == BINARY
    assert b.signals[b.constant(torch.ones(2))].type.is_event


def test_names_are_made_unique(b):
    names = [b.add("relu", ("x",), name="relu") for _ in range(3)]
    assert names == ["relu", "relu#1", "relu#2"]
    assert b.add("relu", ("x",), name="x") == "x#1"  # an input has the name
    assert b.add("relu", ("x",)) == "relu#3"
    assert b.add("relu", ("x",), scope="stem") == "stem.relu"
    assert b.input("x", (3,)) == "x#2"
    assert b.add("relu", ("x",), name="relu#1") == "relu#1#1"
    assert len({node.name for node in b.nodes}) == len(b.nodes)


def test_names_of_states_are_made_unique(b):
    b.add("relu", ("x",), name="n.v")
    b.add("relu", ("x",), name="n.v_next")
    neuron = b.neuron("integrate_fire", "x", IF, states=[("v", 0.0)], name="n")
    graph = b.finish([neuron, "n.v", "n.v_next"])
    (state,) = graph.states
    assert state.read not in ("n.v", "n.v_next")
    assert state.written not in ("n.v", "n.v_next", state.read)
    assert graph.node("n").inputs == ("x", state.read)
    interpret(graph, torch.zeros(1, 2, 4, 4))


def test_a_neuron_brings_its_states(b):
    cuba = {"current_decay": 0.5, "voltage_decay": 0.25, "v_threshold": 0.5, "v_reset": None, "detach_reset": True}
    name = b.neuron("cuba_lif", "x", cuba, states=[("v", -0.5), ("i", torch.ones(2, 4, 4))], name="n", role="readout")
    graph = b.finish([name])
    assert [(s.read, s.written) for s in graph.states] == [("n.v", "n.v_next"), ("n.i", "n.i_next")]
    assert graph.states[0].initial == -0.5
    assert torch.equal(graph.states[1].initial, torch.ones(2, 4, 4))
    assert graph.node("n").role == "readout"
    assert graph.shape("n.i_next") == (2, 4, 4)


def test_a_state_is_carried(b):
    held = b.state("held", (2, 4, 4), 0.5)
    b.carry(held, b.add("add", ("x", held)))
    graph = b.finish([held])
    got, _ = interpret(graph, torch.ones(1, 2, 4, 4))
    assert got[:, 0, 0, 0, 0].tolist() == [0.5, 1.5, 2.5]


def test_a_state_may_be_read_as_it_is_written(b):
    held = b.state("held", (2, 4, 4), 1.0)
    b.carry(held, held)
    graph = b.finish([b.add("add", ("x", held))])
    assert interpret(graph, torch.zeros(1, 2, 4, 4))[0].unique().tolist() == [1.0]


def test_an_unknown_state_is_named(b):
    b.state("held", (3,))
    with pytest.raises(GraphError, match=r"'hold' is no state.*held"):
        b.carry("hold", "x")


def test_a_state_that_nobody_writes_is_named(b):
    held = b.state("held", (2, 4, 4))
    with pytest.raises(GraphError, match="held|''"):
        b.finish([b.add("add", ("x", held))])


def test_a_state_of_another_shape_is_named(b):
    held = b.state("held", (3,))
    with pytest.raises(GraphError, match=r"'held' of shape \(3,\) is written with shape \(2, 4, 4\)"):
        b.carry(held, "x")
        b.finish([b.add("relu", (held,))])


@pytest.mark.parametrize(
    ("add", "words"),
    [
        (lambda b: b.add("relu", ("y",)), r"relu \(relu\) reads 'y', which does not exist"),
        (lambda b: b.add("reluu", ("x",)), r"unknown operation 'reluu'.*'relu'"),
        (lambda b: b.add("relu", ("x", "x")), r"relu \(relu\) has 2 inputs, wanted 1"),
        (lambda b: b.add("concat", (), {"axis": -1}), "has 0 inputs, wanted 1 or more"),
        (lambda b: b.add("softmax", ("x",)), "no attribute 'axis'"),
        (lambda b: b.add("softmax", ("x",), {"axis": -1.5}), r"attribute axis = -1\.5, wanted int"),
        (
            lambda b: b.add("softmax", ("x",), {"axis": -1, "dim": 2}),
            "attribute 'dim' that the operation does not know",
        ),
        (lambda b: b.add("linear", ("x",)), "no parameter 'weight'"),
        (lambda b: b.add("linear", ("x",), parameters={"weight": torch.zeros(3, 5)}), r"cannot take.*\(2, 4, 4\)"),
        (lambda b: b.add("reshape", ("x",), {"shape": (5, 5)}), "cannot take"),
        (lambda b: b.neuron("lif", "x", IF, states=[("v", 0.0)]), "no attribute"),
        (lambda b: b.append(Node("n", "relu", ("x",), ("x",))), "writes 'x', which has a writer"),
        (lambda b: b.append(Node("n", "relu", ("x",), ("a", "b"))), "has 2 outputs, the operation gives 1"),
        (lambda b: [b.append(Node("n", "relu", ("x",), (name,))) for name in "ab"], "two nodes are called 'n'"),
        (lambda b: b.finish([]), "no output"),
        (lambda b: b.finish(["y"]), "'y'"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_does_not_fit_is_named_when_it_is_added(b, add, words):
    with pytest.raises(GraphError, match=words) as caught:
        add(b)
    assert "\n" not in str(caught.value)


def test_a_failed_addition_leaves_no_trace(b):
    with pytest.raises(GraphError):
        b.add("reshape", ("x",), {"shape": (5, 5)}, name="bad")
    assert "bad" not in b.signals
    assert not b.nodes
    b.finish([b.add("relu", ("x",), name="bad")])


def test_what_nothing_needs_is_pruned(b):
    y = b.add("relu", ("x",), name="y")
    b.add("relu", (y,), name="dead")
    b.neuron("integrate_fire", y, IF, states=[("v", 0.0)], name="unused")
    graph = b.finish([y])
    assert [node.name for node in graph] == ["y"]
    assert graph.states == ()
    assert set(graph.signals) == {"x", "y"}


def test_what_a_later_step_needs_is_kept(b):
    held = b.state("held", (2, 4, 4))
    late = b.add("relu", ("x",), name="late")
    b.carry(held, late)
    graph = b.finish([b.add("neg", (held,), name="y")])
    assert {node.name for node in graph} == {"late", "y"}
    assert len(graph.states) == 1


def test_inputs_are_kept_even_when_nothing_reads_them():
    b = GraphBuilder()
    x = b.input("x", (2,))
    b.input("unused", (3,))
    graph = b.finish([b.add("relu", (x,))])
    assert graph.inputs == ("x", "unused")
    assert verify(graph) is graph


def test_pruning_twice_is_pruning_once():
    graph = prune(small())
    assert [n.name for n in prune(graph)] == [n.name for n in graph]
    assert prune(graph).signals == graph.signals


def test_like_takes_over_name_time_and_inputs(b):
    graph = b.finish([b.add("relu", ("x",))])
    other = GraphBuilder.like(graph)
    assert (other.graph_name, other.timesteps, other.inputs) == ("net", 3, ["x"])
    assert other.signals["x"] == graph.signals["x"]
    assert GraphBuilder.like(graph, "new").graph_name == "new"
    assert not other.nodes


def test_reshape_to_the_same_shape_is_nothing(b):
    assert b.reshape("x", [2, 4, 4]) == "x"
    assert not b.nodes
    assert b.reshape("x", (32,)) != "x"


def test_a_constant_keeps_no_gradient(b):
    c = b.constant(torch.ones(2, 4, 4, requires_grad=True))
    assert not b.nodes[-1].parameters["value"].requires_grad
    assert b.signals[c].shape == (2, 4, 4)


def test_the_type_of_the_parameters(b):
    b.add("take", ("x",), {"axis": -1}, {"index": torch.tensor([0])}, name="t")
    graph = b.finish(["t"])
    assert stored_dtype(graph) == torch.get_default_dtype()
    assert stored_dtype(small()) == torch.float64


def test_an_input_of_events(b):
    name = b.input("spikes", (3,), SignalType.parse("integer[0,3]"))
    assert b.signals[b.add("add", (name, name))].type == integer(0, 6)
