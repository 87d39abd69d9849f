"""Converted networks on chips: events are all that layers hand on, and the program is the quantised network.

Would break it: a sum that reads an activation's real numbers beside its codes, a value whose scale is forgotten or
applied twice, an upper bound that the neuron does not have, halves that round down, a scale that a chip's bias register
misses, codes below 0 that are sent as 0.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compiler
from compiler.converting import compare, convert
from compiler.converting.conversion import assembled, prepared
from compiler.converting.places import Places
from compiler.converting.quantisers import Quantiser
from compiler.errors import CaptureError, CompileError
from compiler.interpreting import interpret

CHIPS = "loihi2", "mesh:width=16,height=16"
WIDE = f"{CHIPS[1]},weight_bits=16,bias_mantissa_bits=20,threshold_bits=24,state_bits=32"


class Residual(nn.Module):
    """A post-activation residual network: what a ReLU gives is read by a layer and by a sum, by pools and by a head."""

    def __init__(self, activation=F.relu):
        super().__init__()
        self.activation = activation
        self.stem, self.first = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.second, self.third = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 8, 3, stride=2)
        self.short, self.head = nn.Conv2d(6, 8, 3, stride=2), nn.Linear(8, 4)

    def forward(self, x):
        x = self.activation(self.stem(x))
        x = self.activation(self.first(x))
        y = self.activation(self.second(x) + x)
        y = F.avg_pool2d(y, 2)
        y = self.activation(self.third(y) + self.short(y))
        return self.head(y.mean((2, 3)))


@pytest.fixture
def samples():
    return torch.randn(32, 2, 8, 8, generator=torch.Generator().manual_seed(0))


def network(activation=F.relu):
    torch.manual_seed(0)
    model = Residual(activation).eval()
    for layer in model.children():
        nn.init.kaiming_normal_(layer.weight)
    return model


@pytest.mark.parametrize("exponent", [0, 2, None])
@pytest.mark.parametrize("activation", [F.relu, F.relu6])
def test_at_rest_it_is_its_quantised_network(samples, activation, exponent):
    converted = convert(network(activation), samples, 16, exponent, activation_codes=True)
    found = compare(converted, [(samples, torch.zeros(len(samples), dtype=torch.long))])
    assert found.codes_differ == 0 < found.codes
    run = converted.run(samples)
    assert torch.equal(run.logits[-1], converted.qann(samples))
    assert run.rest <= run.bound


def test_sums_and_pools_read_codes(samples):
    """By hand: the second ReLU's value is its code times its scale, for the sum as for the layer."""
    model = network()
    converted = convert(model, samples, 16, activation_codes=True)
    codes, scales = converted.codes(samples), converted.quantisers
    after = [signal for signal in codes if converted.source.producer(signal).op == "relu"]
    first, second, third = after[1:]  # the stem's is computed from real numbers alone
    with torch.no_grad():
        x = codes[first] * scales[first].scale
        y = F.relu(model.second(x) + x)
        wanted = torch.floor(y / scales[second].scale + 0.5).clamp(0, 15)
        assert (codes[second] != wanted).sum() <= 2, "but for ties"
        y = F.avg_pool2d(codes[second] * scales[second].scale, 2)
        (pooled,) = (signal for signal in codes if converted.source.producer(signal).op == "avg_pool")
        assert (codes[pooled] != torch.floor(y / scales[pooled].scale + 0.5).clamp(0, 15)).sum() <= 2
    assert third in codes


def test_without_it_sums_keep_real_numbers(samples):
    plain, coded = (Places(prepared(network(), samples), activation_codes=on) for on in (False, True))
    held = [name for name in coded.all if coded.is_held(name)]
    assert len(held) == 3
    assert not any(plain.is_held(name) for name in held)
    assert set(plain.all) < set(coded.all)


@pytest.mark.parametrize("activation", [F.relu, F.relu6])
def test_the_form_for_chips_sends_the_codes(samples, activation):
    """In float64, where no sum of real weights lies so near a tie that the grid of the quantised form decides it."""
    samples = samples.double()
    converted = convert(network(activation).double(), samples, 8, activation_codes=True)
    graph = converted.events_graph
    names = [f"{signal}.code" for signal in converted.quantisers]
    out, sent = interpret(graph, samples, probes=names)
    for name, code in converted.codes(samples).items():
        assert torch.equal(sent[f"{name}.code"][0], code), name
    torch.testing.assert_close(out[0], converted.qann(samples), atol=1e-12, rtol=1e-12)
    assert not any(node.op in ("relu", "clamp") and not set(node.inputs) <= graph.static_signals() for node in graph)


def test_a_bound_of_the_activation_below_the_highest_code():
    """ReLU6 with codes of 1: 6 is the most that is sent, and 5.5 is rounded up."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.ReLU6(), nn.Conv2d(1, 1, 1)).eval()
    for layer in model[::2]:
        nn.init.ones_(layer.weight)
        nn.init.zeros_(layer.bias)
    x = torch.tensor([0.0, 5.4, 5.5, 6.0, 7.0, 20.0]).reshape(6, 1, 1, 1)
    source = prepared(model, x)
    quantisers = {
        name: Quantiser(name, torch.tensor(0.5 if index == 0 else 1.0), 0, 63 if index == 0 else 15)
        for index, name in enumerate(Places(source, activation_codes=True).all)
    }
    converted = assembled(source, quantisers, 16, None, activation_codes=True)
    out, _ = interpret(converted.events_graph, x)
    assert out.flatten().tolist() == converted.qann(x).flatten().tolist() == [0, 6, 6, 6, 6, 6]


@pytest.mark.parametrize(("chip", "error"), [(CHIPS[0], 0.1), (WIDE, 0.01)])
def test_the_program_is_the_quantised_graph(samples, chip, error):
    converted = convert(network(), samples, 16, activation_codes=True)
    program = compiler.compile(converted.events_graph, chip=chip)
    trace = program.simulate(samples)
    equality = program.verify(samples, trace)
    assert equality.mismatches == equality.membrane_mismatches == 0 < equality.spikes
    assert equality.float_mismatches < 0.5 * error * equality.float_compared, "what registers round"
    assert any(int(sent.max()) > 8 for sent in trace.spikes.values()), "events carry numbers"
    # The output is the converted network's, to what its registers leave of it.
    wanted = converted.qann(samples)
    assert (trace.logits - wanted).abs().mean() < error * wanted.abs().mean()


@pytest.mark.parametrize("chip", CHIPS)
def test_with_weights_that_a_chip_holds_nothing_is_lost(chip):
    """Small whole numbers as weights and quarters as scales: float, converted, quantised and program are the same."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    for layer in model:
        if hasattr(layer, "weight"):
            layer.weight.data = torch.randint(-3, 4, layer.weight.shape).float()
            layer.bias.data = torch.randint(-2, 3, layer.bias.shape).float() / 4
    x = torch.randint(0, 5, (8, 2, 8, 8)).float() / 4
    source = prepared(model.eval(), x)
    places = Places(source, activation_codes=True)
    quantisers = {name: Quantiser(name, torch.tensor(0.25), 0, 255) for name in places.all}
    converted = assembled(source, quantisers, 256, None, activation_codes=True)
    program = compiler.compile(converted.events_graph, chip=chip)
    equality = program.verify(x)
    assert (equality.mismatches, equality.membrane_mismatches, equality.float_mismatches) == (0, 0, 0)
    assert equality.spikes > 100
    torch.testing.assert_close(program.simulate(x).logits.float(), converted.qann(x), atol=1e-4, rtol=1e-5)


def test_codes_below_zero_are_refused(samples):
    converted = convert(network(F.gelu), samples, 16, activation_codes=True)
    with pytest.raises(CaptureError, match="has codes from -.* to .*, and events on a chip are numbers from 0 on"):
        _ = converted.events_graph


def test_a_pool_of_largest_values_is_named(samples):
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.MaxPool2d(2))
    model = nn.Sequential(*model, nn.Conv2d(4, 4, 1)).eval()
    converted = convert(model, samples, 16, activation_codes=True)
    with pytest.raises(CompileError, match=r"\(max_pool\) before it, which synapses cannot do"):
        compiler.compile(converted.events_graph, chip="loihi2")
