"""Interpret: what a graph means, on graphs small enough to do by hand, and what it refuses.

There are two ways, step by step and all steps at once. Would break it: a state that is not carried, or carried from
call to call; probes of another step; an input that is repeated the wrong number of times; a way that is taken where
feedback forbids it; a signal that is kept after its last reader.
"""

import weakref
from dataclasses import replace

import pytest
import torch
from support.graphs import chain, small, wide

from compiler.graph import Graph, GraphBuilder, Node, Signal, verify
from compiler.graph.graph import State
from compiler.interpreting import Inputs, interpret, last_reads, read_inputs, runs_at_once
from snnkit.errors import InvalidArgumentError, UnknownNameError

X = torch.tensor([[1.0, 0.5]], dtype=torch.float64)
WAYS = pytest.mark.parametrize("stepwise", [True, False], ids=["stepwise", "at once"])
IF = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}


@pytest.fixture
def graph():
    """x → ·w → IF, with w = [[0.5, 0], [0, 1]] and a bias of 0.25 on the second; T = 4."""
    return small()


@WAYS
def test_by_hand(graph, stepwise):
    """Currents are (.5, .75) at each step: the first fires at every second, the second at 1.5 of two."""
    spikes, records = interpret(graph, X, probes=["fc"], stepwise=stepwise)
    assert spikes[:, 0].tolist() == [[0, 0], [1, 1], [0, 0], [1, 1]]
    assert records["fc"][:, 0].tolist() == [[0.5, 0.75]] * 4


def test_states_by_hand(graph):
    _, records = interpret(graph, X, probes=["n.v", "n.v_next"])
    assert records["n.v"][:, 0].tolist() == [[0, 0], [0.5, 0.75], [0, 0], [0.5, 0.75]]
    assert torch.equal(records["n.v"][1:], records["n.v_next"][:-1])


@WAYS
def test_a_sequence_is_fed_step_by_step(graph, stepwise):
    x = torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.75]]], dtype=torch.float64)
    spikes, _ = interpret(graph, x, stepwise=stepwise)
    assert spikes[:, 0].tolist() == [[1, 0], [0, 0], [0, 1]]


@WAYS
@pytest.mark.parametrize("static", [True, False])
def test_an_image_is_its_repetition(stepwise, static):
    graph = small(static_input=static)
    for steps in (None, 1, 7):
        repeated = X.expand(steps or 4, *X.shape)
        once = interpret(graph, X, timesteps=steps, stepwise=stepwise)[0]
        assert torch.equal(once, interpret(graph, repeated, stepwise=stepwise)[0])


@WAYS
def test_every_call_starts_at_the_initial_state(graph, stepwise):
    first, _ = interpret(graph, X, timesteps=3, stepwise=stepwise)
    assert torch.equal(interpret(graph, X, timesteps=3, stepwise=stepwise)[0], first)
    charged = replace(graph, states=(State("n.v", "n.v_next", 0.75),))
    assert interpret(charged, X, stepwise=stepwise)[0][0].tolist() == [[1, 1]]
    assert interpret(charged, X, probes=["n.v"])[1]["n.v"][0].tolist() == [[0.75, 0.75]]


@WAYS
def test_a_start_may_differ_by_neuron_and_is_not_written_to(graph, stepwise):
    start = torch.tensor([0.0, 0.75], dtype=torch.float64)
    charged = replace(graph, states=(State("n.v", "n.v_next", start),))
    x = X.expand(3, -1).contiguous()
    for _ in range(2):
        assert interpret(charged, x, stepwise=stepwise)[0][0].tolist() == [[0, 1]] * 3
    assert start.tolist() == [0.0, 0.75]


@WAYS
def test_images_of_a_batch_are_independent(graph, stepwise):
    x = torch.rand(5, 2, dtype=torch.float64)
    together = interpret(graph, x, stepwise=stepwise)[0]
    alone = [interpret(graph, one.unsqueeze(0), stepwise=stepwise)[0] for one in x]
    assert torch.equal(together, torch.cat(alone, 1))


@WAYS
def test_probes_are_what_was_asked_for(graph, stepwise):
    assert interpret(graph, X, stepwise=stepwise)[1] == {}
    output, records = interpret(graph, X, probes=("n", "x"), stepwise=stepwise)
    assert set(records) == {"n", "x"}
    assert torch.equal(records["n"], output)
    assert records["x"].shape == (4, 1, 2)


@WAYS
def test_every_signal_can_be_probed(stepwise):
    """Also constants, inputs, signals that are read last long before the end: (T, B, …) each."""
    graph, inputs = wide(), (torch.randint(0, 2, (3, 2, 2, 4, 4)).float(), torch.randn(3, 2, 2))
    _, records = interpret(graph, inputs, probes=list(graph.signals), stepwise=stepwise)
    for name, signal in graph.signals.items():
        assert records[name].shape == (3, 2, *signal.shape), name
    plain, _ = interpret(graph, inputs, stepwise=stepwise)
    assert torch.equal(records[graph.outputs[0]], plain[0])


@WAYS
def test_no_gradient_is_kept_and_the_input_is_left_alone(graph, stepwise):
    x = X.clone().requires_grad_()
    assert not interpret(graph, x, stepwise=stepwise)[0].requires_grad
    assert torch.equal(x.detach(), X)


@WAYS
def test_a_graph_may_be_a_wire(stepwise):
    wire = Graph(("x",), ("x",), (), {"x": Signal("x", (2,))}, timesteps=2)
    assert torch.equal(interpret(wire, X, stepwise=stepwise)[0], torch.stack([X, X]))


# Several inputs and outputs.


def two_and_two():
    """y0 = IF(a) + 2 b, y1 = a, y2 the same as y0."""
    b = GraphBuilder("two", timesteps=3)
    x, y = b.input("a", (2,)), b.input("b", (2,))
    spikes = b.neuron("integrate_fire", x, IF, states=[("v", 0.0)], name="n")
    total = b.add("add", (spikes, b.add("scale", (y,), parameters={"weight": torch.tensor(2.0).double()})))
    return b.finish([total, x, total])


@WAYS
def test_several_inputs_and_outputs_by_hand(stepwise):
    a = torch.tensor([[[0.5, 1.0]], [[0.5, 0.0]], [[0.5, 3.0]]], dtype=torch.float64)
    b = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64)
    (total, same, again), _ = interpret(two_and_two(), (a, b), stepwise=stepwise)
    assert total[:, 0].tolist() == [[2, 1], [1, 0], [0, 3]]
    assert torch.equal(same, a)
    assert torch.equal(again, total)


@WAYS
def test_still_inputs_are_repeated(stepwise):
    a, b = torch.tensor([[0.5, 1.0]]).double(), torch.tensor([[1.0, 0.0]]).double()
    (total, same, _), _ = interpret(two_and_two(), [a, b], stepwise=stepwise)
    assert total[:, 0].tolist() == [[2, 1], [3, 1], [2, 1]]
    assert torch.equal(same, torch.stack([a] * 3))
    assert interpret(two_and_two(), [a, b], timesteps=5, stepwise=stepwise)[0][0].shape == (5, 1, 2)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda a: a, "has 2 inputs, got 1"),
        (lambda a: (a, a, a), "has 2 inputs, got 3"),
        (lambda a: (a, a[0]), "some inputs are sequences"),
        (lambda a: (a, a[:2]), "2, 3|3, 2|steps"),
        (lambda a: (a, a.expand(3, 2, 2)), "samples"),
        (lambda a: (a, torch.zeros(3, 1, 4)), r"takes \(B, 2\) or \(T, B, 2\), got \(3, 1, 4\)"),
        (lambda a: (), "has 2 inputs, got 0|takes a tensor, or a tuple of them"),
    ],
    ids=["one", "three", "mixed", "lengths", "batches", "shape", "none"],
)
def test_inputs_that_do_not_fit_are_named(given, words):
    with pytest.raises(InvalidArgumentError, match=words) as caught:
        interpret(two_and_two(), given(torch.zeros(3, 1, 2).double()))
    assert "\n" not in str(caught.value)


# The two ways.


def recurrent():
    """n(x + last spikes): the spikes of one step are read in the next."""
    b = GraphBuilder("recurrent", timesteps=5)
    x, last = b.input("x", (2,)), b.state("last", (2,))
    spikes = b.neuron("integrate_fire", b.add("add", (x, last)), IF, states=[("v", 0.0)], name="n")
    b.carry(last, spikes)
    return b.finish([spikes])


def test_feedback_takes_the_plain_way():
    graph = recurrent()
    assert not runs_at_once(graph)
    x = torch.full((1, 2), 0.5, dtype=torch.float64)
    assert interpret(graph, x)[0][:, 0, 0].tolist() == [0, 1, 1, 1, 1]


def test_whoever_looks_at_a_state_takes_the_plain_way(graph):
    assert runs_at_once(graph)
    assert runs_at_once(graph, ["fc", "n", "x"])
    assert not runs_at_once(graph, ["n.v"])
    assert not runs_at_once(graph, ["n.v_next"])
    assert not runs_at_once(replace(graph, outputs=("n", "n.v_next")))
    assert not runs_at_once(replace(graph, outputs=("n.v",)))


def test_a_membrane_that_another_node_reads_takes_the_plain_way(graph):
    b = Node("leak", "relu", ("n.v_next",), ("leak",))
    read = replace(
        graph, nodes=(*graph.nodes, b), outputs=("leak",), signals={**graph.signals, "leak": Signal("leak", (2,))}
    )
    assert not runs_at_once(verify(read))
    assert interpret(read, X)[0][:, 0].tolist() == [[0.5, 0.75], [0, 0], [0.5, 0.75], [0, 0]]


def test_states_that_cross_take_the_plain_way():
    """Two neurons, each of which reads what the other wrote."""
    names = ("v", "w", "v_next", "w_next", "a", "b", "x")
    nodes = (
        Node("a", "integrate_fire", ("x", "v"), ("a", "v_next"), IF),
        Node("b", "integrate_fire", ("x", "w"), ("b", "w_next"), IF),
    )
    states = (State("v", "w_next", 0.75), State("w", "v_next", 0.0))
    crossed = verify(Graph(("x",), ("a", "b"), nodes, {n: Signal(n, (1,)) for n in names}, states, timesteps=4))
    assert not runs_at_once(crossed)
    a, b = interpret(crossed, torch.full((1, 1), 0.25))[0]
    assert a.flatten().tolist() == [1, 0, 0, 1]  # 1 of its own states, then those of b
    assert b.flatten().tolist() == [0, 0, 0, 0]


def test_a_neuron_that_reads_its_state_as_its_current_takes_the_plain_way():
    signals = {n: Signal(n, (1,)) for n in ("x", "v", "v_next", "a", "y")}
    nodes = (Node("a", "integrate_fire", ("v", "v"), ("a", "v_next"), IF), Node("y", "add", ("a", "x"), ("y",)))
    odd = verify(Graph(("x",), ("y",), nodes, signals, (State("v", "v_next", 0.6),), timesteps=2))
    assert not runs_at_once(odd)
    assert interpret(odd, torch.zeros(1, 1))[0].flatten().tolist() == [1, 0]


@pytest.mark.parametrize("still", [True, False])
@pytest.mark.parametrize("timesteps", [1, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_both_ways_give_the_same(still, timesteps, batch):
    """Constants, static parts, two neurons one after the other, several readers of one signal."""
    b = GraphBuilder("mixed", timesteps=timesteps, static_input=still)
    x = b.input("x", (3, 4, 4))
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    c = b.add("tanh", (b.constant(numbers(3, 1, 1), "c"),))
    conv = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    y = b.add("conv", (b.add("add", (x, c)),), conv, {"weight": numbers(5, 3, 3, 3)})
    lif = {"tau": 2.0, "decay_input": True, "v_threshold": 0.6, "v_reset": -0.1, "detach_reset": True}
    one = b.neuron("lif", y, lif, states=[("v", -0.1)])
    two = b.neuron("lif", b.add("add", (one, y)), lif, states=[("v", 0.2)])
    graph = b.finish([b.add("matmul", (one, two)), two, c])
    given = numbers(batch, 3, 4, 4) if still else numbers(timesteps, batch, 3, 4, 4)
    assert runs_at_once(graph)
    slow, slow_records = interpret(graph, given, probes=[one, two, c], stepwise=True)
    fast, fast_records = interpret(graph, given, probes=[one, two, c])
    for a, z in zip(slow, fast, strict=True):
        assert a.shape == z.shape
        torch.testing.assert_close(a, z, rtol=0, atol=1e-12)
    for name in (one, two):
        assert torch.equal(slow_records[name], fast_records[name])
    assert 0.02 < float(fast_records[two].mean()) < 0.98
    assert torch.equal(slow_records[c], fast_records[c])


def test_results_may_be_written_to(graph):
    """What comes back shares no memory with weights or the input, nor one step with another."""
    b = GraphBuilder(timesteps=3)
    x = b.input("x", (2,))
    c = b.constant(torch.ones(2).double(), "c")
    wire = b.finish([x, c, b.add("add", (x, c))])
    given = X.clone()
    for stepwise in (True, False):
        outputs, _ = interpret(wire, given, stepwise=stepwise)
        for output in outputs:
            before = output.clone()
            try:
                output[0] += 5.0
            except RuntimeError:
                pytest.fail("a step of the result is another step's memory")
            assert torch.equal(output[1:], before[1:])
        assert torch.equal(given, X)
        assert torch.equal(wire.node("c").parameters["value"], torch.ones(2).double())


# Watching.


@WAYS
def test_the_one_who_watches_sees_every_node_with_its_evaluations(stepwise):
    """Every node for T·B pairs of step and sample; what is static for B."""
    seen = {}

    def watch(node, facts):
        now = facts.evaluations * facts.repeats
        seen[node.name] = seen.get(node.name, 0) + now
        assert len(facts.inputs) == len(facts.values) == len(node.inputs)
        assert len(facts.outputs) == len(facts.results) == len(node.outputs)
        for signal, value in (*zip(facts.inputs, facts.values, strict=True),):
            if not any(signal.name == state.read for state in graph.states):
                assert value.shape[0] in (1, facts.evaluations), node.name
                assert tuple(value.shape[1:]) == signal.shape
        assert tuple(facts.results[0].shape[1:]) == facts.outputs[0].shape

    for static in (True, False):
        graph = small(static_input=static)
        seen.clear()
        interpret(graph, X.expand(3, -1), watch=watch, stepwise=stepwise)
        assert seen == {"fc": 3 if static else 12, "n": 12}
        seen.clear()
        interpret(graph, X.expand(5, 3, -1), watch=watch, stepwise=stepwise)
        assert seen == {"fc": 15, "n": 15}  # the steps of a sequence may differ


@WAYS
def test_constants_are_made_once(stepwise):
    b = GraphBuilder(timesteps=4)
    x = b.input("x", (2,))
    c = b.add("relu", (b.constant(torch.ones(2).double(), "c"),), name="d")
    graph = b.finish([b.add("add", (x, c), name="y")])
    seen = {}
    interpret(
        graph,
        X.expand(3, -1),
        watch=lambda node, facts: seen.update({node.name: seen.get(node.name, 0) + facts.evaluations * facts.repeats}),
        stepwise=stepwise,
    )
    assert seen["y"] == 12
    assert seen["c"] <= 3
    assert seen["d"] <= 3


@WAYS
def test_all_that_is_seen_adds_up_to_the_result(graph, stepwise):
    total = []
    x = torch.rand(6, 3, 2, dtype=torch.float64)
    spikes, _ = interpret(
        graph,
        x,
        watch=lambda n, f: total.append(float(f.results[0].sum())) if n.name == "n" else None,
        stepwise=stepwise,
    )
    assert sum(total) == float(spikes.sum()) > 0


# Memory.


@WAYS
def test_memory_does_not_grow_with_depth(stepwise):
    """At any time only the signals that somebody still reads are alive."""
    made, most = [], [0]

    def watch(node, facts):
        made.extend(weakref.ref(result) for result in facts.results)
        most[0] = max(most[0], sum(one() is not None for one in made))

    peaks = []
    for depth in (10, 60):
        made.clear()
        most[0] = 0
        interpret(chain(depth), torch.randn(2, 3), watch=watch, stepwise=stepwise)
        peaks.append(most[0])
    assert peaks[1] <= peaks[0] <= 4


@WAYS
def test_what_is_read_late_is_kept_until_then(stepwise):
    """A shortcut over the whole depth."""
    b = GraphBuilder()
    x = b.input("x", (3,))
    first = y = b.add("relu", (x,))
    for _ in range(20):
        y = b.add("neg", (y,))
    graph = b.finish([b.add("add", (y, first)), y])
    given = torch.randn(2, 3)
    total, last = interpret(graph, given, stepwise=stepwise)[0]
    assert torch.equal(last[0], given.relu())
    assert torch.equal(total[0], 2 * given.relu())


def test_last_reads():
    graph = wide()
    done = last_reads(graph, set(graph.outputs))
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    for name, signals in done.items():
        for signal in signals:
            assert signal not in graph.outputs
            assert all(order[reader.name] <= order[name] for reader in graph.consumers(signal))
    dropped = [signal for signals in done.values() for signal in signals]
    assert len(dropped) == len(set(dropped))
    assert set(dropped) == {s for n in graph for s in (*n.inputs, *n.outputs)} - set(graph.outputs)


# What is refused.


def test_an_unknown_probe_names_the_nearest(graph):
    with pytest.raises(UnknownNameError, match=r"'n\.v_next'"):
        interpret(graph, X, probes=["n.v_nxt"])


@pytest.mark.parametrize("steps", [0, -1])
def test_too_few_steps_are_named(graph, steps):
    with pytest.raises(InvalidArgumentError, match="timesteps"):
        interpret(graph, X, timesteps=steps)


def test_steps_that_contradict_the_sequence_are_named(graph):
    with pytest.raises(InvalidArgumentError, match="timesteps=3: the sequence has 2 steps"):
        interpret(graph, X.expand(2, 1, 2), timesteps=3)
    assert len(interpret(graph, X.expand(2, 1, 2), timesteps=2)[0]) == 2


@pytest.mark.parametrize("shape", [(1, 3), (2,), (4, 1, 3), (0, 1, 2), (2, 2, 1, 2), ()], ids=str)
def test_an_input_of_another_shape_is_named(graph, shape):
    with pytest.raises(InvalidArgumentError, match=r"'small' takes \(B, 2\) or \(T, B, 2\), got"):
        interpret(graph, torch.zeros(shape))


@pytest.mark.parametrize("given", [None, 3, "x", [[1.0, 2.0]], X.numpy()], ids=lambda v: type(v).__name__)
def test_an_input_that_is_no_tensor_is_named(graph, given):
    with pytest.raises(InvalidArgumentError) as caught:
        interpret(graph, given)
    assert "\n" not in str(caught.value)


def test_a_number_for_each_sample_has_no_other_axes():
    """Signals of shape (): (B,) is still, (T, B) a sequence."""
    b = GraphBuilder(timesteps=2)
    graph = b.finish([b.add("neg", (b.input("x", ()),))])
    assert interpret(graph, torch.ones(3))[0].shape == (2, 3)
    assert interpret(graph, torch.ones(4, 3))[0].shape == (4, 3)


def test_inputs_as_they_are_read(graph):
    given = read_inputs(graph, X.expand(5, 3, 2), None)
    assert isinstance(given, Inputs)
    assert (given.still, given.timesteps, given.batch) == (False, 5, 3)
    given = read_inputs(graph, X.expand(3, 2), 7)
    assert (given.still, given.timesteps, given.batch) == (True, 7, 3)


@WAYS
def test_an_empty_batch_gives_an_empty_result(graph, stepwise):
    assert interpret(graph, torch.zeros(0, 2).double(), stepwise=stepwise)[0].shape == (4, 0, 2)


def test_a_state_of_whole_numbers_or_half_precision_runs_in_the_type_of_the_graph(graph):
    """The type is that of the parameters, else that of the input."""
    b = GraphBuilder(timesteps=3)
    plain = b.finish([b.neuron("integrate_fire", b.input("x", (2,)), IF, states=[("v", 0.0)])])
    for dtype in (torch.float32, torch.float64):
        for stepwise in (True, False):
            assert interpret(plain, X.to(dtype), stepwise=stepwise)[0].dtype == dtype
