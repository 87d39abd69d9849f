"""What no target may do, on every chip that programs are made for: the faults that compilers are known for.

A bias cut off in silence, a tie at the threshold that fires here and not there, "exact" beside a network that was
changed, an accumulator that overflows unseen, a division by the largest of weights that are all zero. Each network is
either compiled, and then right, or refused with the layer, what it needs and the limit.
"""

import numpy as np
import pytest
import torch
from support.nets import constant_linear
from torch import nn

import compiler
from compiler.compiling import CompileError
from compiler.graph import is_neuron
from compiler.targets import TARGETS
from hw import get_chip, list_chips
from snnkit.layers import over_time
from snnkit.neurons import IF

CHIPS = list({get_chip(n).semantics: n for n in reversed(list_chips()) if get_chip(n).semantics in TARGETS}.values())
"""One chip of each target."""


def built(model, x, chip):
    """The program, or None where the chip refuses the network by name."""
    try:
        return compiler.compile(model, x, chip, "binary")
    except CompileError as error:
        refused = error
    assert refused.violations
    assert all(v.layer and v.need and v.limit for v in refused.violations)
    assert "nan" not in str(refused).lower().split()
    return None


def run(program, x):
    """Verify a program; returns its spikes by layer, the float network's, and the equality."""
    trace = program.simulate(x)
    equality = program.verify(x, trace)
    assert (equality.mismatches, equality.membrane_mismatches) == (0, 0), str(equality)
    neurons = [node for node in program.graph if is_neuron(node)]
    assert all(np.isfinite(node.attributes.get("scale", 1.0)) for node in neurons)
    assert all(np.isfinite(node.attributes.get("rounding", 0.0)) for node in neurons)
    _, floating = compiler.interpret(program.source_graph.double(), x, probes=list(trace.spikes))
    return trace.spikes, {name: spikes.numpy() for name, spikes in floating.items()}, equality


def same(ours, floating, equality, within=0):
    """The float network's spikes; a chip that works off events one by one has others, and says so."""
    apart = max(abs(int(ours[name].sum()) - int(floating[name].sum())) for name in ours)
    assert apart <= within or (equality.float_mismatches > 0 and equality.float_verdict == "approximate"), str(equality)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("bias", [0.25, 0.5, 2.0, -0.5, 30.0])
def test_a_bias_is_kept_or_refused(chip, bias):
    """Small weights and a bias of another size: the same spikes, with no input at all."""
    x = torch.zeros(8, 1, 4).double()
    program = built(nn.Sequential(constant_linear(4, 6, 0.0625, bias), IF(), constant_linear(6, 3, 0.5)), x, chip)
    if program is None:
        return
    same(*run(program, x), within=6)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("weight", [0.5, 0.25, 0.1, 1 / 3])
def test_a_membrane_at_the_threshold_fires(chip, weight):
    """One input a step, or two, that together are exactly the threshold."""
    x = torch.ones(4, 1, 2).double()
    program = built(
        nn.Sequential(constant_linear(2, 6, weight), IF(v_threshold=2 * weight), constant_linear(6, 3, 0.25)), x, chip
    )
    if program is None:
        return
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
    program = built(model, x, chip)
    if program is None:
        return
    _, _, equality = run(program, x)
    if equality.float_mismatches or equality.float_logit_error:
        assert equality.float_verdict != "exact"
    assert not equality.float_proven or equality.float_logit_error == 0.0
    text = str(equality)
    assert "float network → quantised graph: " in text
    assert "quantised graph → integer program: exact" in text


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_accumulator_overflows_unseen(chip, sign):
    """All inputs at once, for as long as it takes: what compiles is right, and what is not names its layer."""
    x = torch.ones(24, 1, 48).double()
    first = constant_linear(48, 4, sign)
    first.weight.data[2:] *= -1
    program = built(nn.Sequential(first, IF(v_threshold=2.0), constant_linear(4, 2, 0.5)), x, chip)
    if program is None:
        return
    same(*run(program, x))


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
    if program is None:
        return
    same(*run(program, x))


def test_loihi_compiles_them_and_differs_in_nothing():
    """The checks above are not empty: Loihi refuses none of these networks, and its spikes are the float network's."""
    x = torch.ones(8, 1, 4).double()
    networks = [
        nn.Sequential(constant_linear(4, 6, 0.0625, b), IF(), constant_linear(6, 3, 0.5)) for b in (0.25, 2.0, -0.5)
    ]
    networks.append(nn.Sequential(constant_linear(4, 6, 0.0), IF(), constant_linear(6, 3, 0.0)))
    networks.append(nn.Sequential(constant_linear(4, 6, -1.0), IF(v_threshold=2.0), constant_linear(6, 3, 0.5)))
    for model in networks:
        program = built(model, x, "loihi1")
        assert program is not None
        ours, floating, equality = run(program, x)
        np.testing.assert_array_equal(ours["1"], floating["1"])
        assert equality.float_mismatches == 0


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
