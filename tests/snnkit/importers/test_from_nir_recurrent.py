"""Recurrent and nested NIR graphs: by hand, against nirtorch's simulator, in a stream, and trained.

Would break it: feedback in the same step or two steps late, a bias of the feedback that waits for the first spike, a
neuron that starts anew in every step, a chunk of a stream that forgets what was sent, a lost edge of a nested graph.
"""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError, NonFiniteError
from snnkit.importers import from_nir

nir = pytest.importorskip("nir")
RNG = np.random.default_rng(3)
N = 5


def each(value):
    return np.full(N, value, dtype=np.float32)


def weights(scale=0.6):
    return (RNG.standard_normal((N, N)) * scale).astype(np.float32)


def lif():
    return nir.LIF(tau=each(2.5), r=each(2.5), v_leak=each(0.0), v_threshold=each(0.8))


def graph(nodes, edges):
    ends = {"input": nir.Input(np.array([N])), "output": nir.Output(np.array([N]))}
    return nir.NIRGraph({"input": ends["input"], **nodes, "output": ends["output"]}, edges, type_check=False)


def one_layer(back):
    return graph(
        {"back": back, "lif": lif()}, [("input", "lif"), ("lif", "back"), ("back", "lif"), ("lif", "output")]
    )  # fmt: skip


def drive(steps=9, batch=4):
    return torch.randn(steps, batch, N, generator=torch.Generator().manual_seed(0)) + 0.3


def by_hand(x, weight, bias):
    """v ← v + (−v + 2.5·i)/2.5, i = x + W·s[t−1] + b."""
    v, back, out = np.zeros((x.shape[1], N)), bias, []
    for x_t in x.double().numpy():
        v = v + (-v + 2.5 * (x_t + back)) / 2.5
        s = (v > np.float64(np.float32(0.8))).astype(np.float64)
        v = np.where(s > 0, 0.0, v)
        back = s @ weight.astype(np.float64).T + bias
        out.append(s)
    return torch.from_numpy(np.stack(out))


def test_a_layer_with_feedback_by_hand():
    weight, bias, x = weights(), RNG.standard_normal(N).astype(np.float32), drive()
    made = from_nir(one_layer(nir.Affine(weight, bias)), example=x)
    expected = by_hand(x, weight, bias)
    assert torch.equal(made(x).double(), expected)
    assert 0.1 < expected.mean() < 0.9
    assert not torch.equal(by_hand(x, 0 * weight, 0 * bias), expected)
    report = made.import_report
    assert report.whole == 0.0
    assert any("one step late" in text for text in report.conventions)
    assert {layer.name: any("late" in c for c in layer.conventions) for layer in report.layers} == {
        "lif": False, "back": True
    }  # fmt: skip


def test_it_trains():
    made, x = from_nir(one_layer(nir.Linear(weights()))), drive()
    back = made.layers["back"].layer.weight
    made(x).sum().backward()
    assert back.grad.abs().max() > 0
    grads = []
    for run in (made, lambda x: _by_steps(made, x)):
        leaf = x.clone().requires_grad_()
        (run(leaf) * torch.arange(1.0, N + 1)).sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-7)


def _by_steps(made, x):
    """The same network with its neuron's own step and nothing of the importer's loop."""
    gain, neuron = made.layers["lif"]
    back, state, sent, out = made.layers["back"].layer, neuron.rest(x), torch.zeros_like(x[0]), []
    for t, x_t in enumerate(x):
        total = x_t + back(sent) if t else x_t
        sent, state = neuron.step(gain(total[None])[0], state)
        out.append(sent)
    return torch.stack(out)


def test_equals_nirtorch():
    """Two layers, a loop over both and one over the second alone."""
    import nirtorch

    class Linear(nn.Module):
        def __init__(self, node):
            super().__init__()
            self.weight = torch.from_numpy(node.weight)

        def forward(self, x):
            return x @ self.weight.T

    class Leaky(nn.Module):
        def __init__(self, node):
            super().__init__()

        def forward(self, x, state=None):
            v = torch.zeros_like(x) if state is None else state
            v = v + (-v + 2.5 * x) / 2.5
            s = (v > 0.8).to(x.dtype)
            return s, v * (1 - s)

    nodes = {"a": nir.Linear(weights(1.0)), "one": lif(), "b": nir.Linear(weights(1.0)), "two": lif(),
             "back": nir.Linear(weights()), "self": nir.Linear(weights())}  # fmt: skip
    edges = [("input", "a"), ("a", "one"), ("one", "b"), ("b", "two"), ("two", "output"), ("two", "back")]
    edges += [("back", "one"), ("two", "self"), ("self", "two")]
    theirs = nirtorch.nir_to_torch(graph(nodes, edges), {nir.Linear: Linear, nir.LIF: Leaky})
    state, expected, x = None, [], drive(12)
    for x_t in x:
        out, state = theirs(x_t, state)
        expected.append(out)
    made = from_nir(graph(nodes, edges), example=x)
    assert torch.equal(made(x), torch.stack(expected))
    assert 0.1 < made(x).mean() < 0.9
    assert made.import_report.whole == 0.0


def test_a_stream_carries_what_was_sent():
    made, x = from_nir(one_layer(nir.Affine(weights(), each(0.2)))), drive()
    whole = made(x)
    stream = snnkit.Stream(made)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), whole)
    stream.reset()
    assert torch.equal(torch.cat([stream.run(x[:4]), stream.run(x[4:])]), whole)
    with pytest.raises(InvalidArgumentError, match="shape"):
        stream.step(x[0, :2])
    assert torch.equal(made(x), whole), "nothing is kept between calls"
    assert torch.equal(copy.deepcopy(made)(x), whole)
    stream.reset()
    with pytest.raises(NonFiniteError, match="lif"):
        stream.step(torch.full_like(x[0], float("nan")))


def test_a_node_that_feeds_itself():
    made = from_nir(graph({"sum": nir.Scale(each(0.5))}, [("input", "sum"), ("sum", "sum"), ("sum", "output")]))
    assert made(torch.ones(4, 1, N))[:, 0, 0].tolist() == [0.5, 0.75, 0.875, 0.9375]


def test_nested_graphs():
    weight, x = weights(), drive()
    inner = one_layer(nir.Linear(weight))
    dense = nir.Linear(weights(1.0))
    chain = [("input", "dense"), ("dense", "part"), ("part", "output")]
    made = from_nir(graph({"dense": dense, "part": inner}, chain), example=x)
    expected = from_nir(inner)(x @ torch.from_numpy(dense.weight).T)
    assert torch.equal(made(x), expected)
    assert [layer.name for layer in made.import_report.layers] == ["dense", "part.lif", "part.back"]
    inner.nodes["more"] = nir.Input(np.array([N]))
    with pytest.raises(InvalidArgumentError, match="nested at 'part' has 2 inputs and 1 outputs"):
        from_nir(graph({"dense": dense, "part": inner}, chain))


def test_what_snntorch_writes_can_be_read():
    import snntorch
    from snntorch.export_nir import export_to_nir

    net = nn.Sequential(
        nn.Linear(N, N),
        snntorch.RLeaky(beta=torch.full((N,), 0.8), V=torch.full((N,), -0.3), all_to_all=False, init_hidden=True),
    )
    exported = export_to_nir(net, torch.randn(N))
    found = from_nir(exported, dt=1e-4, example=drive())
    assert found.import_report.whole <= 1e-6
    assert any("late" in text for text in found.import_report.conventions)


def test_threshold_has_no_memory_in_a_stream():
    nodes = {"t": nir.Threshold(threshold=each(0.5))}
    made = from_nir(graph(nodes, list(itertools.pairwise(["input", "t", "output"]))))
    x = torch.full((3, 1, N), 0.3)
    stream = snnkit.Stream(made)
    assert torch.stack([stream.step(x_t) for x_t in x]).sum() == 0


def test_snntorchs_recurrent_neurons_spike_for_spike():
    """Its feedback has a bias, which acts in the first step; its reset is NIR's where it says so."""
    import snntorch
    from snntorch.export_nir import export_to_nir

    torch.manual_seed(2)
    options = {"init_hidden": True, "reset_mechanism": "zero", "reset_delay": False}
    first = snntorch.RLeaky(beta=0.8, linear_features=N, threshold=0.4, **options)
    second = snntorch.Leaky(beta=torch.full((N,), 0.7), threshold=torch.full((N,), 0.4), **options)
    net = nn.Sequential(nn.Linear(N, N), first, nn.Linear(N, N), second)
    nn.init.constant_(first.recurrent.bias, 0.5)
    made = from_nir(export_to_nir(net, torch.randn(N)), dt=1e-4, example=drive())
    assert made.import_report.whole <= 1e-6
    for part in (first, second):
        part.reset_mem()
    x = drive(12)
    with torch.no_grad():
        expected = torch.stack([net(x_t) for x_t in x])
    assert 0.1 < expected.mean() < 0.9
    assert torch.equal(made(x), expected)
    stream = snnkit.Stream(made)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), expected)


def test_a_bias_behind_a_weight_and_in_a_nested_graph():
    """lif → Affine → Scale → lif: the Scale passes the bias on in the first step too."""
    weight, bias, x = weights(), RNG.standard_normal(N).astype(np.float32), drive()
    nodes = {"lif": lif(), "back": nir.Affine(weight, bias), "less": nir.Scale(each(0.5))}
    edges = [("input", "lif"), ("lif", "back"), ("back", "less"), ("less", "lif"), ("lif", "output")]
    expected = by_hand(x, 0.5 * weight, 0.5 * bias)
    assert torch.equal(from_nir(graph(nodes, edges))(x).double(), expected)
    inner = nir.NIRGraph(
        {"input": nir.Input(np.array([N])), "w": nir.Affine(weight, bias), "output": nir.Output(np.array([N]))},
        [("input", "w"), ("w", "output")],
        type_check=False,
    )
    edges = [("input", "lif"), ("lif", "inner"), ("inner", "lif"), ("lif", "output")]
    assert torch.equal(from_nir(graph({"lif": lif(), "inner": inner}, edges))(x).double(), by_hand(x, weight, bias))
