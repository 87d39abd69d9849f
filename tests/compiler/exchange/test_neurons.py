"""Neurons in NIR: every carried one makes the round, spike by spike, and means what the equations say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from support.nets import Chain
from torch import nn

import compiler
from compiler.exchange.nir import NirError, read, table, write
from compiler.graph import operations
from snnkit.errors import SnnkitError
from snnkit.importers import from_nir
from snnkit.neurons import IF, LIF, NO_RESET, CuBaLIF, LeakyIntegrator, ParametricLIF

package = pytest.importorskip("nir")
N, T = 6, 20
each = torch.linspace(0.5, 1.5, N)
NEURONS = {
    "IF per channel": IF(each, v_reset=0.1 * each),
    "LIF per channel": LIF(1.3 + each, v_threshold=0.4 * each),
    "LIF per channel, plain input": LIF(1.3 + each, v_threshold=0.8 * each, decay_input=False),
    "LIF reset per channel": LIF(2.3, v_threshold=0.4, v_reset=-0.2 * each),
    "CuBaLIF": CuBaLIF(0.3, 0.15, v_threshold=0.7),
    "CuBaLIF, reset": CuBaLIF(1.0, 0.35, v_threshold=0.7, v_reset=-0.3),
    "CuBaLIF per channel": CuBaLIF(0.6 * each, 0.3 * each, v_threshold=each),
    "LeakyIntegrator": LeakyIntegrator(2.7),
    "LeakyIntegrator, plain input": LeakyIntegrator(2.7, decay_input=False),
    "LeakyIntegrator per channel": LeakyIntegrator(1.1 + each),
    "ParametricLIF": ParametricLIF(2.6, v_threshold=0.4),
    "ParametricLIF, plain input": ParametricLIF(2.6, v_threshold=0.8, decay_input=False),
}


def captured(neuron, double):
    torch.manual_seed(0)
    graph = compiler.capture(Chain(nn.Linear(8, N), neuron, nn.Linear(N, 3)), torch.zeros(1, 2, 8))
    return graph.double() if double else graph


def euler(node, x, dt):
    """NIR's equations in plain numpy; the synaptic current of a step drives the membrane of that step."""
    reset = getattr(node, "v_reset", np.zeros(()))
    v, i, out = np.zeros_like(x[0]) + reset, np.zeros_like(x[0]), []
    for x_t in x:
        kind = type(node).__name__
        if kind in ("CubaLIF", "CubaLI"):
            i = i + dt / node.tau_syn * (node.w_in * x_t - i)
            v = v + dt / node.tau_mem * (node.v_leak - v + node.r * i)
        elif kind in ("IF", "I"):
            v = v + dt * node.r * x_t
        else:
            v = v + dt / node.tau * (node.v_leak - v + node.r * x_t)
        if kind in ("LI", "CubaLI", "I"):
            out.append(v)
            continue
        fired = v > node.v_threshold
        v = np.where(fired, reset, v)
        out.append(fired.astype(x.dtype))
    return np.stack(out)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dt", [1.0, 1e-4, 1 / 49])
@pytest.mark.parametrize("case", NEURONS)
def test_neurons_make_the_round(case, dt, double, tmp_path):
    """Constants come back as they were: one rounding more would move a membrane across its threshold somewhere."""
    graph = captured(NEURONS[case], double)
    write(graph, tmp_path / "a.nir", dt=dt)
    back = read(tmp_path / "a.nir")
    parametric = graph.nodes[1].op == "parametric_lif"
    expected = ["linear", "lif" if parametric else graph.nodes[1].op, "linear"]
    assert [node.op for node in back] == expected
    for key, value in graph.nodes[1].parameters.items():
        if not parametric:
            stored = back.nodes[1].parameters[key]
            assert stored.dtype == value.dtype == (torch.float64 if double else torch.float32)
            # In float64 no longer number is left to hold what τ·dt rounds away.
            tolerance = 3e-16 if double and key in ("tau", "current_decay", "voltage_decay") else 0
            torch.testing.assert_close(stored.expand(N), value.expand(N), rtol=tolerance, atol=0)
    if not parametric:
        assert back.nodes[1].attributes == graph.nodes[1].attributes
    x = 2 * torch.randn(T, 5, 8, dtype=torch.float64 if double else torch.float32)
    (y, spikes), (y_back, spikes_back) = (compiler.interpret(g, x, probes=(g.nodes[1].output,)) for g in (graph, back))
    a, b = spikes["layers.1"], spikes_back["layers_1"]
    if parametric and not double:
        assert float((a != b).double().mean()) < 0.01  # 1/τ times is not divided by τ, to the last bit
        return
    if operations()[graph.nodes[1].op].name == "leaky_integrator":
        torch.testing.assert_close(y, y_back, rtol=1e-13 if double else 0, atol=1e-13 if double else 0)
    else:
        assert torch.equal(a, b)
    assert back.type("layers_1") == graph.type("layers.1")
    if not back.nodes[1].op.startswith("leaky"):
        assert 0.02 < float(a.mean()) < 0.9


@pytest.mark.parametrize("case", NEURONS)
def test_numpy_computes_the_same_from_nirs_equations(case, tmp_path):
    graph = captured(NEURONS[case], True)
    dt = 1e-3
    write(graph, tmp_path / "a.nir", dt=dt)
    nodes = package.read(tmp_path / "a.nir").nodes
    x = 2 * torch.randn(T, 5, 8, dtype=torch.float64)
    _, records = compiler.interpret(graph, x, probes=("layers.0", "layers.1"))
    found = euler(nodes["layers_1"], records["layers.0"].numpy(), dt)
    np.testing.assert_allclose(found, records["layers.1"].numpy(), rtol=1e-9, atol=1e-9)


def test_every_carried_neuron_is_tried_here():
    tried = {captured(neuron, False).nodes[1].op for neuron in NEURONS.values()}
    assert tried == {op for op in table.WRITE if operations()[op].kind == "neuron"}


REFUSED = {
    "no reset": (LIF(v_reset=NO_RESET), r"layers\.1 \(lif\) has no reset"),
    "soft reset": (CuBaLIF(v_reset=None), r"layers\.1 \(cuba_lif\).*v_reset=0\.0"),
    "no leak": (CuBaLIF(0.5, 0.0), "voltage_decay=0, a time constant without end"),
    "no decay": (CuBaLIF(0.0, 0.5), "current_decay=0, a time constant without end"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_dynamics_that_nir_does_not_have(case, tmp_path):
    neuron, message = REFUSED[case]
    with pytest.raises(NirError, match=message) as caught:
        write(captured(neuron, False), tmp_path / "a.nir")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_channels_of_maps_stay_channels(tmp_path):
    """One value for each of C channels is stored C × H × W times, and read as (C, 1, 1) again."""
    torch.manual_seed(0)
    tau, threshold = 1.5 + torch.rand(4), 0.2 + torch.rand(4) / 4
    model = Chain(nn.Conv2d(2, 4, 3), LIF(tau, v_threshold=threshold))
    graph = compiler.capture(_Folded(*model.layers), torch.zeros(1, 2, 2, 6, 6))
    write(graph, tmp_path / "a.nir")
    stored = package.read(tmp_path / "a.nir").nodes["neuron"]
    assert stored.tau.shape == (4, 4, 4)
    back = read(tmp_path / "a.nir")
    assert back.node("neuron").parameters["tau"].shape == (4, 1, 1)
    x = 2 * torch.rand(9, 3, 2, 6, 6)
    assert torch.equal(compiler.interpret(graph, x)[0], compiler.interpret(back, x)[0])
    assert 0.02 < float(compiler.interpret(graph, x)[0].mean()) < 0.9


class _Folded(nn.Module):
    def __init__(self, conv, neuron):
        super().__init__()
        self.conv, self.neuron = conv, neuron

    def forward(self, x):
        return self.neuron(self.conv(x.flatten(0, 1)).unflatten(0, x.shape[:2]))


def foreign(path, *middle, edges=None, shape=(N,)):
    nodes = {"input": package.Input(np.array(shape))}
    nodes |= {f"n{i}": node for i, node in enumerate(middle)}
    nodes["output"] = package.Output(np.array(shape))
    edges = list(itertools.pairwise(nodes)) if edges is None else edges
    package.write(path, package.NIRGraph(nodes, edges, type_check=False))
    return path


def ones(value=1.0):
    return np.full(N, value)


rows = np.linspace(0.5, 1.5, N)
FOREIGN = {
    "LIF, another gain": package.LIF(3 * rows, 4 * rows, ones(0), 0.6 * rows, ones(0)),
    "LIF, resets and leaks": package.LIF(ones(3), ones(1.5), -0.2 * rows, 0.6 * rows, -0.2 * rows),
    "IF, another gain": package.IF(1.7 * rows, rows, -0.1 * rows),
    "LI": package.LI(2.5 * rows, 0.7 * rows, ones(0)),
    "I": package.I(0.4 * rows),
    "CubaLIF": package.CubaLIF(2 * rows + 1, 3 * rows, 5 * rows, ones(0), 0.5 * rows, -0.1 * rows, rows),
    "CubaLI": package.CubaLI(2 * rows + 1, 3 * rows, 5 * rows, ones(0), 0.4 * rows),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_neurons_of_others_mean_what_their_equations_say(case, tmp_path):
    """In float64, against plain numpy and against the importer of trainable networks, which shares no code."""
    node = FOREIGN[case]
    path = foreign(tmp_path / "a.nir", node)
    x = torch.randn(T, 4, N, dtype=torch.float64) + 0.4
    y = compiler.interpret(read(path, dt=1.0), x)[0]
    np.testing.assert_allclose(y.numpy(), euler(node, x.numpy(), 1.0), rtol=1e-12, atol=1e-12)
    assert y.abs().max() > 0
    torch.testing.assert_close(y, from_nir(path, dt=1.0)(x).to(y.dtype), rtol=1e-6, atol=1e-6)


def test_a_step_that_matters_and_is_not_in_the_file_is_asked_for(tmp_path):
    """Integrate-and-fire neurons are written with r = 1/dt: at dt = 1 every spike would weigh 10,000."""
    path = foreign(tmp_path / "a.nir", package.IF(ones(1e4), ones(), ones(0)))
    for reader in (read, from_nir):
        with pytest.raises(SnnkitError, match=r"n0 \(IF\): r=10000 .*dt=0.0001"):
            reader(path)
    x = torch.rand(T, 4, N, dtype=torch.float64)
    assert torch.equal(compiler.interpret(read(path, dt=1e-4), x)[0], from_nir(path, dt=1e-4)(x))
    write(read(path, dt=1e-4), tmp_path / "b.nir", dt=1e-4)
    assert torch.equal(from_nir(tmp_path / "b.nir")(x), from_nir(path, dt=1e-4)(x)), "the file's own metadata"


@pytest.mark.parametrize("case", ["LI", "I", "CubaLI", "CubaLIF"])
def test_neurons_of_others_are_written_again(case, tmp_path):
    """An integrator is a sum with a state in a graph and one node in a file; a CubaLI is two leaky integrators."""
    graph = read(foreign(tmp_path / "a.nir", FOREIGN[case]))
    write(graph, tmp_path / "b.nir")
    kinds = sorted(type(node).__name__ for node in package.read(tmp_path / "b.nir").nodes.values())
    expected = {"CubaLI": ["LI", "LI", "Scale", "Scale"], "CubaLIF": ["CubaLIF", "Scale"]}.get(case, [case, "Scale"])
    assert kinds == sorted(["Input", "Output", *expected])
    x = torch.randn(T, 4, N, dtype=torch.float64)
    assert torch.equal(compiler.interpret(graph, x)[0], compiler.interpret(read(tmp_path / "b.nir"), x)[0])


def test_constants_that_differ_everywhere_keep_their_shape(tmp_path):
    tau = 1.5 + np.random.default_rng(0).random((2, 3, 4))
    zero = np.zeros_like(tau)
    path = foreign(tmp_path / "a.nir", package.LIF(tau, zero + 1, zero, zero + 0.3, zero), shape=(2, 3, 4))
    graph = read(path)
    assert graph.nodes[0].parameters["tau"].shape == (2, 3, 4)
    assert graph.nodes[0].attributes["v_threshold"] == np.nextafter(0.3, 1)
    x = torch.rand(T, 3, 2, 3, 4, dtype=torch.float64)
    expected = euler(package.read(path).nodes["n0"], x.numpy(), 1.0)
    np.testing.assert_array_equal(compiler.interpret(graph, x)[0].numpy(), expected)
    assert 0.02 < expected.mean() < 0.9
