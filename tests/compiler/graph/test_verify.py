"""Verify: one test for each thing that keeps a graph from holding together.

Would break it: a check that is dropped, a message without the node's name, a crash of torch instead of one line. Each
graph is right but for one thing.
"""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from support.graphs import chain, small, wide

import compiler
from compiler.errors import GraphError
from compiler.graph import Graph, GraphBuilder, Node, Signal, SignalType, verify
from compiler.graph.graph import State
from snnkit.errors import InvalidArgumentError


def with_node(graph, which, /, **changes):
    """The graph with one node changed."""
    return replace(graph, nodes=tuple(replace(n, **changes) if n.name == which else n for n in graph))


def with_attributes(graph, name, **changes):
    """The graph with attributes of one node changed; an ellipsis drops one."""
    attributes = {**graph.node(name).attributes, **changes}
    return with_node(graph, name, attributes={k: v for k, v in attributes.items() if v is not ...})


def with_signal(graph, name, **changes):
    return replace(graph, signals={**graph.signals, name: replace(graph.signals[name], **changes)})


def with_state(graph, **changes):
    return replace(graph, states=(replace(graph.states[0], **changes), *graph.states[1:]))


def without_signal(graph, name):
    return replace(graph, signals={k: v for k, v in graph.signals.items() if k != name})


def two_neurons_on_one_state(graph):
    return replace(graph, states=(*graph.states, State("n.v", "fc", 0.0)))


S, W = small(), wide()

BROKEN = {
    # frame
    "no output": (lambda: replace(S, outputs=()), "no output"),
    "an output that is none": (lambda: replace(S, outputs=("y",)), "'y' is no signal"),
    "an input that is none": (lambda: replace(S, inputs=("x", "y")), "'y' is no signal"),
    "an input twice": (lambda: replace(S, inputs=("x", "x")), "listed twice"),
    "an output that nobody writes": (
        lambda: replace(S, outputs=("z",), signals={**S.signals, "z": Signal("z", (2,))}),
        "'z' is written by nothing",
    ),
    "no time": (lambda: replace(S, timesteps=0), "timesteps=0"),
    "half a step": (lambda: replace(S, timesteps=1.5), r"timesteps=1\.5"),
    "true as a number of steps": (lambda: replace(S, timesteps="4"), "timesteps='4'"),
    # order and names
    "order": (lambda: replace(S, nodes=S.nodes[::-1]), r"n \(integrate_fire\) reads 'fc' before it is written"),
    "a signal that is none": (
        lambda: with_node(S, "fc", inputs=("y",)),
        r"fc \(linear\) reads 'y', which does not exist",
    ),
    "two writers": (
        lambda: replace(S, nodes=(*S.nodes, replace(S.nodes[0], name="again"))),
        r"again \(linear\) writes 'fc', which has a writer",
    ),
    "an input that is written": (
        lambda: with_node(chain(2), "relu1", outputs=("x",)),
        "writes 'x', which has a writer",
    ),
    "two nodes of one name": (
        lambda: with_node(replace(chain(2), outputs=("relu1",)), "relu1", name="relu0"),
        "two nodes are called 'relu0'",
    ),
    "an output that is no signal": (lambda: without_signal(chain(2), "relu0"), "relu0"),
    "a signal under another name": (
        lambda: replace(S, signals={**S.signals, "fc": Signal("other", (2,))}),
        "'other' is kept under the name 'fc'",
    ),
    # operations
    "an unknown operation": (lambda: with_node(S, "fc", op="lineer"), "unknown operation 'lineer'.*'linear'"),
    "too many inputs": (lambda: with_node(S, "fc", inputs=("x", "x")), r"fc \(linear\) has 2 inputs, wanted 1"),
    "too few inputs": (lambda: with_node(S, "n", inputs=("fc",)), r"n \(integrate_fire\) has 1 inputs, wanted 2"),
    "too few outputs": (
        lambda: replace(with_node(S, "n", outputs=("n",)), states=()),
        r"n\.v|has 1 outputs, the operation gives 2",
    ),
    "a missing attribute": (lambda: with_attributes(S, "n", v_threshold=...), "no attribute 'v_threshold'"),
    "an unknown attribute": (
        lambda: with_attributes(S, "fc", stride=2),
        "attribute 'stride' that the operation does not",
    ),
    "an attribute of the wrong kind": (
        lambda: with_attributes(S, "n", v_threshold="one"),
        "v_threshold = 'one', wanted float",
    ),
    "a number for a list": (lambda: with_attributes(W, "stem.conv", stride=1), "stride = 1, wanted tuple"),
    "a list for a number": (lambda: with_attributes(W, "stem.conv", groups=(2,)), r"groups = \(2,\), wanted int"),
    "true for a number": (lambda: with_attributes(W, "stem.conv", groups=True), "groups = True, wanted int"),
    "one for true": (lambda: with_attributes(S, "n", detach_reset=1), "detach_reset = 1, wanted bool"),
    "text in a list": (lambda: with_attributes(W, "stem.conv", stride=(1, "1")), "stride"),
    "true in a list": (lambda: with_attributes(W, "stem.conv", stride=(1, True)), "stride"),
    "no number": (lambda: with_attributes(S, "n", v_threshold=math.nan), "v_threshold = nan"),
    "no number in a list": (lambda: with_attributes(W, "stem.conv", stride=(1, math.nan)), "stride"),
    "nothing for a number": (lambda: with_attributes(S, "n", v_threshold=None), "v_threshold = None"),
    "a missing parameter": (lambda: with_node(S, "fc", parameters={}), "no parameter 'weight'"),
    "an unknown parameter": (
        lambda: with_node(S, "fc", parameters={**S.nodes[0].parameters, "wheight": torch.zeros(2, 2)}),
        "parameter 'wheight' that the operation does not know",
    ),
    # shapes and types
    "a parameter of another shape": (
        lambda: with_node(S, "fc", parameters={"weight": torch.zeros(2, 3)}),
        r"fc \(linear\) cannot take inputs of shapes \(2,\)",
    ),
    "a shape that is not what the operation gives": (
        lambda: with_signal(S, "fc", shape=(3,)),
        r"writes 'fc' of \(2,\), declared \(3,\)|cannot take",
    ),
    "a type that is not what the operation gives": (
        lambda: with_signal(S, "fc", type=SignalType("binary", 0, 1)),
        r"writes 'fc' of type real, declared binary",
    ),
    "a larger type than it is": (
        lambda: with_signal(S, "n", type=SignalType("integer", 0, 7)),
        r"writes 'n' of type binary, declared integer\[0,7\]",
    ),
    "a negative size": (lambda: with_signal(S, "x", shape=(-2,)), r"'x' has shape \(-2,\)"),
    "a size of nothing": (lambda: with_signal(S, "x", shape=(0,)), r"'x' has shape \(0,\)"),
    "half a size": (lambda: with_signal(S, "x", shape=(2.0,)), r"'x' has shape \(2\.0,\)"),
    "true as a size": (lambda: with_signal(S, "x", shape=(True,)), r"'x' has shape \(True,\)"),
    "an unknown kind": (lambda: with_signal(S, "x", type=SignalType("binari", 0, 1)), "'binari'.*'binary'"),
    "an empty interval": (lambda: with_signal(S, "x", type=SignalType("integer", 3, 1)), "impossible type"),
    "a step of nothing": (lambda: with_signal(S, "x", type=SignalType("binary", 0, 1, Fraction(0))), "impossible type"),
    "a negative step": (lambda: with_signal(S, "x", type=SignalType("binary", 0, 1, Fraction(-1))), "impossible type"),
    # states
    "a state that is no signal": (lambda: with_state(S, read="w"), "'w' is no signal"),
    "a state that is written by none": (lambda: with_state(S, written="w"), "'w' is no signal"),
    "a state of another shape": (
        lambda: replace(S, states=(replace(S.states[0], written="z"),), signals={**S.signals, "z": Signal("z", (3,))}),
        r"'n\.v' of shape \(2,\) is written with shape \(3,\)",
    ),
    "a start of another shape": (
        lambda: with_state(S, initial=torch.zeros(3)),
        r"'n\.v' of shape \(2,\) starts as \(3,\)",
    ),
    "a start that is no number": (lambda: with_state(S, initial=math.nan), "starts at nan"),
    "a start that is text": (lambda: with_state(S, initial="0"), "starts at '0'"),
    "a start that is nothing": (lambda: with_state(S, initial=None), "starts at None"),
    "a start with NaN": (lambda: with_state(S, initial=torch.tensor([0.0, math.nan])), "starts"),
    "a state twice": (lambda: two_neurons_on_one_state(S), r"'n\.v' is an input or another state's"),
    "a state that is an input": (lambda: with_state(S, read="x"), "'x' is an input or another"),
    "a state that nobody has": (lambda: replace(S, states=()), r"n \(integrate_fire\) reads 'n\.v' before"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_does_not_hold_together_is_named(name):
    make, words = BROKEN[name]
    with pytest.raises(GraphError, match=words) as caught:
        verify(make())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [small, wide, lambda: chain(3)])
def test_what_holds_together_is_returned(make):
    graph = make()
    assert verify(graph) is graph
    verify(graph.double())


def test_a_declared_real_is_no_claim():
    """Whoever does not know a type says real."""
    verify(with_signal(S, "n", type=SignalType()))


def test_infinity_is_a_number():
    """Clamps without a bound, thresholds that nothing reaches."""
    verify(with_attributes(S, "n", v_threshold=math.inf))


def test_a_whole_number_is_a_float_too():
    verify(with_attributes(S, "n", v_threshold=1))


def test_a_tensor_may_stand_for_a_number_of_a_neuron():
    node = S.node("n")
    attributes = {k: v for k, v in node.attributes.items() if k != "v_threshold"}
    verify(with_node(S, "n", attributes=attributes, parameters={"v_threshold": torch.tensor([0.5, 1.0]).double()}))


def test_a_graph_may_be_a_wire():
    verify(Graph(("x",), ("x",), (), {"x": Signal("x", (2,))}))


def test_signals_that_nobody_uses_are_looked_at_too():
    with pytest.raises(GraphError, match="'z'"):
        verify(replace(S, signals={**S.signals, "z": Signal("z", (-1,))}))


def test_a_neuron_whose_states_have_another_shape_is_named():
    b = GraphBuilder()
    x, v = b.input("x", (2,)), b.state("v", (2, 2))
    with pytest.raises(GraphError, match=r"n \(integrate_fire\)"):  # else 2 samples would meet 2 features
        b.append(Node("n", "integrate_fire", (x, v), ("n", "w"), dict(S.node("n").attributes)))
        b.carry(v, "w")
        b.finish(["n"])


def test_meta_tensors_and_large_shapes_cost_nothing():
    """Shapes are found without data: 10¹² values."""
    b = GraphBuilder()
    x = b.input("x", (1000, 1000, 1000, 1000))
    verify(b.finish([b.add("relu", (b.add("relu", (x,)),))]))


AXES = {
    "softmax": ("softmax", {"axis": -3}),
    "softmax from the front": ("softmax", {"axis": 0}),
    "mean": ("mean", {"axes": (-3,), "keepdim": True}),
    "mean of a positive axis": ("mean", {"axes": (0,), "keepdim": True}),
    "sum": ("sum", {"axes": (-1, -3), "keepdim": True}),
    "slice": ("slice", {"axis": -3, "start": 0, "stop": 1, "step": 1}),
    "roll": ("roll", {"shifts": (1,), "axes": (-3,)}),
    "roll of all": ("roll", {"shifts": (1, 1), "axes": (0, -1)}),
    "permute": ("permute", {"axes": (-1, -2, -3)}),
    "permute twice the same": ("permute", {"axes": (-1, -1)}),
    "concat": ("concat", {"axis": -3}),
    "pad": ("pad", {"amounts": (0, 0, 0, 0, 1, 0), "mode": "constant", "value": 0.0}),
    "layer norm": ("layer_norm", {"axes": 3, "eps": 1e-5}),
    "an axis beyond": ("softmax", {"axis": -4}),
}


@pytest.mark.parametrize("name", AXES)
def test_an_axis_that_is_the_batch_is_named(name):
    """Axes count from the end of a sample: x is (2, 3), so −3 is the batch, and so is every axis from the front."""
    op, attributes = AXES[name]
    b = GraphBuilder()
    x = b.input("x", (2, 3))
    with pytest.raises(GraphError, match=rf"y \({op}\)") as caught:
        b.finish([b.add(op, (x,), attributes, name="y")])
    assert "\n" not in str(caught.value)


def test_a_taken_axis_that_is_the_batch_is_named():
    b = GraphBuilder()
    with pytest.raises(GraphError, match=r"y \(take\)"):
        b.finish([b.add("take", (b.input("x", (2, 3)),), {"axis": -3}, {"index": torch.tensor([0])}, name="y")])


@pytest.mark.parametrize("rows", [2, 3, 1009, 1013])
@pytest.mark.parametrize("place", ["scale", "threshold"])
def test_what_broadcasts_along_the_batch_is_named(place, rows):
    """(K, 1) on features: samples would meet rows, and a neuron would read states that are not there."""
    b = GraphBuilder()
    x, v, stored = b.input("x", (2,)), b.state("v", (2,)), torch.full((rows, 1), 0.5)
    attributes, parameters = dict(S.node("n").attributes), {}
    if place == "scale":
        x = "s"
        nodes = [Node("s", "scale", ("x",), ("s",), {}, {"weight": stored})]
    else:
        del attributes["v_threshold"]
        parameters, nodes = {"v_threshold": stored}, []
    nodes.append(Node("n", "integrate_fire", (x, v), ("n", "w"), attributes, parameters))
    signals = {name: Signal(name, (2,)) for name in ("x", "v", "s", "n", "w") if name != "s" or place == "scale"}
    graph = Graph(("x",), ("n",), tuple(nodes), signals, (State("v", "w", 0.0),))
    with pytest.raises(GraphError, match=rf"{nodes[0].name} \(") as caught:
        verify(graph)
    assert "\n" not in str(caught.value)


def test_stored_rows_as_many_as_samples_of_the_check_are_no_batch():
    b = GraphBuilder()
    x = b.input("x", (1009, 1))
    y = b.add("scale", (x,), {}, {"weight": torch.ones(1009, 1)}, name="y")
    verify(b.finish([b.add("reshape", (y,), {"shape": (1009,)}, name="z")]))


def test_numbers_of_two_types_meet_no_state_of_one():
    """A weight in float64 behind one in float32: the membrane would be read with twice its bytes."""
    b = GraphBuilder()
    x = b.add("scale", (b.input("x", (2,)),), {}, {"weight": torch.ones(2)})
    x = b.add("scale", (x,), {}, {"weight": torch.ones(2, dtype=torch.float64)})
    b.append(Node("n", "integrate_fire", (x, b.state("v", (2,))), ("n", "w"), dict(S.node("n").attributes)))
    b.carry("v", "w")
    for stepwise in (False, True):
        with pytest.raises(InvalidArgumentError, match=r"the state v is torch.float32 .* takes torch.float64"):
            compiler.interpret(b.finish(["n"]), torch.ones(3, 1, 2), stepwise=stepwise)
