"""Interpret: what a graph means, on a graph small enough to do by hand, and what it refuses.

Would break it: a state that is not carried, or carried from call to call; probes of another step; an input that is
repeated the wrong number of times.
"""

import pytest
import torch

from compiler import interpret
from compiler.graph import BINARY, Graph, Node, Signal, State
from snnkit.errors import InvalidArgumentError, UnknownNameError


def neuron(name, source, **attributes):
    constants = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True, **attributes}
    return Node(name, "integrate_fire", (source, f"{name}.v"), (name, f"{name}.v_next"), constants)


@pytest.fixture
def graph():
    """x → ·w → IF, with w = [[0.5, 0], [0, 1]] and a bias of 0.25 on the second."""
    weight = torch.tensor([[0.5, 0.0], [0.0, 1.0]], dtype=torch.float64)
    layer = Node("fc", "linear", ("x",), ("fc",), {}, {"weight": weight, "bias": torch.tensor([0.0, 0.25]).double()})
    names = ("x", "fc", "n", "n.v", "n.v_next")
    signals = {name: Signal(name, (2,), BINARY if name == "n" else Signal(name, ()).type) for name in names}
    return Graph(("x",), ("n",), (layer, neuron("n", "fc")), signals, (State("n.v", "n.v_next", 0.0),), timesteps=4)


X = torch.tensor([[1.0, 0.5]], dtype=torch.float64)


def test_by_hand(graph):
    """Currents are (.5, .75) at each step: the first fires at every second, the second at 1.5 of two."""
    spikes, records = interpret(graph, X, probes=["n.v", "n.v_next", "fc"])
    assert spikes[:, 0].tolist() == [[0, 0], [1, 1], [0, 0], [1, 1]]
    assert records["fc"][:, 0].tolist() == [[0.5, 0.75]] * 4
    assert records["n.v"][:, 0].tolist() == [[0, 0], [0.5, 0.75], [0, 0], [0.5, 0.75]]
    assert torch.equal(records["n.v"][1:], records["n.v_next"][:-1])


def test_a_sequence_is_fed_step_by_step(graph):
    x = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.75]]], dtype=torch.float64)
    spikes, _ = interpret(graph, x)
    assert spikes[:, 0].tolist() == [[1, 0], [0, 0], [0, 1]]


def test_an_image_is_its_repetition(graph):
    for steps in (None, 1, 7):
        repeated = X.expand(steps or 4, *X.shape)
        assert torch.equal(interpret(graph, X, timesteps=steps)[0], interpret(graph, repeated)[0])


def test_every_call_starts_at_the_initial_state(graph):
    first, _ = interpret(graph, X, timesteps=3)
    assert torch.equal(interpret(graph, X, timesteps=3)[0], first)
    charged = Graph(**{**vars(graph), "states": (State("n.v", "n.v_next", 0.75),)})
    spikes, records = interpret(charged, X, probes=["n.v"])
    assert records["n.v"][0].tolist() == [[0.75, 0.75]]
    assert spikes[0].tolist() == [[1, 1]]


def test_images_of_a_batch_are_independent(graph):
    x = torch.rand(5, 2, dtype=torch.float64)
    together = interpret(graph, x)[0]
    assert torch.equal(together, torch.cat([interpret(graph, one.unsqueeze(0))[0] for one in x], 1))


def test_probes_are_what_was_asked_for(graph):
    assert interpret(graph, X)[1] == {}
    output, records = interpret(graph, X, probes=("n", "x"))
    assert set(records) == {"n", "x"}
    assert torch.equal(records["n"], output)
    assert records["x"].shape == (4, 1, 2)


def test_no_gradient_is_kept(graph):
    assert not interpret(graph, X.clone().requires_grad_())[0].requires_grad


def test_a_graph_may_be_a_wire():
    wire = Graph(("x",), ("x",), (), {"x": Signal("x", (2,))}, timesteps=2)
    assert torch.equal(interpret(wire, X)[0], torch.stack([X, X]))


def test_an_unknown_probe_names_the_nearest(graph):
    with pytest.raises(UnknownNameError, match=r"'n\.v_next'"):
        interpret(graph, X, probes=["n.v_nxt"])


@pytest.mark.parametrize("steps", [0, -1])
def test_too_few_steps_are_named(graph, steps):
    with pytest.raises(InvalidArgumentError, match="timesteps"):
        interpret(graph, X, timesteps=steps)


def test_steps_that_contradict_the_sequence_are_named(graph):
    with pytest.raises(InvalidArgumentError, match="timesteps=3, but the sequence has 2"):
        interpret(graph, X.expand(2, 1, 2), timesteps=3)
    assert len(interpret(graph, X.expand(2, 1, 2), timesteps=2)[0]) == 2


@pytest.mark.parametrize("shape", [(1, 3), (2,), (4, 1, 3), (0, 1, 2), (2, 2, 1, 2), ()], ids=str)
def test_an_input_of_another_shape_is_named(graph, shape):
    with pytest.raises(InvalidArgumentError, match=r"'network' takes \(B, 2\) or \(T, B, …\)"):
        interpret(graph, torch.zeros(shape))


def test_graphs_with_several_inputs_are_refused(graph):
    two = Graph(**{**vars(graph), "inputs": ("x", "y"), "signals": {**graph.signals, "y": Signal("y", (2,))}})
    with pytest.raises(InvalidArgumentError, match="one input and one output"):
        interpret(two, X)
