"""Types of whole networks, and the verdict that is read off them.

Would break it: a verdict that overlooks a real operand, or blames the encoding layer; a type that some value violates.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from support.random_graphs import GRAPHS, QUICK, Random, data_for
from torch import nn

import compiler
import snnkit
from compiler.analysis.spike_driven import spike_driven
from compiler.capturing import capture
from compiler.graph import BINARY, REAL
from compiler.passes import infer_signals, simplify
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF


@QUICK
@given(graph=GRAPHS)
def test_a_spike_driven_graph_multiplies_in_its_encoding_layers_only(graph):
    typed = simplify(graph)
    verdict = spike_driven(typed)
    if not verdict.spike_driven:
        assert verdict.breaks >= 1
        assert verdict.layer in {node.name for node in typed}
        return
    counts = compiler.count(typed, [data_for(typed)])
    multiplying = {layer.name for layer in counts.per_layer if layer.mac}
    single = {n.name for n in typed if n.op == "scale" and n.parameters["weight"].numel() == 1}
    assert multiplying <= set(verdict.encoding_layers) | single


# Types by hand.


def typed(builder, *outputs):
    return infer_signals(builder.finish(outputs))


def test_a_sum_of_spikes_is_0_1_2():
    b = Random((2, 4, 4))
    one, other = b.lif("x"), b.integrate("x")
    two = b.add("add", (one, other))
    three = b.add("add", (two, one))
    graph = typed(b, three)
    assert str(graph.type(two)) == "integer[0,2]"
    assert str(graph.type(three)) == "integer[0,3]"
    assert graph.type(one) == BINARY


def test_a_pool_divides_the_scale():
    b = Random((2, 8, 8))
    pooled = b.pool(b.lif("x"), 2)
    twice = b.pool(pooled, 2)
    summed = b.add("add", (pooled, pooled))
    flat = b.flatten(twice)
    graph = typed(b, flat, summed)
    assert str(graph.type(pooled)) == "integer[0,4]×1/4"
    assert str(graph.type(twice)) == "integer[0,16]×1/16"
    assert str(graph.type(summed)) == "integer[0,8]×1/4"
    assert graph.type(flat) == graph.type(twice)


def test_what_a_real_value_touches_is_real():
    b = Random((2, 4, 4))
    spikes = b.lif("x")
    conv = b.conv(spikes, 2)
    mixed, norm, pooled_real = b.add("add", (spikes, conv)), b.norm(spikes), b.pool(conv)
    overlapping = b.add("add", (b.pool(spikes, 2, 1, 1), b.pool(spikes, 2, 1, 1)))
    graph = typed(b, mixed, overlapping, norm, pooled_real)
    assert {graph.type(name) for name in (conv, mixed, norm, pooled_real, "x")} == {REAL}
    assert graph.type(overlapping).is_event


def test_sums_of_two_scales_have_the_finer_one():
    b = Random((2, 4, 4))
    spikes = b.lif("x")
    mixed = b.add("add", (spikes, b.pool(spikes, 3, 1, 1)))
    assert str(typed(b, mixed).type(mixed)) == "integer[0,18]×1/9"


def test_membranes_are_real_and_spikes_binary():
    b = Random((3,), input_type=BINARY)
    spikes = b.lif(b.linear("x", 3))
    graph = typed(b, spikes)
    assert graph.type(f"{spikes}.v") == graph.type(f"{spikes}.v_next") == REAL
    assert graph.type(spikes) == graph.type("x") == BINARY


# The verdict.


def verdict_of(model, example, **how):
    return spike_driven(simplify(capture(model, example, **how)))


def test_the_small_network_is_spike_driven_but_for_its_first_layer():
    verdict = verdict_of(snnkit.create_model("spiking_cnn_small", img_size=8), torch.zeros(1, 1, 8, 8))
    assert verdict.spike_driven
    assert verdict.encoding_layers == ("stem.conv",)
    assert str(verdict) == "spike-driven but for the encoding layer stem.conv"


def test_with_spikes_as_input_it_is_spike_driven():
    model = snnkit.create_model("spiking_cnn_small", img_size=8)
    verdict = verdict_of(model, torch.zeros(1, 1, 8, 8), input_type="binary")
    assert (verdict.spike_driven, verdict.encoding_layers, str(verdict)) == (True, (), "spike-driven")


class RealResidual(nn.Module):
    """The sum of currents and spikes goes straight into a weight, twice."""

    def __init__(self):
        super().__init__()
        self.first, self.lif = nn.Linear(4, 4), LIF()
        self.inner, self.offender, self.later, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), IF()

    def forward(self, x):
        spikes = self.lif(self.first(x))
        residual = self.inner(spikes) + spikes
        return self.out(self.later(self.offender(residual)))


def test_a_real_residual_breaks_the_claim_and_the_first_break_is_named():
    verdict = verdict_of(RealResidual(), torch.zeros(1, 1, 4))
    assert not verdict.spike_driven
    assert verdict.encoding_layers == ("first",)
    assert "offender (linear)" in verdict.first_break
    assert "'add'" in verdict.first_break
    assert str(verdict).startswith("not spike-driven: offender")


@pytest.mark.parametrize("first", [nn.Flatten(2), nn.Identity()], ids=["flattened", "as it is"])
def test_a_flattened_image_is_still_the_input(first):
    model = nn.Sequential(first, nn.Linear(4, 4), LIF(), nn.Linear(4, 2))
    verdict = verdict_of(model, torch.zeros(1, 1, 2, 2) if isinstance(first, nn.Flatten) else torch.zeros(1, 1, 4))
    assert verdict.spike_driven, str(verdict)
    assert verdict.encoding_layers == ("1",)


def test_sums_of_spikes_and_pooled_spikes_are_events():
    class Events(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.conv, self.head = LIF(), IF(), nn.Conv2d(2, 2, 1), nn.Linear(8, 2)

        def forward(self, x):
            summed = self.a(x) + self.b(x)
            spikes = self.a(over_time(self.conv, summed))
            return over_time(lambda y: self.head(F.avg_pool2d(y, 2).flatten(1)), spikes)

    verdict = verdict_of(Events(), torch.zeros(1, 1, 2, 4, 4))
    assert str(verdict) == "spike-driven"


def test_an_ordinary_network_is_not_spike_driven():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    verdict = verdict_of(model, torch.zeros(1, 4))
    assert not verdict.spike_driven
    assert verdict.first_break.startswith("0 (linear)")
