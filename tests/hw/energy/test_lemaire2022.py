"""Lemaire et al. 2022: the equations by hand, and SpikingJelly's profiler on the same networks to the last digit.

Would break it: a stride in the wrong memory, a bias once instead of at every step, a queue as large as its layer, a
leak for IF, outputs written where a neuron takes them.
"""

import dataclasses

import pytest
import torch
from torch import nn

from compiler.counting import count
from hw.counts import Counts, LayerCounts
from hw.energy.lemaire2022 import MODEL
from snnkit.neurons import IF, LIF

ADD, MUL = 0.1, 3.1
MAC = MUL + ADD
QUEUE = 10 * 4000 / 8192


def linear(**numbers):
    """6 → 4 with biases, four steps, five events."""
    given = {
        "ac": 20.0,
        "synaptic_events": 20.0,
        "input_events": 5.0,
        "bias_adds": 16.0,
        "weights": 28,
        "inputs": 6,
        "outputs": 4,
        "evaluations": 4,
        "shape": {"weight": (4, 6)},
    }
    return LayerCounts("fc", "linear", "synapse", "binary", "real", **{**given, **numbers})


def parts(counts, end="nominal"):
    return {part.name: getattr(part.energy.to("pJ"), end) for part in MODEL.estimate(counts).parts}


def test_a_fully_connected_layer_of_events_by_hand():
    got = parts(Counts((linear(),), 4, 1))
    weights, potentials = 10 * 28 * 4 / 8192, 10 * 16 / 8192
    assert got == pytest.approx(
        {
            "operations": (5 * 4 + 4 * 4) * ADD,
            "addressing": 5 * 4 * ADD,
            "inputs and outputs": 5 * QUEUE,
            "parameters": (5 * 4 + 16) * weights,
            "potentials": 2 * 5 * 4 * potentials,
        },
        rel=1e-12,
    )


def test_a_strided_convolution_of_events_by_hand():
    """3×3, stride 2, 2 → 4 channels: an event adds ⌈3/2⌉² · 4 weights, and fetches 9 · 4."""
    conv = linear(ac=20.0, shape={"weight": (4, 2, 3, 3)}, settings={"stride": (2, 2), "groups": 1}, bias_adds=0.0)
    counts = Counts((dataclasses.replace(conv, op="conv", outputs=64, weights=72),), 4, 1)
    got = parts(counts)
    assert got["operations"] == pytest.approx(5 * 4 * 4 * ADD, rel=1e-12)
    assert got["addressing"] == pytest.approx(5 * 36 * ADD + 2 * 5 * MAC, rel=1e-12)
    assert got["parameters"] == pytest.approx(5 * 36 * 10 * 288 / 8192, rel=1e-12)
    assert got["potentials"] == pytest.approx(2 * 5 * 36 * 10 * 256 / 8192, rel=1e-12)
    # At the lower end, the weights that the events did reach.
    low = parts(counts, "low")
    assert low["operations"] == pytest.approx(20 * ADD, rel=1e-12)
    assert low["parameters"] == pytest.approx(20 * 10 * 288 / 8192, rel=1e-12)


def test_depthwise_events_stay_in_their_channel():
    conv = linear(shape={"weight": (4, 1, 3, 3)}, settings={"stride": (1, 1), "groups": 4}, bias_adds=0.0, ac=40.0)
    got = parts(Counts((dataclasses.replace(conv, op="conv"),), 4, 1))
    assert got["operations"] == pytest.approx(5 * 9 * ADD, rel=1e-12)


def test_an_ordinary_layer_by_hand_with_and_without_neurons():
    events = {"ac": 0.0, "synaptic_events": 0.0, "input_events": 0.0}
    layer = linear(**events, mac=24.0, dense_macs=24.0, bias_adds=4.0, evaluations=1)
    layer = dataclasses.replace(layer, input_type="real")
    got = parts(Counts((layer,), 1, 1))
    assert got == pytest.approx(
        {
            "operations": 24 * MAC + 4 * ADD,
            "addressing": (6 + 4) * ADD,
            "inputs and outputs": 6 * 10 * 24 / 8192 + 4 * 10 * 16 / 8192,
            "parameters": 28 * 10 * 112 / 8192,
        },
        rel=1e-12,
    )
    silent = LayerCounts("if", "integrate_fire", "neuron", "real", "binary", spikes=0.0, neurons=4)
    with_neurons = parts(Counts((layer, silent), 1, 1))
    assert with_neurons["inputs and outputs"] == pytest.approx(6 * 10 * 24 / 8192, rel=1e-12)


@pytest.mark.parametrize(("op", "macs"), [("integrate_fire", 0), ("lif", 1)])
def test_the_papers_two_neurons(op, macs):
    neuron = LayerCounts(
        "n",
        op,
        "neuron",
        "real",
        "binary",
        spikes=7.0,
        output_events=7.0,
        neurons=50,
        neuron_updates=200.0,
        state_reads=200.0,
        state_writes=200.0,
        states=50,
        outputs=50,
    )
    got = parts(Counts((neuron,), 4, 1))
    assert got["operations"] == pytest.approx(7 * ADD + macs * 200 * MAC, rel=1e-12)
    assert got["inputs and outputs"] == pytest.approx(7 * QUEUE, rel=1e-12)
    assert got["potentials"] == pytest.approx(400 * 10 * 200 / 8192, rel=1e-12)


@pytest.mark.parametrize(
    ("weights", "pj"),
    [(2048, 10.0), (1024, 5.0), (8192, 20.0), (5120, 15.0), (262144, 100.0), (10**7, 100.0), (135168, 60.0)],
)
def test_a_memory_costs_by_its_size(weights, pj):
    """Lines through (0, 0), (8 KiB, 10 pJ), (32 KiB, 20 pJ), (1 MiB, 100 pJ), for numbers of 4 bytes; then flat."""
    got = parts(Counts((linear(weights=weights),), 4, 1))
    assert got["parameters"] == pytest.approx(36 * pj, rel=1e-9)


def test_the_upper_end_takes_the_laboratorys_line_where_it_is_dearer():
    small, middle = (parts(Counts((linear(weights=w),), 4, 1), "high")["parameters"] for w in (28, 8192))
    assert small == pytest.approx(36 * (13.2 + 1.09e-5 * 28 * 32), rel=1e-12)
    assert middle == pytest.approx(36 * 20.0, rel=1e-12)  # the line says 16.06


def test_what_the_paper_has_no_equation_for_is_left_out_at_the_lower_end_and_named_apart():
    product = LayerCounts(
        "qk", "matmul", "product", "binary", "real", ac=50.0, synaptic_events=50.0, inputs=40, outputs=10
    )
    norm = LayerCounts("ln", "layer_norm", "norm", "real", "real", adds=30.0, roots=1.0, inputs=10, outputs=10)
    izhikevich = LayerCounts("iz", "izhikevich", "neuron", "real", "binary", spikes=0.0, neuron_updates=10.0, inputs=1)
    energy = MODEL.estimate(Counts((product, norm, izhikevich), 1, 1, (), {"izhikevich": (6, 10, 1)}))
    (part,) = [p for p in energy.parts if p.energy.high > 0]
    assert part.name == "beyond the paper"
    assert part.energy.low == 0
    reads = 2 * 10 * 160 / 8192
    expected = 50 * (ADD + reads + ADD) + 30 * ADD + 10 * (6 * MUL + 10 * ADD)
    assert part.energy.to("pJ").nominal == pytest.approx(expected, rel=1e-12)
    assert energy.uncounted == ("ln",)
    unknown = MODEL.estimate(Counts((izhikevich,), 1, 1))
    assert unknown.uncounted == ("iz",)


def test_a_batch_norm_is_no_layer_of_the_papers():
    """It reads each value and its weight once, and addresses nothing; folded away, it costs nothing at all."""
    norm = LayerCounts(
        "bn", "batch_norm", "synapse", "binary", "real",
        ac=40.0, synaptic_events=40.0, bias_adds=60.0, input_events=40.0, weight_fetches=100.0, weights=8,
        inputs=60, outputs=60, activation_reads=60.0, activation_writes=60.0,
    )  # fmt: skip
    got = parts(Counts((norm,), 1, 1))
    memory = 120 * 10 * 240 / 8192 + 100 * 10 * 32 / 8192
    assert got == pytest.approx({"beyond the paper": 100 * ADD + memory}, rel=1e-12)


class Net(nn.Module):
    """Strided conv with biases, IF, conv, LIF, fully connected, IF; neurons of either library."""

    def __init__(self, neurons):
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b, self.c = (
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.Conv2d(4, 6, 3, padding=1, bias=False),
            nn.Linear(96, 10),
        )
        for layer, gain in ((self.a, 3.0), (self.b, 10.0), (self.c, 10.0)):
            layer.weight.data.mul_(gain)
        self.n1, self.n2, self.n3 = neurons


class Own(Net):
    def forward(self, x):
        steps, batch = x.shape[:2]
        for layer, neuron in ((self.a, self.n1), (self.b, self.n2), (self.c, self.n3)):
            flat = x.flatten(0, 1) if layer is not self.c else x.flatten(2).flatten(0, 1)
            x = neuron(layer(flat).unflatten(0, (steps, batch)))
        return x


class Stepped(Net):
    def forward(self, x):
        steps = [self.n3(self.c(self.n2(self.b(self.n1(self.a(one)))).flatten(1))) for one in x]
        return torch.stack(steps)


PARTS = {
    "operations": "ops_pj",
    "addressing": "addressing_pj",
    "inputs and outputs": "inout_pj",
    "parameters": "params_pj",
    "potentials": "potential_pj",
}


@pytest.mark.parametrize("kind", ["binary", "real"])
def test_spikingjellys_profiler_says_the_same(kind):
    """On convolutions, fully connected layers, IF and LIF, every part is equal; borders and strides as the paper's."""
    profiler = pytest.importorskip("spikingjelly.activation_based.op_counter", reason="spikingjelly is not installed")
    from spikingjelly.activation_based import neuron

    torch.manual_seed(0)
    x = torch.rand(4, 1, 2, 8, 8)
    x = (x < 0.5).float() if kind == "binary" else x
    own, other = Own((IF(), LIF(), IF())).eval(), Stepped((neuron.IFNode(), neuron.LIFNode(), neuron.IFNode())).eval()
    with torch.no_grad():
        spikes = own(x)
        assert torch.equal(spikes, other(x))
        assert spikes.sum() > 0
    for part in (other.n1, other.n2, other.n3):
        part.reset()
    report = profiler.estimate_lemaire_energy(other, x)
    energy = MODEL.estimate(count(own, [x], input_type=kind))
    got = {part.name: part.energy.to("pJ").nominal for part in energy.parts if part.energy.high}
    assert got == pytest.approx({name: report.breakdown_pj[theirs] for name, theirs in PARTS.items()}, rel=1e-12)
    assert energy.total.to("pJ").nominal == pytest.approx(report.total_pj, rel=1e-12)
    assert energy.uncounted == ()
    # What the events did reach is less, at a border and under a stride.
    assert energy.total.low < energy.total.nominal
