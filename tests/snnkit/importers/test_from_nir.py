"""NIR graphs as networks: every neuron equals NIR's equations, Norse's export comes back, errors name the node.

Would break it: ≥ for >, a leak to another voltage, a forgotten dt or r, a Flatten of the wrong axes, edges that are not
added up.
"""

import itertools

import numpy as np
import pytest
import torch

from snnkit.errors import CorruptFileError, InvalidArgumentError, UnknownNameError
from snnkit.importers import from_nir

nir = pytest.importorskip("nir")
RNG = np.random.default_rng(0)


def graph(nodes, edges=None, shape=(5,), out=(5,)):
    nodes = {"input": nir.Input(np.array(shape)), **nodes, "output": nir.Output(np.array(out))}
    names = list(nodes)
    return nir.NIRGraph(nodes, edges or list(itertools.pairwise(names)), type_check=False)


def each(value, shape=(5,)):
    return np.full(shape, value, dtype=np.float32)


NEURONS = {
    "IF": lambda: nir.IF(r=each(0.7), v_threshold=each(1.0)),
    "LIF": lambda: nir.LIF(tau=each(3.0), r=each(1.5), v_leak=each(0.2), v_threshold=each(0.9), v_reset=each(-0.1)),
    "LIF by neuron": lambda: nir.LIF(
        tau=np.linspace(2, 5, 5),
        r=np.linspace(1, 2, 5),
        v_leak=np.linspace(0, 0.3, 5),
        v_threshold=np.linspace(0.5, 1, 5),
    ),
    "CubaLIF": lambda: nir.CubaLIF(
        tau_mem=each(4.0), tau_syn=each(2.0), r=each(3.0), v_leak=each(0.1), v_threshold=each(0.8), w_in=each(2.0)
    ),
    "LIF that leaks above its threshold": lambda: nir.LIF(
        tau=each(5.0), r=each(0.9), v_leak=each(1.2), v_threshold=each(1.0), v_reset=each(-0.2)
    ),
    "CubaLIF that leaks above its threshold": lambda: nir.CubaLIF(
        tau_mem=each(4.0), tau_syn=each(2.0), r=each(0.3), v_leak=each(1.2), v_threshold=each(0.8), w_in=each(2.0)
    ),
    "CubaLI": lambda: nir.CubaLI(
        tau_mem=each(4.0), tau_syn=each(2.0), r=each(3.0), v_leak=each(0.1), w_in=np.linspace(1, 2, 5)
    ),
    "LI with a leak": lambda: nir.LI(tau=each(3.0), r=each(2.0), v_leak=each(-0.4)),
    "LI of torch's tensors": lambda: nir.LI(*(torch.full((5,), v) for v in (3.0, 2.0, 0.0))),
    "LI": lambda: nir.LI(tau=each(3.0), r=each(2.0), v_leak=each(0.0)),
    "I": lambda: nir.I(r=each(0.3)),
    "Threshold": lambda: nir.Threshold(threshold=each(0.4)),
}


@pytest.mark.parametrize("dt", [1.0, 0.5])
@pytest.mark.parametrize("kind", NEURONS)
def test_every_neuron_is_its_equations(kind, dt):
    x = torch.randn(12, 3, 5, generator=torch.Generator().manual_seed(1)) * 2
    made = from_nir(graph({"neuron": NEURONS[kind]()}), dt=dt, example=x)
    assert made.import_report.layers[0].mismatch <= 1e-12
    assert made.import_report.whole <= 1e-5
    out = made(x)
    assert (out != 0).float().mean() > 0.02
    resets = kind.startswith(("IF", "LIF", "CubaLIF"))
    assert any("cannot say that its writer subtracted" in text for text in made.import_report.conventions) == resets


def test_exactly_at_the_threshold_nothing_fires():
    made = from_nir(graph({"n": nir.IF(r=each(1.0), v_threshold=each(1.0))}))
    assert made(torch.ones(1, 1, 5)).sum() == 0
    assert made(torch.full((1, 1, 5), 1.0001)).sum() == 5


@pytest.mark.parametrize("stored", ["float32", "float64"])
@pytest.mark.parametrize("thresholds", [[1.0] * 5, [1.0, 2.0, 0.1, 0.3, 0.7]])
def test_nor_where_thresholds_differ_or_are_stored_wide(stored, thresholds):
    at = np.array(thresholds, dtype=stored)
    made = from_nir(graph({"n": nir.IF(r=np.ones_like(at), v_threshold=at)}))
    for dtype in (torch.float32, torch.float64):
        x = torch.from_numpy(at).to(dtype)[None, None]
        net = made.to(dtype)
        assert net(x).sum() == 0
        assert net(x * 1.000001).sum() == 5


def test_a_network_with_a_branch_and_training():
    weight = RNG.standard_normal((4, 2, 3, 3)).astype(np.float32)
    conv = nir.Conv2d((8, 8), weight, 1, 1, 1, 1, RNG.standard_normal(4).astype(np.float32))
    fire = nir.IF(r=each(1.0, (4, 8, 8)), v_threshold=each(1.0, (4, 8, 8)))
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    average = nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    flat = nir.Flatten({"input": np.array([4, 4, 4])}, 0, -1)
    dense = nir.Affine(RNG.standard_normal((3, 64)).astype(np.float32), np.zeros(3, np.float32))
    nodes = {"conv": conv, "fire": fire, "sum": pool, "mean": average, "flat": flat, "dense": dense}
    edges = [("input", "conv"), ("conv", "fire"), ("fire", "sum"), ("fire", "mean"), ("sum", "flat"), ("mean", "flat")]
    edges += [("flat", "dense"), ("dense", "output")]
    x = torch.randn(4, 2, 2, 8, 8)
    made = from_nir(graph(nodes, edges, (2, 8, 8), (3,)), example=x)
    assert made.import_report.whole <= 1e-4
    spikes = made.layers["fire"](made.layers["conv"](x))
    pooled = torch.nn.functional.avg_pool2d(spikes.flatten(0, 1), 2) * 5
    expected = pooled.flatten(1) @ torch.from_numpy(dense.weight).T
    torch.testing.assert_close(made(x).flatten(0, 1), expected, rtol=1e-4, atol=1e-4)
    made(x).square().sum().backward()
    assert made.layers["conv"].layer.weight.grad.abs().max() > 0


def test_files_and_what_the_compiler_writes(tmp_path):
    path = tmp_path / "net.nir"
    dense = nir.Affine(RNG.standard_normal((5, 5)).astype(np.float32), np.zeros(5, np.float32))
    nir.write(path, graph({"dense.0": dense, "lif.0": NEURONS["LIF"]()}))
    made = from_nir(path)
    assert "dense_0" in made.layers
    assert made(torch.randn(3, 2, 5)).shape == (3, 2, 5)


def test_norse_exports_come_back():
    import norse.torch as norse

    torch.manual_seed(0)
    net = norse.SequentialState(torch.nn.Linear(5, 6), norse.LIFBoxCell(), torch.nn.Linear(6, 5))
    exported = norse.to_nir(net, torch.randn(2, 5))
    exported.nodes["input"], exported.nodes["output"] = nir.Input(np.array([5])), nir.Output(np.array([5]))
    with pytest.raises(InvalidArgumentError, match=r"tau=1e-05 is 0.01 time steps of dt=0.001.*Norse"):
        from_nir(exported, dt=1e-3)
    made = from_nir(exported, dt=1e-6)
    assert made.import_report.max_mismatch <= 1e-9
    assert {layer.source for layer in made.import_report.layers} == {"nir.Affine", "nir.LIF"}
    assert torch.equal(made.layers["0"].layer.weight.detach(), net[0].weight.detach())


def test_errors_name_the_node(tmp_path):
    class Strange(nir.Identity if hasattr(nir, "Identity") else nir.Scale):
        """No node of NIR."""

    with pytest.raises(UnknownNameError, match=r"Strange.*stands at 'late'"):
        from_nir(graph({"late": Strange(each(1.0))}))
    with pytest.raises(InvalidArgumentError, match=r"^late \(Delay\): 1.5 is 1.5 time steps"):
        from_nir(graph({"late": nir.Delay(each(1.5))}))
    with pytest.raises(InvalidArgumentError, match=r"^n \(LIF\): v_reset lies 0.5 above"):
        from_nir(graph({"n": nir.LIF(each(3.0), each(1.0), each(0.0), each(0.5), each(1.0))}))
    loop = [("input", "output"), ("a", "b"), ("b", "a"), ("b", "output")]
    with pytest.raises(InvalidArgumentError, match="a, b depend on each other, and nothing else feeds them"):
        from_nir(graph({"a": NEURONS["IF"](), "b": NEURONS["IF"]()}, loop))
    with pytest.raises(InvalidArgumentError, match="tau"):
        from_nir(graph({"n": NEURONS["LIF"]()}), dt=5.0)
    with pytest.raises(InvalidArgumentError, match="dt=0"):
        from_nir(graph({"n": NEURONS["LIF"]()}), dt=0)
    with pytest.raises(CorruptFileError, match="does not exist"):
        from_nir(tmp_path / "none.nir")
    (tmp_path / "bad.nir").write_bytes(b"nothing")
    with pytest.raises(CorruptFileError, match="damaged"):
        from_nir(tmp_path / "bad.nir")
    varied = each(1.0, (2, 3))
    varied[0, 1] = 2.0
    with pytest.raises(InvalidArgumentError, match="n: v_threshold differs within a channel"):
        from_nir(graph({"n": nir.IF(r=each(1.0, (2, 3)), v_threshold=varied)}, shape=(2, 3), out=(2, 3)))


def test_a_leak_above_the_threshold_fires_by_itself_as_by_hand():
    """v ← v + 0.1·(1.2 − v) passes 1 in step 17 and, from 0 again, every 18th after that."""
    neuron = nir.LIF(tau=each(0.01), r=each(1.0), v_leak=each(1.2), v_threshold=each(1.0), v_reset=each(0.0))
    out = from_nir(graph({"n": neuron}), dt=1e-3)(torch.zeros(60, 1, 5))
    assert out[:, 0, 0].nonzero().flatten().tolist() == [17, 35, 53]


@pytest.mark.parametrize("wide", [False, True])
def test_files_of_either_precision_take_the_other_input(wide):
    """A float64 file computes in float64; what comes out is of the input's type."""
    dense = nir.Affine(RNG.standard_normal((5, 5)), RNG.standard_normal(5))
    neuron = nir.IF(r=np.ones(5), v_threshold=np.full(5, 0.7))
    made = from_nir(graph({"dense": dense, "n": neuron}))
    x = torch.randn(6, 3, 5, dtype=torch.float64 if wide else torch.float32)
    out = made(x)
    assert out.dtype == x.dtype
    assert torch.equal(out.double(), made(x.double()))
    assert 0.1 < out.mean() < 0.9


def test_delays_by_channel_and_in_streams():
    import snnkit

    delay = nir.Delay(np.array([0.0, 1.0, 2.0, 0.0, 3.0]))
    made = from_nir(graph({"late": delay}))
    x = torch.rand(6, 2, 5)
    expected = torch.stack([torch.cat([x.new_zeros(d, 2), x[: 6 - d, :, c]]) for c, d in enumerate((0, 1, 2, 0, 3))], 2)
    assert torch.equal(made(x), expected)
    stream = snnkit.Stream(made)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), expected)


def test_spikingjellys_files_spike_for_spike():
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        layer.Linear(5, 8), neuron.IFNode(), layer.Linear(8, 8), neuron.LIFNode(tau=1.6, v_threshold=0.3),
        layer.Linear(8, 4), neuron.ParametricLIFNode(v_threshold=0.2)
    )  # fmt: skip
    for part in net:
        if hasattr(part, "weight"):
            torch.nn.init.normal_(part.weight, 0.2, 0.8)
    exported = export_to_nir(net, torch.rand(2, 5))
    x = torch.rand(12, 6, 5) * 2
    with torch.no_grad():
        functional.reset_net(net)
        expected = torch.stack([net(x_t) for x_t in x])
    assert 0.05 < expected.mean() < 0.95
    with pytest.raises(InvalidArgumentError, match="dt=0.0001"):
        from_nir(exported)
    assert torch.equal(from_nir(exported, dt=1e-4)(x), expected)
