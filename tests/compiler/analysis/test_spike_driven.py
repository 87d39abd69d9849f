"""Verdicts name the first edge that breaks the claim, in attention too.

Would break it: products of signals that nobody looks at, a softmax that passes because its logits are whole numbers, a
norm that folding left, a layer behind the first that reads pixels unnoticed.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compiler
from compiler.analysis.spike_driven import spike_driven
from compiler.graph import BINARY, REAL, GraphBuilder
from compiler.passes import simplify
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF

from .networks import network


def verdict(model, x, input_type="real"):
    return spike_driven(simplify(compiler.capture(model.eval(), x, input_type)))


TOKENS = torch.zeros(2, 1, 6, 8)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("spike_driven_transformer", "stem.convs.0.conv"),
        ("spikformer", "stem.convs.0.conv"),
        ("qkformer", "stem.conv"),
        ("spikformer_v2", "downs.0.conv"),
        ("e_spikeformer", "stem.conv"),
        ("sew_resnet", "stem.conv"),
        ("spiking_cnn", "stem.conv"),
        ("spiking_vgg", "stem.conv"),
    ],
)
def test_networks_that_keep_the_claim(name, layer):
    graph, _ = network(name)
    found = spike_driven(graph)
    assert found.spike_driven
    assert found.encoding_layers == (layer,)
    assert str(found) == f"spike-driven but for the encoding layer {layer}"
    assert (found.first_break, found.layer, found.breaks) == (None, "", 0)


def test_a_shortcut_of_membranes_is_named():
    graph, _ = network("ms_resnet")
    found = spike_driven(graph)
    assert not found.spike_driven
    assert found.layer == "stages.0.0.shortcut.conv"
    assert found.first_break.startswith("stages.0.0.shortcut.conv (conv) multiplies its weights with the real signal")


class Attention(nn.Module):
    """Single-head attention on tokens; neurons stand where ``spikes`` says."""

    def __init__(self, spikes="qkv", softmax=False):
        super().__init__()
        self.qkv, self.first = nn.Linear(8, 24), IF(0.5)
        self.neurons = nn.ModuleDict({name: IF(0.1) for name in spikes})
        self.send, self.out, self.softmax = IF(0.1), nn.Linear(8, 8), softmax

    def forward(self, x):
        signals = over_time(self.qkv, self.first(x)).chunk(3, -1)
        q, k, v = (self.neurons[n](s) if n in self.neurons else s for n, s in zip("qkv", signals, strict=True))
        scores = q @ k.transpose(-1, -2)
        return over_time(self.out, self.send((scores.softmax(-1) if self.softmax else scores) @ v))


def test_attention_of_spikes():
    found = verdict(Attention(), TOKENS)
    assert str(found) == "spike-driven"


@pytest.mark.parametrize(("spikes", "breaks"), [("v", 1), ("", 2)])
def test_attention_of_membranes(spikes, breaks):
    """The first product is named; the second is one too unless v is spikes."""
    found = verdict(Attention(spikes), TOKENS)
    assert not found.spike_driven
    assert "matmul" in found.layer
    assert found.breaks == breaks
    assert f"{found.layer} (matmul) multiplies the real signal" in found.first_break
    assert found.first_break.count("real signal") == 2


@pytest.mark.parametrize("spikes", ["qk", "qv", "kv"])
def test_one_operand_of_events_is_enough(spikes):
    """A spike selects rows of the other operand; the reals that come of it meet spikes again."""
    assert verdict(Attention(spikes), TOKENS).spike_driven


@pytest.mark.parametrize("spikes", ["qkv", "v", ""])
def test_softmax_breaks_the_claim_whatever_it_reads(spikes):
    found = verdict(Attention(spikes, softmax=True), TOKENS)
    assert not found.spike_driven
    assert (
        "(matmul) multiplies" if "q" not in spikes else "(softmax) normalises the integer[0,8]"
    ) in found.first_break


def fused(kinds):
    builder = GraphBuilder()
    q, k, v = (builder.input(name, (6, 8), kind) for name, kind in zip("qkv", kinds, strict=True))
    return builder.finish([builder.add("attention", [q, k, v], {"scale": 1.0, "causal": False}, name="a")])


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ((REAL, REAL, BINARY), "a (attention) multiplies the real signal 'q' with the real signal 'k'"),
        (
            (BINARY, BINARY, BINARY),
            "a (attention) normalises the product of the binary signal 'q' with the binary signal 'k'",
        ),
        (
            (BINARY, REAL, REAL),
            "a (attention) normalises the product of the binary signal 'q' with the real signal 'k'",
        ),
    ],
)
def test_attention_as_one_node(kinds, words):
    assert spike_driven(fused(kinds)).first_break == words


class Normed(nn.Module):
    """A batch norm behind a sum of two membranes, where no layer can take it in."""

    def __init__(self, gate=False):
        super().__init__()
        self.first, self.a, self.b = IF(0.5), nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.bn, self.second, self.gate = nn.BatchNorm2d(4), IF(0.5), gate

    def forward(self, x):
        x = self.first(x)
        a, b = over_time(self.a, x), over_time(self.b, x)
        return self.second(over_time(self.bn, F.relu(a) + b))


def test_a_batch_norm_that_could_not_fold():
    torch.manual_seed(0)
    model = Normed()
    nn.init.uniform_(model.bn.weight, 0.5, 1.5)
    found = verdict(model, torch.zeros(2, 1, 3, 5, 5))
    assert not found.spike_driven
    assert found.layer == "bn"
    assert found.first_break.startswith("bn (batch_norm) multiplies its weights with the real signal")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: F.layer_norm(x, (8,)), "(layer_norm) normalises the real signal"),
        (lambda x: x * x, "(mul) multiplies the real signal"),
        (lambda x: x**2, "(pow) multiplies the real signal"),
        (lambda x: x / (1 + x.abs()), "(div) divides the real signal"),
        (lambda x: x - x.var(-1, keepdim=True), "(var) multiplies the real signal"),
        (lambda x: F.relu(x) * torch.linspace(0.1, 0.9, 8), "(scale) multiplies its weights with the real signal"),
    ],
)
def test_products_of_reals_are_named(function, words):
    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.layer, self.second = IF(0.5), nn.Linear(8, 8), IF(0.5)

        def forward(self, x):
            return self.second(function(over_time(self.layer, self.first(x))))

    found = verdict(Between(), TOKENS)
    assert not found.spike_driven
    assert words in found.first_break


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / 3,
        lambda x: x * 0.1 + 4,
        lambda x: F.relu(x),
        lambda x: x.mean(-1, keepdim=True) + x,
        lambda x: x.clamp(0, 1),
        lambda x: x * (x > 0.5),
    ],
)
def test_what_multiplies_no_two_reals(function):
    """Numbers go into weights or thresholds; a gate of spikes selects."""

    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.layer, self.second = IF(0.5), nn.Linear(8, 8), IF(0.5)

        def forward(self, x):
            return self.second(function(over_time(self.layer, self.first(x))))

    assert verdict(Between(), TOKENS).spike_driven


@pytest.mark.parametrize(
    "function",
    [lambda x: x, lambda x: x - 0.5, lambda x: F.avg_pool2d(x, 2), lambda x: x.flip(-1), F.relu],
    ids=range(5),
)
def test_a_layer_that_reads_the_input_encodes_it(function):
    """Shifted, pooled and turned pixels are pixels; what an activation makes of them is not."""

    class Encoding(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.neuron, self.next = nn.Conv2d(3, 4, 1), LIF(), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return over_time(self.next, self.neuron(over_time(lambda y: self.conv(function(y)), x)))

    found = verdict(Encoding(), torch.zeros(2, 1, 3, 4, 4))
    if function is F.relu:
        assert found.layer == "conv"
    else:
        assert found.encoding_layers == ("conv",)
        assert found.spike_driven


def test_events_need_no_encoding():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.neuron = nn.Conv2d(3, 4, 1), LIF()

        def forward(self, x):
            return self.neuron(over_time(self.conv, x))

    assert str(verdict(Layer(), torch.zeros(2, 1, 3, 4, 4), "binary")) == "spike-driven"


def test_a_network_without_neurons_is_not_spike_driven():
    found = verdict(nn.Linear(4, 2), torch.zeros(1, 4))
    assert not found.spike_driven
    assert found.encoding_layers == ()
    assert found.first_break == f"{found.layer} (linear) multiplies its weights with the real signal 'input'"
