"""Constants sink into biases: through sums, moves, averages and layers, and RepConv's border dissolves.

Would break it: a sign lost in a difference, a border that counts as a bias, a map stored where a number was.
"""

import pytest
import torch
from support.random_graphs import Random, assert_same_meaning, data_for, ops
from torch import nn

from compiler.capturing import capture
from compiler.graph import BINARY
from compiler.interpreting import interpret
from compiler.passes import merge_layers, push_constants, simplify
from snnkit.layers.rep_conv import RepConv
from snnkit.neurons import LIF


def check(graph, wanted, tolerance=1e-12):
    pushed = push_constants(graph)
    assert sorted(ops(pushed)) == sorted(wanted)
    assert_same_meaning(graph, pushed, data_for(graph), tolerance)
    return pushed


@pytest.mark.parametrize("bias", [False, True])
def test_behind_a_layer_it_joins_the_bias(bias):
    b = Random((2, 4, 4))
    check(b.finish([b.plus(b.conv("x", 3, bias=bias), (3, 1, 1))]), ["conv"])
    b = Random((5, 4))
    x = b.reshape(b.permute(b.linear("x", 6, bias), -1, -2), (2, 3, 5))
    check(b.finish([b.plus(x, (2, 3, 1))]), ["linear", "permute", "reshape"])
    b = Random((3,))
    stored = b.constant(b.normal(4))
    check(b.finish([b.add("sub", (b.linear("x", 4, bias), stored))]), ["linear"])


def test_a_map_does_not():
    b = Random((2, 4, 4))
    graph = b.finish([b.plus(b.conv("x", 3), (3, 4, 4))])
    assert push_constants(graph) is graph
    b = Random((2, 4, 4))
    graph = b.finish([b.plus(b.pad(b.conv("x", 3), 1, 1), (3, 1, 1))])  # nor where a border has none of the bias
    assert push_constants(graph) is graph


def test_before_a_layer():
    b = Random((5, 4))
    check(b.finish([b.linear(b.plus("x", (4,)), 3)]), ["linear"])
    b = Random((2, 4, 4))
    check(b.finish([b.conv(b.plus("x", (2, 1, 1)), 3, padding=0)]), ["conv"])


def test_three_numbers_do_not_become_a_map_for_nothing():
    b = Random((2, 4, 4))
    graph = b.finish([b.conv(b.plus("x", (2, 1, 1)), 3)])
    assert push_constants(graph) is graph


def test_but_for_a_layer_that_reads_events_then():
    b = Random((2, 4, 4), input_type=BINARY)
    pushed = check(b.finish([b.conv(b.plus("x", (2, 1, 1)), 3)]), ["conv", "constant", "add"])
    assert pushed.nodes[0].inputs == ("x",) or pushed.nodes[1].inputs == ("x",)


def test_through_moves_averages_and_norms():
    b = Random((2, 4, 4))
    x = b.pool(b.norm(b.roll(b.plus("x", (2, 4, 4)), 1, -1)), 2, padding=1)
    x = b.scale(b.mean(b.pad(x, 1, 0), -1), (2, 1, 1))
    wanted = ["roll", "batch_norm", "avg_pool", "pad", "mean", "scale", "constant", "add"]
    check(b.finish([b.add("relu", (x,))]), [*wanted, "relu"])


def test_sums_keep_one_for_the_end():
    b = Random((3,))
    y = b.plus(b.add("neg", (b.plus("x", (3,)),)), ())
    x = b.add("sub", (b.constant(b.normal(3)), b.add("add", (b.plus(b.lif("x"), (3,)), y))))
    pushed = check(
        b.finish([b.add("sub", (x, b.plus("x", (3,))))]), ["lif", "neg", "neg", "add", "sub", "add", "constant"]
    )
    assert pushed.nodes[-1].op == "add"
    assert pushed.producer(pushed.nodes[-1].inputs[1]).op == "constant"


def test_constants_that_cancel_or_broadcast():
    b = Random((1, 3))
    graph = b.finish([b.plus(b.plus("x", (4, 3)), (4, 1))])  # x itself grows
    assert_same_meaning(graph, push_constants(graph), data_for(graph))
    b = Random((3,))
    graph = b.finish([b.add("relu", (b.add("add", ("x", b.constant(torch.zeros(3)))),))])
    assert ops(simplify(graph)) == ["relu"]


def test_a_bias_goes_through_the_next_layer():
    b = Random((2, 4, 4))
    pushed = check(b.finish([b.conv(b.conv("x", 3, bias=True), 3, 1, padding=0)]), ["conv", "conv"])
    assert ["bias" in node.parameters for node in pushed] == [False, True]
    b = Random((2, 4, 4))
    graph = b.finish([b.conv(b.conv("x", 3, bias=True), 3)])  # whose padding does not see it
    assert push_constants(graph) is graph


def test_a_bias_is_not_pushed_where_others_read_it():
    b = Random((4,))
    x = b.linear("x", 4, bias=True)
    graph = b.finish([b.add("add", (b.linear(x, 4), x))])
    assert push_constants(graph) is graph


def rep_conv(dtype=torch.float64, channels=12, out=5):
    """RepConv behind spikes, with statistics that matter."""
    torch.manual_seed(0)
    model = nn.Sequential(LIF(), RepConv(channels, out), LIF()).to(dtype)
    for norm in (part for part in model.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.05, 0.4)
    return capture(model.eval(), torch.zeros(4, 1, channels, 7, 6, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_border_of_rep_conv_dissolves(dtype):
    graph = rep_conv(dtype)
    assert ops(graph).count("constant") == 1
    simple = simplify(graph)
    assert ops(simple) == ["lif", "conv", "conv", "conv", "lif"]
    assert ["bias" in node.parameters for node in simple if node.op == "conv"] == [False, False, True]
    merged = merge_layers(simple)
    assert ops(merged) == ["lif", "conv", "lif"]
    assert merged.nodes[1].attributes["padding"] == (1, 1)
    assert merged.nodes[1].name == "1.conv_in"
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(4, 2, 12, 7, 6, generator=generator, dtype=dtype)
    current = graph.nodes[-1].inputs[0]
    _, expected = interpret(graph, x, probes=[current])
    for passed in (simple, merged):
        made = passed.nodes[-1].inputs[0]
        _, found = interpret(passed, x, probes=[made])
        error = (found[made] - expected[current]).abs().max() / expected[current].abs().max()
        assert error < (1e-14 if dtype == torch.float64 else 1e-6)
        if dtype == torch.float64:
            spikes = interpret(passed, x)[0]
            assert torch.equal(spikes, interpret(graph, x)[0])
            assert 0.01 < spikes.mean() < 0.99


def test_another_border_does_not():
    """Padding with anything but what the norm makes of zeros leaves a map behind."""
    graph = rep_conv()
    nodes = []
    for node in graph:
        if node.op == "constant":
            value = node.parameters["value"] * 1.5
            node = type(node)(node.name, node.op, (), node.outputs, {}, {"value": value}, node.scope)
        nodes.append(node)
    other = graph.with_nodes(tuple(nodes), graph.signals)
    simple = simplify(other)
    assert ops(simple).count("constant") == 1
    x = 2 * torch.randn(4, 2, 12, 7, 6, dtype=torch.float64)
    assert_same_meaning(other, simple, x)
