"""Every pass: the meaning stays, a second time changes nothing, names of layers stay, it is done in time.

Would break it: a constant pushed past what is not linear, a factor folded along the wrong axis or into what others
read, padding that a shift does not reach, an output or state that follows nothing, rules that undo one another.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from support.clock import timed
from support.random_graphs import GRAPHS, QUICK, Random, assert_same_meaning, data_for, ops

import snnkit
from compiler.capturing import capture
from compiler.graph import is_synapse
from compiler.interpreting import interpret
from compiler.passes import PIPELINE, infer_signals, merge_layers, merge_linear, simplify, split_attention
from snnkit.models import families

PASSES = (*PIPELINE, merge_layers, merge_linear, split_attention, simplify)


def name_of(one_pass):
    return one_pass.__name__


@pytest.mark.parametrize("apply", PASSES, ids=name_of)
@QUICK
@given(graph=GRAPHS)
def test_the_meaning_stays(apply, graph):
    x = data_for(graph)
    before = [(node, dict(node.parameters)) for node in graph]
    expected = interpret(graph, x)[0]
    assert_same_meaning(graph, apply(graph), x)
    # The graph that went in is as it was.
    assert [(node, dict(node.parameters)) for node in graph] == before
    assert torch.equal(interpret(graph, x)[0], expected)


@pytest.mark.parametrize("apply", PASSES, ids=name_of)
@QUICK
@given(graph=GRAPHS)
def test_a_second_time_changes_nothing(apply, graph):
    once = apply(graph)
    twice = apply(once)
    assert twice.nodes is once.nodes
    assert dict(twice.signals) == dict(once.signals)


@QUICK
@given(graph=GRAPHS)
def test_what_is_merged_behind_the_pipeline_means_the_same(graph):
    x, simple = data_for(graph), simplify(graph)
    assert_same_meaning(graph, merge_linear(simple), x)
    assert_same_meaning(graph, simplify(merge_layers(simple)), x)


@QUICK
@given(graph=GRAPHS)
def test_results_are_typed_and_true_of_the_data(graph):
    for passed in (simplify(graph), merge_linear(simplify(graph))):
        assert dict(passed.signals) == dict(infer_signals(passed).signals)
        _, records = interpret(passed, data_for(graph), probes=list(passed.signals))
        for name, values in records.items():
            kind = passed.type(name)
            if kind.is_event:
                levels = values / float(kind.scale)
                assert (levels - levels.round()).abs().max() < 1e-9, f"{name} is no multiple of its scale ({kind})"
                assert kind.low <= levels.round().min(), f"{name} falls below {kind}"
                assert levels.round().max() <= kind.high, f"{name} exceeds {kind}"


@QUICK
@given(graph=GRAPHS)
def test_the_pipeline_never_adds_layers_or_renames_them(graph):
    layers = {node.name for node in graph if is_synapse(node) and node.op not in ("scale", "batch_norm")}
    after = {node.name for node in simplify(graph) if is_synapse(node)}
    assert layers <= after | {node.name for node in graph if node.name not in {n.name for n in simplify(graph)}}
    kept = {node.name for node in simplify(graph) if is_synapse(node) and node.op not in ("scale", "batch_norm")}
    assert kept <= layers


SMALL = ("spiking_cnn", "meta_spikeformer", "ms_resnet", "sew_resnet", "spikformer", "e_spikeformer", "swin_v2")


@pytest.fixture(scope="module", params=[f for f in families() if f.name in SMALL], ids=lambda f: f.name)
def captured(request):
    """A network, small, in float64, whose parameters all matter and whose neurons fire; its graph, and inputs."""
    family = request.param
    torch.manual_seed(0)
    model = snnkit.create_model(**family.tiny).double()
    generator = torch.Generator().manual_seed(1)
    for part in model.modules():
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                n = part.num_features
                part.running_mean.copy_(0.2 * torch.randn(n, generator=generator))
                part.running_var.copy_(0.05 + 0.2 * torch.rand(n, generator=generator))
                part.weight.copy_(0.5 + torch.rand(n, generator=generator))
                part.bias.copy_(0.5 + 0.7 * torch.rand(n, generator=generator))
    shape = (family.tiny["in_chans"], family.tiny["img_size"], family.tiny["img_size"])
    lead = (4, 2) if family.kind == "snn" else (2,)
    x = 0.4 + 1.2 * torch.randn(*lead, *shape, generator=generator, dtype=torch.float64)
    return capture(model.eval(), x[:, :1] if family.kind == "snn" else x[:1]), x


@pytest.mark.parametrize("apply", PASSES, ids=name_of)
def test_the_meaning_of_networks_stays(captured, apply):
    graph, x = captured
    passed = apply(graph)
    assert_same_meaning(graph, passed, x)
    assert apply(passed).nodes is passed.nodes
    # Neurons fire alike, one by one.
    neurons = [node.output for node in graph if node.op == "lif"]
    _, before = interpret(graph, x, probes=neurons)
    _, after = interpret(passed, x, probes=neurons)
    for name in neurons:
        assert torch.equal(before[name], after[name]), name
    assert not neurons or 0 < sum(float(b.mean()) for b in before.values()) < len(neurons)


def test_networks_lose_their_norms_and_keep_their_layers(captured):
    graph, _ = captured
    simple = simplify(graph)
    assert len(simple) < len(graph)
    assert "batch_norm" not in ops(simple)
    weights = ("conv", "linear")
    assert [n.name for n in simple if n.op in weights] == [n.name for n in graph if n.op in weights]


def test_outputs_and_states_follow_what_takes_a_place():
    builder = Random((2, 4, 4))
    first = builder.norm(builder.conv("x", 2, name="first"))
    state = builder.state("memory", (2, 4, 4), 0.5)
    total = builder.add("add", (first, state))
    written = builder.norm(builder.conv(total, 2, 1, padding=0, name="second"))
    builder.carry(state, written)
    graph = builder.finish([builder.reshape(builder.reshape(total, (8, 4)), (2, 4, 4)), first])
    simple = simplify(graph)
    assert_same_meaning(graph, simple, data_for(graph))
    assert [s.written for s in simple.states] == ["second"]
    assert simple.outputs == (total, "first")


@pytest.mark.parametrize("layers", [150, 600])
def test_large_graphs_are_simplified_in_time(layers):
    """Three nodes a layer: 1,800 for the larger; time must not grow with the square."""

    def fresh():
        builder = Random((2, 4, 4))
        x = "x"
        for _ in range(layers):
            x = builder.norm(builder.conv(x, 2))
            if layers < 300:
                x = builder.permute(builder.permute(x, -3, -1, -2), -3, -1, -2)
            else:
                x = builder.add("relu", (x,))
        return builder.finish([x])

    taken, simple = timed(simplify, fresh, enough=6)
    assert "batch_norm" not in ops(simple)
    assert taken < 6, f"{taken:.1f} s for {len(fresh())} nodes"
