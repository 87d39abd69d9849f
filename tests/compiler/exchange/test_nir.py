"""NIR files: what is written is read back as the same network, bit for bit, and means the same to others.

``run_nir`` below is a second reader in plain numpy, from NIR's equations alone; it shares no code with ours.
"""

from __future__ import annotations

import builtins
import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.nets import Chain
from torch import nn

import compiler
import snnkit
from compiler.exchange.nir import NirError, read, write
from compiler.graph import Graph, Node, Signal
from compiler.passes import simplify
from snnkit.errors import CorruptFileError, DiskError, InvalidArgumentError
from snnkit.neurons import IF, LIF

package = pytest.importorskip("nir")


def captured(model: nn.Module, *shape: int, double: bool = True) -> Graph:
    example = torch.zeros(1, 2, *shape, dtype=next(model.parameters()).dtype)
    graph = simplify(compiler.capture(model, example))
    return graph.double() if double else graph


def neurons(graph: Graph) -> list[str]:
    return [node.output for node in graph if node.op in ("lif", "integrate_fire")]


def assert_same(graph: Graph, back: Graph, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every spike and every output of the two graphs is the same number; returns the spikes."""
    y, spikes = compiler.interpret(graph, x, probes=neurons(graph))
    y_back, spikes_back = compiler.interpret(back, x, probes=neurons(back))
    assert {name.replace(".", "_") for name in spikes} == set(spikes_back)
    for name, given in spikes.items():
        differing = int((given != spikes_back[name.replace(".", "_")]).sum())
        assert differing == 0, f"{name}: {differing} spikes differ"
    assert torch.equal(y, y_back)
    return spikes


def run_nir(network: package.NIRGraph, x_TBN: np.ndarray, dt: float) -> dict[str, np.ndarray]:
    """Affine, Linear, Scale, LIF and IF by Euler steps; several edges are a sum. Nodes must be ordered by name."""
    state, out = {}, {name: [] for name in network.nodes}
    for x in x_TBN:
        y = {}
        for name, n in network.nodes.items():
            i = sum(y[a] for a, b in network.edges if b == name) if type(n).__name__ != "Input" else x
            if isinstance(n, (package.Affine, package.Linear)):
                i = i @ n.weight.T + getattr(n, "bias", 0)
            elif isinstance(n, package.Scale):
                i = i * n.scale
            elif isinstance(n, (package.LIF, package.IF)):
                v = state.get(name, n.v_reset + np.zeros_like(i))
                leaky = isinstance(n, package.LIF)
                v = v + dt / n.tau * (n.v_leak - v + n.r * i) if leaky else v + dt * n.r * i
                i = (v > n.v_threshold).astype(v.dtype)
                state[name] = np.where(i == 1, n.v_reset, v)
            y[name] = i
            out[name].append(i)
    return {name: np.stack(values) for name, values in out.items()}


class Sums(nn.Module):
    """A function of the two spike trains a and b of one input."""

    def __init__(self, combine, layers: int = 2):
        super().__init__()
        self.combine = combine
        self.linears = nn.ModuleList(nn.Linear(6, 6) for _ in range(layers))
        self.lifs = nn.ModuleList(LIF(2.0, v_threshold=0.2) for _ in range(layers))
        self.last = nn.Linear(6, 3)
        self.last_lif = LIF(2.0, v_threshold=0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        signals = [lif(linear(x)) for linear, lif in zip(self.linears, self.lifs, strict=True)]
        return self.combine(self, *signals)


def demo(seed: int = 0) -> nn.Module:
    """The demo model with batch norms that make every layer fire, but not always."""
    torch.manual_seed(seed)
    model = snnkit.create_model("spiking_cnn_small", width=8).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.6, 1.4)
            nn.init.uniform_(module.bias, 0.2, 1.2)
            nn.init.uniform_(module.running_mean, -0.05, 0.05)
            nn.init.uniform_(module.running_var, 0.02, 0.06)
    return model


@pytest.fixture(scope="module")
def demo_graph() -> Graph:
    return simplify(compiler.capture(demo(), torch.zeros(2, 1, 28, 28)))


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("double", [True, False])
def test_the_demo_network_comes_back_bit_for_bit(demo_graph, tmp_path, double, grouped):
    """Groups, residual, strides, pool, flatten: one wrong attribute or one rounding more would flip spikes."""
    graph = demo_graph.double() if double else demo_graph
    report = write(graph, tmp_path / "demo.nir", dt=1e-3, grouped=grouped)
    back = read(tmp_path / "demo.nir")
    torch.manual_seed(1)
    x = torch.rand(20, 1, 28, 28, dtype=torch.float64 if double else torch.float32)
    spikes = assert_same(graph, back, x)
    rates = {name: float(s.mean()) for name, s in spikes.items()}
    assert all(0.05 < rate < 0.7 for rate in rates.values()), rates
    assert (back.timesteps, back.static_input, back.name) == (graph.timesteps, True, graph.name)
    assert report.expanded == (() if grouped else ("depthwise.conv",))
    assert [str(back.type(name)) for name in neurons(back)] == ["binary"] * 4
    assert str(back.type(back.producer(back.outputs[0]).inputs[0])) == str(
        graph.type(graph.producer(graph.outputs[0]).inputs[0])
    )


def test_a_plain_nir_read_checks_the_types_of_the_demo_network(demo_graph, tmp_path):
    report = write(demo_graph, tmp_path / "demo.nir")
    network = package.read(tmp_path / "demo.nir")
    assert (len(network.nodes), len(network.edges)) == (report.nodes, report.edges) == (13, 13)
    assert network.nodes["depthwise_conv"].groups == 1
    assert network.nodes["stem_lif"].tau.shape == (8, 28, 28)
    assert network.nodes["stem_lif"].tau.dtype == np.float32
    assert sorted(a for a, b in network.edges if b == "mix_lif") == ["down_lif", "mix_conv"]
    assert not any("." in name or "/" in name for name in network.nodes)


def test_grouped_files_keep_groups_and_need_no_type_check(demo_graph, tmp_path):
    report = write(demo_graph, tmp_path / "demo.nir", grouped=True)
    assert any("depthwise.conv" in note and "type_check=False" in note for note in report.notes)
    assert package.read(tmp_path / "demo.nir", type_check=False).nodes["depthwise_conv"].groups == 24
    with pytest.raises(ValueError, match="type mismatch"):  # the day nir can check groups, groups can be the default
        package.read(tmp_path / "demo.nir")


NEURONS = [
    LIF(2.0),
    LIF(3.3, v_threshold=0.7),
    LIF(1.7, v_threshold=0.1, decay_input=False),
    LIF(2.9, v_threshold=0.3, v_reset=-0.1),
    LIF(5.1, v_threshold=0.45, v_reset=-0.1, decay_input=False),
    IF(0.9),
    IF(0.3, v_reset=-0.1),
]


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
@pytest.mark.parametrize("dt", [1.0, 1e-4, 1 / 49])
@pytest.mark.parametrize("double", [True, False])
def test_every_kind_of_neuron_comes_back_with_the_same_constants(neuron, dt, double, tmp_path):
    """1/49 · 49 is not 1 in floating point: a reader that compares exactly would put a gain before the neuron."""
    torch.manual_seed(0)
    graph = captured(Chain(nn.Linear(8, 16), neuron, nn.Linear(16, 4, bias=False)), 8, double=double)
    write(graph, tmp_path / "net.nir", dt=dt)
    back = read(tmp_path / "net.nir")
    assert [node.op for node in back] == [node.op for node in graph]
    assert back.nodes[1].attributes == graph.nodes[1].attributes
    x = 2 * torch.randn(30, 5, 8, dtype=torch.float64 if double else torch.float32)
    spikes = assert_same(graph, back, x)
    assert 0.02 < float(next(iter(spikes.values())).mean()) < 0.9


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
def test_numpy_from_nirs_equations_fires_the_same_spikes(neuron, tmp_path):
    """Wrong r, tau, v_leak or dt would fail here even where our reader made the same mistake backwards."""
    torch.manual_seed(0)
    graph = captured(Chain(nn.Linear(8, 16), neuron), 8)
    dt = 1e-3
    write(graph, tmp_path / "net.nir", dt=dt)
    network = package.read(tmp_path / "net.nir")
    order = ["input", "layers_0", "layers_1", "output"]
    network.nodes = {name: network.nodes[name] for name in order}
    x = 2 * torch.randn(30, 5, 8, dtype=torch.float64)
    y, _ = compiler.interpret(graph, x)
    assert 0.02 < float(y.mean()) < 0.9
    np.testing.assert_array_equal(run_nir(network, x.numpy(), dt)["output"], y.numpy())


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("threshold", [1.0, 0.1, 0.7])
def test_a_membrane_on_the_threshold_fires_and_one_below_it_does_not(threshold, double, tmp_path):
    """The largest number below the threshold must stay silent: the file's threshold is exactly that number."""
    linear = nn.Linear(1, 1, bias=False)
    nn.init.ones_(linear.weight)
    graph = captured(Chain(linear, IF(threshold)), 1, double=double)
    write(graph, tmp_path / "tie.nir")
    number = np.float64 if double else np.float32
    at = number(threshold)
    below = np.nextafter(at, number(0))
    x = torch.from_numpy(np.array([at, below, 0.0], number)).reshape(1, 3, 1)
    expected = [1.0, 0.0, 0.0]
    assert compiler.interpret(graph, x)[0].flatten().tolist() == expected
    assert compiler.interpret(read(tmp_path / "tie.nir"), x)[0].flatten().tolist() == expected
    network = package.read(tmp_path / "tie.nir")
    assert network.nodes["layers_1"].v_threshold.dtype == number
    network.nodes = {name: network.nodes[name] for name in ("input", "layers_0", "layers_1", "output")}
    assert run_nir(network, x.numpy(), 1.0)["output"].flatten().tolist() == expected


COMBINATIONS = {
    "a + b": (2, lambda m, a, b: m.last_lif(m.last(a + b)), 0),
    "x + x": (1, lambda m, a: m.last_lif(m.last(a + a)), 1),
    "x + x + x": (1, lambda m, a: m.last_lif(m.last(a + a + a)), 2),
    "the sum is the output": (2, lambda m, a, b: a + b, 1),
    "twice the input is the output": (1, lambda m, a: a + a, 2),
    "right-nested": (3, lambda m, a, b, c: m.last(a) + (m.last(b) + m.last(c)), 1),
    "both nested": (4, lambda m, a, b, c, d: (m.last(a) + m.last(b)) + (m.last(c) + m.last(d)), 2),
    "one sum, two readers": (2, lambda m, a, b: m.last_lif(m.last(a + b)) + m.last(a + b), 1),
}


@pytest.mark.parametrize("case", COMBINATIONS)
def test_sums_are_edges_and_round_as_before(case, tmp_path):
    """Scale nodes appear only where NIR needs one, and none of them is left in the graph that is read."""
    torch.manual_seed(0)
    layers, combine, scales = COMBINATIONS[case]
    model = Sums(combine, layers).double()
    for parameter in model.parameters():  # with all 53 bits, so that the order of a sum shows
        nn.init.normal_(parameter, std=0.5)
    graph = captured(model, 6)
    write(graph, tmp_path / "sum.nir")
    network = package.read(tmp_path / "sum.nir")
    assert sum(isinstance(node, package.Scale) for node in network.nodes.values()) == scales
    back = read(tmp_path / "sum.nir")
    assert "scale" not in [node.op for node in back]
    assert_same(graph, back, 2 * torch.randn(12, 4, 6, dtype=torch.float64))


class Images(nn.Module):
    """Ordinary layers on images (B, C, H, W)."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


@pytest.mark.parametrize(
    ("conv", "plain"),
    [
        (nn.Conv2d(4, 6, (1, 3), padding=(0, 1), dilation=(1, 2)), True),
        (nn.Conv2d(4, 6, (5, 3), stride=(2, 1), padding=1, groups=2), True),
        (nn.Conv2d(4, 8, (2, 3), padding=1, groups=4), False),
    ],
)
def test_rectangular_kernels(conv, plain, tmp_path):
    torch.manual_seed(0)
    model = Images(conv, nn.AvgPool2d(3, 2, 1), nn.Flatten(), nn.LazyLinear(5))
    x = torch.randn(2, 4, 11, 12)
    model(x)
    graph = simplify(compiler.capture(model, x)).double()
    report = write(graph, tmp_path / "net.nir")
    assert any("counts padded zeros" in note for note in report.notes)
    if plain:
        package.read(tmp_path / "net.nir")
    else:
        assert any("type_check=False" in note for note in report.notes)
    back = read(tmp_path / "net.nir")
    assert back.nodes[0].attributes["groups"] == conv.groups
    y, y_back = compiler.interpret(graph, x.double())[0], compiler.interpret(back, x.double())[0]
    assert float((y - y_back).abs().max()) < 1e-12


def test_names_stay_apart_and_dead_nodes_stay_out(tmp_path):
    weight = {"weight": torch.ones(2, 2)}
    nodes = (
        Node("a.b", "linear", ("input",), ("a.b",), {}, weight),
        Node("a/b", "linear", ("a.b",), ("a/b",), {}, weight),
        Node("input", "identity", ("a/b",), ("same",), {}, {}),
        Node("a_b", "scale", ("same",), ("a_b",), {}, {"weight": torch.tensor(3.0)}),
        Node("dead", "linear", ("same",), ("dead",), {}, weight),
    )
    names = ("input", "a.b", "a/b", "same", "a_b", "dead")
    graph = Graph(("input",), ("a_b",), nodes, {name: Signal(name, (2,)) for name in names})
    report = write(graph, tmp_path / "net.nir")
    assert set(package.read(tmp_path / "net.nir").nodes) == {"input", "output", "a_b", "a_b_2", "a_b_3"}
    assert report.nodes == 5
    x = torch.randn(3, 2)
    back = read(tmp_path / "net.nir")
    assert torch.equal(compiler.interpret(graph, x)[0], compiler.interpret(back, x)[0])
    assert [node.op for node in back] == ["linear", "linear", "scale"]


def test_a_program_gives_its_source_graph(tmp_path):
    graph = captured(Chain(nn.Linear(3, 2), LIF()), 3)
    assert write(SimpleNamespace(source_graph=graph), tmp_path / "a.nir").nodes == 4
    with pytest.raises(InvalidArgumentError, match="got Linear"):
        write(nn.Linear(3, 2), tmp_path / "b.nir")


def _with_attribute(graph: Graph, op: str, **attributes) -> Graph:
    return dataclasses.replace(
        graph,
        nodes=tuple(
            dataclasses.replace(n, attributes={**n.attributes, **attributes}) if n.op == op else n for n in graph
        ),
    )


def _refused() -> dict[str, tuple[Graph, str]]:
    chain = captured(Chain(nn.Linear(3, 2), LIF()), 3)
    image = torch.zeros(2, 1, 8, 8)
    membrane = dataclasses.replace(chain, outputs=("layers.1.v_next",))
    started = dataclasses.replace(chain, states=(dataclasses.replace(chain.states[0], initial=0.5),))
    signals = {**chain.signals, "second": Signal("second", (4,))}
    return {
        "soft reset": (captured(Chain(nn.Linear(3, 2), LIF(v_reset=None)), 3), r"layers\.1 \(lif\).*v_reset=0\.0"),
        "soft reset IF": (captured(Chain(nn.Linear(3, 2), IF(v_reset=None)), 3), r"layers\.1 \(integrate_fire\)"),
        "batch norm": (compiler.capture(demo(), torch.zeros(2, 1, 28, 28)), r"stem\.bn \(batch_norm\).*simplify"),
        "relu": (compiler.capture(Images(nn.Conv2d(1, 2, 3), nn.ReLU()), image), r"layers\.1 \(relu\).*spiking"),
        "tokens": (compiler.capture(Images(nn.Linear(8, 3)), image), r"layers\.0 \(linear\).*\(1, 8, 8\).*vectors"),
        "integer neuron": (
            dataclasses.replace(chain, nodes=(chain.nodes[0], dataclasses.replace(chain.nodes[1], op="lif_fixed"))),
            r"layers\.1 \(lif_fixed\).*integer",
        ),
        "integer weights": (_with_attribute(chain, "linear", weight_exponent=2), r"layers\.0 \(linear\).*integer"),
        "membrane": (membrane, r"layers\.1\.v_next.*membrane"),
        "start": (started, r"layers\.1 \(lif\) starts at 0\.5"),
        "unread input": (
            dataclasses.replace(chain, inputs=("input", "second"), signals=signals),
            "'second' is read by",
        ),
    }


@pytest.mark.parametrize(
    "case",
    [
        "soft reset",
        "soft reset IF",
        "batch norm",
        "relu",
        "tokens",
        "integer neuron",
        "integer weights",
        "membrane",
        "start",
        "unread input",
    ],
)
def test_what_nir_cannot_say_is_refused_in_one_line_and_leaves_no_file(case, tmp_path):
    graph, message = _refused()[case]
    with pytest.raises(NirError, match=message) as caught:
        write(graph, tmp_path / "net.nir")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_step_is_a_positive_number(dt, tmp_path):
    graph = captured(Chain(nn.Linear(3, 2), LIF()), 3)
    with pytest.raises(InvalidArgumentError, match="dt="):
        write(graph, tmp_path / "net.nir", dt=dt)
    write(graph, tmp_path / "net.nir")
    with pytest.raises(InvalidArgumentError, match="dt="):
        read(tmp_path / "net.nir", dt=dt)
    with pytest.raises(InvalidArgumentError, match="timesteps=0"):
        read(tmp_path / "net.nir", timesteps=0)
    assert read(tmp_path / "net.nir", timesteps=7).timesteps == 7


def test_half_precision_is_refused(tmp_path):
    graph = captured(Chain(nn.Linear(3, 2), LIF()), 3)
    half = {key: p.half() for key, p in graph.nodes[0].parameters.items()}
    graph = dataclasses.replace(graph, nodes=(dataclasses.replace(graph.nodes[0], parameters=half), graph.nodes[1]))
    with pytest.raises(NirError, match=r"float16.*graph\.double"):
        write(graph, tmp_path / "net.nir")


def test_a_failure_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    graph = captured(Chain(nn.Linear(3, 2), LIF()), 3)
    path = tmp_path / "net.nir"
    write(graph, path)
    before = path.read_bytes()

    def fail(name, network):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(package, "write", fail)
    with pytest.raises(DiskError, match="disk is full"):
        write(graph, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_without_the_package_both_directions_say_how_to_get_it(tmp_path, monkeypatch):
    graph = captured(Chain(nn.Linear(3, 2), LIF()), 3)
    imported = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "nir":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    for attempt in (lambda: write(graph, tmp_path / "a.nir"), lambda: read(tmp_path / "a.nir")):
        with pytest.raises(NirError, match=r"pip install snnkit\[nir\]"):
            attempt()


def test_missing_and_corrupt_files(tmp_path):
    import h5py

    path = tmp_path / "net.nir"
    with pytest.raises(CorruptFileError, match="does not exist"):
        read(path)
    graph = captured(Chain(nn.Linear(3, 2), LIF()), 3)
    write(graph, path)
    whole = path.read_bytes()
    for content in (b"", b"\x80\x04not a pickle either", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(CorruptFileError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
    with h5py.File(path, "w") as file:
        file["other"] = np.arange(3)
    with pytest.raises(CorruptFileError, match="no NIR graph"):
        read(path)
    with pytest.raises(CorruptFileError):
        read(tmp_path)
    package.write(path, package.LI(np.ones(2), np.ones(2), np.ones(2)))
    with pytest.raises(CorruptFileError):
        read(path)


def _lif(n: int = 2, **changes) -> package.LIF:
    values = {"tau": 2.0, "r": 1.0, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **changes}
    return package.LIF(**{key: np.full(n, value) if np.isscalar(value) else value for key, value in values.items()})


def write_foreign(path, *middle, edges=None, shape=(2,), out=(2,)) -> None:
    """A file that some other tool wrote: no metadata, and no check."""
    nodes = {"input": package.Input(np.array(shape))}
    nodes |= {f"n{i}": node for i, node in enumerate(middle)}
    nodes["output"] = package.Output(np.array(out))
    names = list(nodes)
    edges = list(itertools.pairwise(names)) if edges is None else edges
    package.write(path, package.NIRGraph(nodes, edges, type_check=False))


ones = np.ones(2)
FOREIGN = {
    "CubaLIF that leaks": ((package.CubaLIF(*[ones] * 5),), None, r"n0 \(CubaLIF\) leaks to 1"),
    "CubaLIF below a step": (
        (package.CubaLIF(0.5 * ones, 2 * ones, ones, 0 * ones, ones),),
        None,
        r"n0 \(CubaLIF\).*tau_syn=0\.5.*dt=",
    ),
    "LI that leaks": ((package.LI(2 * ones, ones, ones),), None, r"n0 \(LI\) leaks to 1"),
    "LI below a step": ((package.LI(ones, ones, 0 * ones),), None, r"n0 \(LI\).*tau=1.*dt="),
    "CubaLI that leaks": ((package.CubaLI(*[2 * ones] * 4),), None, r"n0 \(CubaLI\) leaks to 2"),
    "Delay of half a step": ((package.Delay(0.5 * ones),), None, r"n0 \(Delay\).*0\.5 time steps.*dt="),
    "Delay without end": ((package.Delay(1e9 * ones),), None, r"n0 \(Delay\).*whole steps"),
    "Delay backwards": ((package.Delay(-ones),), None, r"n0 \(Delay\).*-1 time steps"),
    "Delays that differ": ((package.Delay(np.array([1.0, 2.0])),), None, r"n0 \(Delay\).*differ"),
    "tau below a step": ((_lif(tau=0.01),), None, r"n0 \(LIF\).*tau=0\.01.*dt="),
    "another leak": ((_lif(v_leak=0.2),), None, r"n0 \(LIF\) leaks to 0\.2"),
    "reset above": ((_lif(v_reset=2.0, v_leak=2.0),), None, r"n0 \(LIF\): v_reset=2"),
    "fed by itself alone": (
        (_lif(), package.Linear(np.eye(2))),
        [("input", "output"), ("n0", "n1"), ("n1", "n0")],
        "recurrent: n0, n1 depend on each other",
    ),
    "no edge into it": ((_lif(),), [("input", "output")], r"n0 \(LIF\) has no edge"),
    "tensor weights": ((package.Linear(np.ones((3, 2, 2))),), None, r"n0 \(Linear\).*\(3, 2, 2\)"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_graphs_cannot_say_is_refused_with_the_nodes_name(case, tmp_path):
    nodes, edges, message = FOREIGN[case]
    write_foreign(tmp_path / "net.nir", *nodes, edges=edges)
    with pytest.raises(NirError, match=message) as caught:
        read(tmp_path / "net.nir")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        ((package.Linear(np.ones((2, 3))),), {}, r"n0 \(Linear\) does not fit its input of shape \(2,\)"),
        ((_lif(3),), {}, r"n0 \(LIF\).*tau has shape \(3,\)"),
        ((_lif(tau=np.nan),), {}, r"n0 \(LIF\).*tau is nan"),
        ((package.Linear(np.ones((3, 2))),), {}, r"output \(Output\).*its shape is \(2,\)"),
        ((package.Affine(np.ones((2, 2)), np.ones(3)),), {}, r"n0 \(Affine\)"),
        ((), {"edges": [("input", "nobody"), ("input", "output")]}, "'nobody'"),
        ((package.Conv2d(None, np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.ones(2)),), {}, r"n0 \(Conv2d\).*3 axes"),
    ],
)
def test_files_that_do_not_hold_together(nodes, options, message, tmp_path):
    for node in nodes:
        if isinstance(node, package.Conv2d):
            node.input_shape = np.array([8, 8])
    write_foreign(tmp_path / "net.nir", *nodes, **options)
    with pytest.raises(CorruptFileError, match=message) as caught:
        read(tmp_path / "net.nir")
    assert "\n" not in str(caught.value)


def test_flatten_that_leaves_the_channels_is_explained(tmp_path):
    """NIR's shapes have no batch axis: start_dim=1 merges the axes of a channel. Who meant the batch is told so."""
    flatten = package.Flatten({"input": np.array([2, 3, 3])}, start_dim=1)
    write_foreign(tmp_path / "net.nir", flatten, shape=(2, 3, 3), out=(2, 9))
    graph = read(tmp_path / "net.nir")
    x = torch.rand(4, 5, 2, 3, 3)
    assert torch.equal(compiler.interpret(graph, x)[0], x.flatten(3))
    assert torch.equal(compiler.interpret(graph, x)[0], snnkit.importers.from_nir(tmp_path / "net.nir")(x))
    write_foreign(tmp_path / "net.nir", flatten, package.Linear(np.ones((3, 18))), shape=(2, 3, 3), out=(3,))
    with pytest.raises(CorruptFileError, match=r"n1 \(Linear\).*\(2, 9\).*start_dim=0"):
        read(tmp_path / "net.nir")


@pytest.mark.parametrize("neuron", ["lif", "if", "sum"])
def test_foreign_networks_mean_what_nir_says(neuron, tmp_path):
    """A resistance that is neither 1 nor tau, an unstated time step, several edges: as numpy computes them."""
    rng = np.random.default_rng(0)
    dt = 1e-3
    make = {
        "lif": _lif(5, tau=0.02, r=4.0, v_threshold=0.6, v_leak=-0.1, v_reset=-0.1),
        "if": package.IF(np.full(5, 130.0), np.full(5, 0.8), np.full(5, -0.2)),
        "sum": _lif(5, tau=0.003, r=3.0, v_threshold=0.6),
    }
    edges = [("input", "n0"), ("input", "n1"), ("n0", "n2"), ("n1", "n2"), ("n2", "output")]
    first = package.Affine(rng.normal(size=(5, 3)), rng.normal(size=5))
    write_foreign(
        tmp_path / "net.nir",
        *(first, package.Linear(rng.normal(size=(5, 3))), make[neuron]),
        edges=edges,
        shape=(3,),
        out=(5,),
    )
    graph = read(tmp_path / "net.nir", dt=dt)
    assert ("scale" in [node.op for node in graph]) == (neuron != "sum")
    x = 3 * rng.normal(size=(40, 6, 3))
    y, _ = compiler.interpret(graph, torch.from_numpy(x))
    expected = run_nir(package.read(tmp_path / "net.nir"), x, dt)
    assert 0.02 < y.mean() < 0.9
    np.testing.assert_array_equal(y.numpy(), expected["n2"])


def test_pools_and_paddings_of_others(tmp_path):
    torch.manual_seed(0)
    weight = torch.randn(4, 2, 3, 3)
    zero = np.zeros(4, np.float32)
    conv = package.Conv2d((8, 8), weight.numpy(), 1, "same", 1, 1, zero)
    pool = package.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    write_foreign(tmp_path / "net.nir", conv, pool, shape=(2, 8, 8), out=(4, 4, 4))
    x = torch.randn(3, 2, 8, 8)
    y, _ = compiler.interpret(read(tmp_path / "net.nir"), x)
    expected = 4 * torch.nn.functional.avg_pool2d(torch.nn.functional.conv2d(x, weight, padding=1), 2)
    torch.testing.assert_close(y[0], expected)
    conv.padding = np.array([3, 3])
    write_foreign(tmp_path / "net.nir", conv, shape=(2, 8, 8), out=(4, 12, 12))
    y, _ = compiler.interpret(read(tmp_path / "net.nir"), x)
    assert torch.equal(y[0], torch.nn.functional.conv2d(x, weight, padding=3))


def test_hints_that_make_no_sense_are_ignored(tmp_path):
    nodes = {"input": package.Input(np.array([2])), "lif": _lif(), "output": package.Output(np.array([2]))}
    metadata = {"dt": -3.0, "timesteps": "many"}
    package.write(tmp_path / "a.nir", package.NIRGraph(nodes, [("input", "lif"), ("lif", "output")], metadata))
    graph = read(tmp_path / "a.nir")
    assert (graph.timesteps, graph.static_input, graph.name) == (1, False, "a")
    assert graph.nodes[0].attributes["tau"] == 2.0
    assert graph.nodes[0].attributes["v_threshold"] == np.nextafter(1.0, 2.0)
