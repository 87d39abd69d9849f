"""Feedback, delays and nested graphs in NIR files: one edge of a cycle carries what was sent a step before."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import compiler
from compiler.exchange.nir import NirError, read, write
from compiler.graph import GraphBuilder
from snnkit.errors import CorruptFileError
from snnkit.importers import from_nir

package = pytest.importorskip("nir")
N, T = 5, 12
RNG = np.random.default_rng(3)
W, V, B = RNG.normal(size=(N, N)) * 0.6, RNG.normal(size=(N, N)) * 0.6, RNG.normal(size=N) * 0.5


def lif(tau=2.5, r=1.0):
    return package.LIF(*(np.full(N, value) for value in (tau, r, 0.0, 0.3)))


def file(path, nodes, edges):
    ends = {"input": package.Input(np.array([N])), **nodes, "output": package.Output(np.array([N]))}
    package.write(path, package.NIRGraph(ends, edges, type_check=False))
    return path


def drive(batch=4):
    return torch.randn(T, batch, N, dtype=torch.float64) + 0.3


CYCLES = {
    "own loop": ({"a": lif()}, [("input", "a"), ("a", "a"), ("a", "output")]),
    "one layer": ({"a": lif(), "w": package.Linear(W)}, [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")]),
    "with a bias": (
        {"a": lif(), "w": package.Affine(W, B)},
        [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")],
    ),
    "output in the loop": (
        {"a": lif(), "w": package.Linear(W)},
        [("input", "a"), ("a", "w"), ("w", "a"), ("w", "output")],
    ),
    "two layers, two loops": (
        {"a": lif(), "b": lif(3.0), "w": package.Linear(W), "v": package.Affine(V, B), "u": package.Linear(W.T)},
        [("input", "a"), ("a", "w"), ("w", "b"), ("b", "v"), ("v", "a"), ("b", "u"), ("u", "b"), ("b", "output")],
    ),
    "a loop of membranes": (
        {"a": package.LI(*(np.full(N, v) for v in (2.0, 1.0, 0.0))), "w": package.Linear(0.3 * W)},
        [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")],
    ),
    "three summands": (
        {"a": lif(), "w": package.Linear(W), "v": package.Linear(V)},
        [("input", "a"), ("a", "w"), ("a", "v"), ("w", "a"), ("v", "a"), ("a", "output")],
    ),
}


@pytest.mark.parametrize("case", CYCLES)
def test_cycles_mean_what_the_importer_says(case, tmp_path):
    """``from_nir`` runs the same file with code of its own; a late edge elsewhere, or a step more, would show."""
    path = file(tmp_path / "a.nir", *CYCLES[case])
    graph, x = read(path), drive()
    assert any(state.read.endswith(".late") for state in graph.states)
    y = compiler.interpret(graph, x)[0]
    expected = from_nir(path).double()(x)
    torch.testing.assert_close(y, expected.to(y.dtype), rtol=1e-9, atol=1e-9)
    without = file(tmp_path / "b.nir", *_cut(*CYCLES[case]))
    assert not torch.equal(y, compiler.interpret(read(without), x)[0])


def _cut(nodes, edges):
    """The same network whose feedback weighs nothing."""
    cut = {
        name: package.Linear(0 * node.weight) if name != "a" and hasattr(node, "weight") else node
        for name, node in nodes.items()
    }
    kept = [edge for edge in edges if edge != ("a", "a")]
    return cut, kept


@pytest.mark.parametrize("case", CYCLES)
def test_cycles_are_written_as_cycles(case, tmp_path):
    path = file(tmp_path / "a.nir", *CYCLES[case])
    graph, x = read(path), drive()
    write(graph, tmp_path / "b.nir")
    network = package.read(tmp_path / "b.nir")
    assert sorted(network.edges) == sorted(tuple(edge) for edge in package.read(path, type_check=False).edges)
    back = read(tmp_path / "b.nir")
    assert torch.equal(compiler.interpret(graph, x)[0], compiler.interpret(back, x)[0])


def weights(bias=False):
    drawn = torch.from_numpy(V)
    return ("linear", {"weight": drawn, "bias": torch.from_numpy(B)} if bias else {"weight": drawn})


RECURRENT = {
    "linear": ([weights()], "lif"),
    "one weight": ([("scale", {"weight": torch.tensor(-0.7).double()})], "lif"),
    "one weight a channel": ([("scale", {"weight": torch.linspace(-1, 1, N).double()})], "cuba_lif"),
    "two layers": ([weights(), ("scale", {"weight": torch.tensor(0.4).double()})], "lif"),
    "nothing between": ([], "lif"),
    "with a bias": ([weights(bias=True)], "lif"),
    "a bias further back": ([("scale", {"weight": torch.tensor(0.4).double()}), weights(bias=True)], "lif"),
}
CONSTANTS = {
    "lif": ({"tau": 2.0, "decay_input": True}, [("v", 0.0)]),
    "cuba_lif": ({"current_decay": 0.5, "voltage_decay": 0.25}, [("v", 0.0), ("i", 0.0)]),
}


@pytest.mark.parametrize("case", RECURRENT)
def test_recurrent_layers_make_the_round(case, tmp_path):
    """A bias of the feedback acts from the first step on, in the graph and in a file's cycle."""
    layers, neuron = RECURRENT[case]
    builder = GraphBuilder("recurrent", timesteps=4)
    x = builder.input("input", (N,))
    drive_in = builder.add("linear", (x,), {}, {"weight": torch.from_numpy(W)}, name="in")
    back = sent = builder.state("sent", (N,))
    for number, (op, parameters) in enumerate(layers):
        back = builder.add(op, (back,), {}, parameters, name=f"back{number}")
    total = builder.add("add", (drive_in, back), name="total")
    own, states = CONSTANTS[neuron]
    constants = {**own, "v_threshold": 0.3, "v_reset": 0.0, "detach_reset": True}
    spikes = builder.neuron(neuron, total, constants, states=states, name="cells")
    builder.carry(sent, spikes)
    graph = builder.finish([spikes])
    write(graph, tmp_path / "a.nir", dt=1e-3)
    network = package.read(tmp_path / "a.nir")
    assert not any(isinstance(node, package.Delay) for node in network.nodes.values())
    x = drive()
    y = compiler.interpret(graph, x)[0]
    assert 0.05 < y.mean() < 0.95
    assert torch.equal(y, compiler.interpret(read(tmp_path / "a.nir"), x)[0])
    torch.testing.assert_close(from_nir(tmp_path / "a.nir", dt=1e-3).double()(x), y)


def test_feedback_that_others_read_late_too_gets_a_delay(tmp_path):
    """The cycle's own late edge lies behind the weights; what reads them elsewhere must not see them a step early."""
    builder = GraphBuilder("tap", timesteps=4)
    x = builder.input("input", (N,))
    sent = builder.state("sent", (N,))
    back = builder.add("linear", (sent,), {}, {"weight": torch.from_numpy(V)}, name="back")
    total = builder.add("add", (x, back), name="total")
    constants = {"tau": 2.0, "decay_input": True, "v_threshold": 0.3, "v_reset": 0.0, "detach_reset": True}
    builder.carry(sent, builder.neuron("lif", total, constants, states=[("v", 0.0)], name="cells"))
    graph = builder.finish(["cells", back])
    write(graph, tmp_path / "a.nir")
    given = drive()
    for one, other in zip(*(compiler.interpret(g, given)[0] for g in (graph, read(tmp_path / "a.nir"))), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_delays_are_whole_steps(steps, tmp_path):
    dt = 1e-3
    nodes = {"d": package.Delay(np.full(N, steps * dt)), "w": package.Linear(W)}
    path = file(tmp_path / "a.nir", nodes, [("input", "d"), ("d", "w"), ("w", "output")])
    graph, x = read(path, dt=dt), drive()
    expected = torch.cat([torch.zeros(steps, *x.shape[1:], dtype=x.dtype), x])[:T] @ torch.from_numpy(W).T
    torch.testing.assert_close(compiler.interpret(graph, x)[0], expected)
    torch.testing.assert_close(from_nir(path, dt=dt)(x), expected)
    write(graph, tmp_path / "b.nir", dt=dt)
    delays = [n for n in package.read(tmp_path / "b.nir").nodes.values() if isinstance(n, package.Delay)]
    assert [float(n.delay[0]) for n in delays] == ([steps * dt] if steps else [])
    torch.testing.assert_close(compiler.interpret(read(tmp_path / "b.nir"), x)[0], expected)


def test_a_delay_in_a_cycle_is_all_the_delay_there_is(tmp_path):
    nodes = {"a": lif(), "d": package.Delay(np.full(N, 2.0)), "w": package.Linear(W)}
    edges = [("input", "a"), ("a", "d"), ("d", "w"), ("w", "a"), ("a", "output")]
    graph, x = read(file(tmp_path / "a.nir", nodes, edges)), drive()
    v, sent = np.zeros((4, N)), [np.zeros((4, N))] * 2
    for t, x_t in enumerate(x.numpy()):
        v = v + (x_t + sent[t] @ W.T - v) / 2.5
        s = (v > 0.3).astype(float)
        v = np.where(s == 1, 0, v)
        sent.append(s)
    y = compiler.interpret(graph, x)[0]
    np.testing.assert_array_equal(y.numpy(), np.stack(sent[2:]))
    assert torch.equal(from_nir(tmp_path / "a.nir").double()(x), y)
    write(graph, tmp_path / "b.nir")
    assert torch.equal(y, compiler.interpret(read(tmp_path / "b.nir"), x)[0])


def test_now_and_a_step_before_are_two_edges(tmp_path):
    """x[t] + x[t−1]: the same two nodes, once at once and once late."""
    builder = GraphBuilder("sum", timesteps=3)
    x = builder.input("input", (N,))
    before = builder.state("before", (N,))
    builder.carry(before, x)
    graph = builder.finish([builder.add("add", (x, before), name="both")])
    write(graph, tmp_path / "a.nir")
    given = drive()
    expected = given + torch.cat([torch.zeros_like(given[:1]), given[:-1]])
    for one in (graph, read(tmp_path / "a.nir")):
        assert torch.equal(compiler.interpret(one, given)[0], expected)


def test_states_that_nir_cannot_say(tmp_path):
    builder = GraphBuilder("sum", timesteps=3)
    x = builder.input("input", (N,))
    before = builder.state("before", (N,), 0.5)
    builder.carry(before, x)
    with pytest.raises(NirError, match="'before' does not start at 0"):
        write(builder.finish([builder.add("add", (x, before))]), tmp_path / "a.nir")
    builder = GraphBuilder("sum", timesteps=3)
    x = builder.input("input", (N,))
    one, two = builder.state("one", (N,)), builder.state("two", (N,))
    builder.carry(one, builder.add("identity", (two,)))
    builder.carry(two, builder.add("identity", (one,)))
    with pytest.raises(NirError, match="written by states alone"):
        write(builder.finish([builder.add("add", (x, one))]), tmp_path / "a.nir")
    assert list(tmp_path.iterdir()) == []


def test_shapes_in_a_cycle_must_agree(tmp_path):
    nodes = {"a": lif(), "w": package.Linear(np.ones((3, N)))}
    with pytest.raises(CorruptFileError, match=r"w is read in shape \(5,\) and sends \(3,\)"):
        read(file(tmp_path / "a.nir", nodes, [("input", "a"), ("a", "w"), ("w", "a"), ("a", "output")]))
    nodes = {"d": package.Delay(np.ones(3))}
    with pytest.raises(CorruptFileError, match=r"d is read in shape \(3,\) and sends \(5,\)"):
        read(file(tmp_path / "a.nir", nodes, [("input", "d"), ("d", "output")]))


def test_nested_graphs_are_unfolded(tmp_path):
    inner = package.NIRGraph(
        {"input": package.Input(np.array([N])), "w": package.Linear(W), "output": package.Output(np.array([N]))},
        [("input", "w"), ("w", "output")],
        type_check=False,
    )
    nodes = {"a": lif(), "inner": inner}
    path = file(tmp_path / "a.nir", nodes, [("input", "a"), ("a", "inner"), ("inner", "a"), ("a", "output")])
    graph, x = read(path), drive()
    assert {node.name for node in graph} >= {"a", "inner.w"}
    y = compiler.interpret(graph, x)[0]
    torch.testing.assert_close(y, from_nir(path).double()(x))
    same = file(tmp_path / "b.nir", *CYCLES["one layer"])
    assert torch.equal(y, compiler.interpret(read(same), x)[0])


def test_a_nested_graph_with_two_inputs_is_refused(tmp_path):
    inner = package.NIRGraph(
        {"x": package.Input(np.array([N])), "y": package.Input(np.array([N])), "output": package.Output(np.array([N]))},
        [("x", "output"), ("y", "output")],
        type_check=False,
    )
    path = file(tmp_path / "a.nir", {"inner": inner}, [("input", "inner"), ("inner", "output")])
    with pytest.raises(NirError, match="nested at 'inner' has 2 inputs") as caught:
        read(path)
    assert "\n" not in str(caught.value)
