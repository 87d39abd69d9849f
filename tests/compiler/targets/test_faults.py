"""What no target may do, on every chip that programs are made for: the faults that compilers are known for.

A bias cut off in silence, a tie at the threshold that fires here and not there, "exact" beside a network that was
changed, an accumulator that overflows unseen, a bound that is passed, a division by the largest of weights that are all
zero. Every target takes each of these networks, and has the float network's spikes: but for ODIN and tinyODIN, which
work off events one by one, and say so.
"""

import inspect
import threading

import numpy as np
import pytest
import torch
from support.nets import constant_linear
from torch import nn

import compiler
from compiler.graph import is_neuron
from compiler.mapping import engine
from compiler.targets import TARGETS
from compiler.targets.catalyst_n1 import simulator
from compiler.targets.odin import image as odin_image
from hw import get_chip, list_chips
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF

CHIPS = list({get_chip(n).semantics: n for n in reversed(list_chips()) if get_chip(n).semantics in TARGETS}.values())
"""One chip of each target."""


ONE_BY_ONE = ("odin", "tinyodin")
"""These test a threshold after each event, and fire where the float network's whole step would not, or once more."""


def built(model, x, chip):
    return compiler.compile(model, x, chip, "binary")


def run(program, x):
    """Verify a program; returns its spikes by layer, the float network's, and the equality."""
    trace = program.simulate(x)
    equality = program.verify(x, trace)
    assert (equality.mismatches, equality.membrane_mismatches) == (0, 0), str(equality)
    neurons = [node for node in program.graph if is_neuron(node)]
    assert all(np.isfinite(node.attributes.get("scale", 1.0)) for node in neurons)
    assert all(node.attributes.get("rounding", 0.0) >= 0.0 for node in neurons)  # infinite where nothing bounds it
    _, floating = compiler.interpret(program.source_graph.double(), x, probes=list(trace.spikes))
    return trace.spikes, {name: spikes.numpy() for name, spikes in floating.items()}, equality


def same(chip, ours, floating, equality):
    """The float network's spikes, each at its step; a chip that works off events one by one may say "approximate"."""
    if chip in ONE_BY_ONE and equality.float_mismatches:
        assert equality.float_verdict == "approximate"
        assert not equality.float_proven
        return
    assert equality.float_mismatches == 0, str(equality)
    assert set(ours) == set(floating)
    for name, spikes in ours.items():
        np.testing.assert_array_equal(spikes, floating[name].reshape(spikes.shape), name)


def test_chips_of_one_event_at_a_time_are_among_them():
    assert set(ONE_BY_ONE) < set(CHIPS)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("bias", [0.25, 0.5, 2.0, -0.5, 30.0])
def test_a_bias_is_kept(chip, bias):
    """Small weights and a bias of another size: the same spikes, without any input and with all of it."""
    x = torch.stack([torch.zeros(8, 4), torch.ones(8, 4)], 1).double()
    program = built(nn.Sequential(constant_linear(4, 6, 0.0625, bias), IF(), constant_linear(6, 3, 0.5)), x, chip)
    ours, floating, equality = run(program, x)
    # By hand, without input: the membrane reaches 1 every 1 / bias steps.
    assert int(floating["1"][:, 0].sum()) == 6 * (0 if bias < 0 else 8 * min(1, bias))
    same(chip, ours, floating, equality)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("weight", [0.5, 0.25, 0.1, 1 / 3])
def test_a_membrane_at_the_threshold_fires(chip, weight):
    """One input a step, or two, that together are exactly the threshold."""
    x = torch.ones(4, 1, 2).double()
    program = built(
        nn.Sequential(constant_linear(2, 6, weight), IF(v_threshold=2 * weight), constant_linear(6, 3, 0.25)), x, chip
    )
    ours, floating, _ = run(program, x)
    assert int(floating["1"].sum()) == 24
    assert int(ours["1"].sum()) == 24


@pytest.mark.parametrize("chip", CHIPS)
def test_exact_is_not_said_of_a_changed_network(chip):
    """Random weights are rounded: both ends of a comparison are named, and the float network is not called equal."""
    torch.manual_seed(0)
    x = (torch.rand(6, 8, 12) < 0.4).double()
    model = nn.Sequential(nn.Linear(12, 20), IF(), nn.Linear(20, 4)).double()
    model[0].weight.data.mul_(2)
    for layer in (model[0], model[2]):
        layer.bias.data.zero_()
    _, _, equality = run(built(model, x, chip), x)
    assert equality.float_mismatches > 0
    assert equality.float_verdict == "approximate"
    assert not equality.float_proven
    text = str(equality)
    assert "float network → quantised graph: approximate" in text
    assert "proven" not in text
    assert "quantised graph → integer program: exact" in text


@pytest.mark.parametrize("chip", [chip for chip in CHIPS if chip not in ONE_BY_ONE])
@pytest.mark.parametrize(("neuron", "threshold"), [(IF, 1.0), (LIF, 0.4)])
def test_no_current_is_further_off_than_is_said(neuron, threshold, chip):
    """Each layer's bound, held against what the float layer makes of the very spikes that the chip's layer was sent.

    Nor is it a bound of any size: rounding comes within a tenth of it.
    """
    torch.manual_seed(0)
    first, second = (neuron(v_threshold=threshold) for _ in range(2))
    model = nn.Sequential(nn.Linear(12, 20), first, nn.Linear(20, 8), second, nn.Linear(8, 4)).double()
    for layer in (model[0], model[2]):
        layer.weight.data.mul_(2)
    x = (torch.rand(6, 40, 12) < 0.4).double()
    graph = built(model, x, chip).graph
    neurons = [node for node in graph if is_neuron(node) and node.role != "readout"]
    _, found = compiler.interpret(graph, x, probes=[name for n in neurons for name in (n.inputs[0], n.output)])
    sent, tau = x, 1.0 if neuron is IF else 2.0
    for node, layer in zip(neurons, (model[0], model[2]), strict=True):
        assert 0.05 < sent.mean() < 0.9
        off = found[node.inputs[0]] / node.attributes["scale"] * tau - layer(sent).detach()
        bound = node.attributes["rounding"]
        assert bound / 10 < off.abs().max() <= bound, node.attributes["layer"]
        sent = found[node.output]


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_accumulator_overflows_unseen(chip, sign):
    """All inputs at once, for as long as it takes: what compiles is right, and what is not names its layer."""
    x = torch.ones(24, 1, 48).double()
    first = constant_linear(48, 4, sign)
    first.weight.data[2:] *= -1
    program = built(nn.Sequential(first, IF(v_threshold=2.0), constant_linear(4, 2, 0.5)), x, chip)
    same(chip, *run(program, x))


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("which", ["first", "second", "all"])
def test_weights_of_zero_are_no_defect(chip, which):
    """A layer without a single weight: its neurons are silent, nothing is divided by its largest weight."""
    x = torch.ones(4, 1, 4).double()
    first, second, head = constant_linear(4, 6, 0.5), constant_linear(6, 5, 0.5), constant_linear(5, 3, 0.5)
    for layer, named in ((first, "first"), (second, "second"), (head, "")):
        if which in ("all", named):
            layer.weight.data.zero_()
    program = built(nn.Sequential(first, IF(), second, IF(), head), x, chip)
    same(chip, *run(program, x))


@pytest.mark.parametrize("chip", CHIPS)
def test_no_source_is_read_in_a_thread(chip, monkeypatch):
    """The first run of a process makes its loop from texts, which ``inspect`` finds safely in one thread only."""
    x = torch.ones(4, 3, 4).double()
    program = built(nn.Sequential(constant_linear(4, 6, 0.5), IF(), constant_linear(6, 3, 0.5)), x, chip)
    for made in (engine.kernel, simulator.kernel, odin_image._kernel):
        made.cache_clear()
    read, source = [], inspect.getsource

    def noted(part):
        read.append(threading.current_thread())
        return source(part)

    monkeypatch.setattr(inspect, "getsource", noted)
    program.simulate(x)
    assert set(read) == {threading.main_thread()}


class Upsampling(nn.Module):
    """Spikes, a transposed convolution between two layers of neurons, a readout."""

    def __init__(self, bias):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2, bias=bias)
        self.one, self.two = IF(), IF()
        self.head = nn.Linear(4 * 64, 3, bias=False)
        for parameter in self.parameters():  # eighths: the chip's numbers hold them as they are
            parameter.data = torch.randint(-8, 9, parameter.shape).double() / 8

    def forward(self, x):
        up = over_time(self.up, self.one(over_time(self.first, x)))
        return over_time(self.head, self.two(up).flatten(2))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("chip", ["loihi1", "mesh"])
def test_a_transposed_convolution_between_neurons(chip, bias):
    """It has whole-number weights with an exponent as other layers have, and its bias comes after the shift."""
    x = (torch.rand(4, 3, 2, 4, 4) > 0.5).double()
    ours, floating, equality = run(built(Upsampling(bias), x, chip), x)
    assert equality.float_mismatches == 0
    assert min(int(spikes.sum()) for spikes in ours.values()) > 50
    assert all((ours[name].reshape(-1) == floating[name].reshape(-1)).all() for name in ours)
