"""What a layer needs, against the matrix of its synapses: every count is that of the unrolled layer.

Would break it: borders counted as if they were inside, a stride or dilation on the wrong side, groups forgotten,
weights of 0 taken for synapses, a pool in between that multiplies nothing, a shortcut left out.
"""

import pytest
import torch
from support.nets import InARow, Residual, SpikesIn
from torch import nn

import compiler
from compiler.checking.needs import OUTPUT, layers_of
from compiler.graph import is_neuron
from compiler.interpreting import interpret
from compiler.passes import simplify
from snnkit.neurons import IF


def unrolled(graph, layer):
    """The matrix of a layer, from the neurons (or input) before it: entries are what one spike adds, biases apart."""
    (source,) = layer.sources
    shape, nodes = graph.shape(source), layer.nodes
    part = compiler.graph.GraphBuilder("part")
    signals = {source: part.input("x", shape)}
    for node in nodes:
        plain = {k: v.abs() for k, v in node.parameters.items() if k != "bias"}
        inputs = tuple(signals[name] for name in node.inputs)
        signals[node.output] = part.add(node.op, inputs, node.attributes, plain, name=node.name)
    made = part.finish([signals[layer.signal]])
    size = int(torch.tensor(shape).prod())
    out, _ = interpret(made, torch.eye(size).double().reshape(size, *shape))
    return (out[0].reshape(size, -1).T != 0).long()


def conv(*args, **kwargs):
    return nn.Conv2d(*args, **kwargs)


FIRST = {
    "plain": (lambda: conv(2, 6, 3), (2, 7, 7)),
    "padded": (lambda: conv(2, 6, 3, padding=1), (2, 7, 5)),
    "wide padding": (lambda: conv(2, 4, 5, padding=4), (2, 6, 6)),
    "stride": (lambda: conv(2, 6, 3, stride=2, padding=1), (2, 9, 8)),
    "stride beyond the kernel": (lambda: conv(2, 6, 2, stride=3), (2, 9, 9)),
    "dilation": (lambda: conv(2, 6, 3, dilation=2, padding=2), (2, 8, 8)),
    "groups": (lambda: conv(4, 8, 3, groups=2, padding=1), (4, 6, 6)),
    "depthwise": (lambda: conv(4, 4, 3, groups=4, padding=1), (4, 6, 6)),
    "kernel over the map": (lambda: conv(3, 4, 4), (3, 4, 4)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1), (3, 5, 5)),
    "one dimension": (lambda: nn.Conv1d(3, 5, 4, stride=2, padding=1), (3, 11)),
    "linear": (lambda: nn.Linear(12, 7), (12,)),
    "linear on tokens": (lambda: nn.Linear(6, 5), (4, 6)),
}


@pytest.mark.parametrize("case", FIRST)
@pytest.mark.parametrize("zeros", [False, True])
def test_counts_are_those_of_the_unrolled_layer(case, zeros):
    make, shape = FIRST[case]
    torch.manual_seed(0)
    first = make()
    if zeros and first.weight.ndim == 2:
        first.weight.data[:, ::3] = 0
    elif zeros:
        first.weight.data[:, :, 0] = 0  # a row of every kernel: fan-in and fan-out are then bounds
    graph = simplify(compiler.capture(InARow(first, IF()), torch.zeros(2, 1, *shape), "binary")).double()
    (layer,) = layers_of(graph)
    matrix = unrolled(graph, layer)
    assert layer.size == matrix.shape[0]
    assert layer.synapses == int(matrix.sum())
    exact = not zeros or first.weight.ndim == 2
    assert layer.fan_in == int(matrix.sum(1).max()) if exact else layer.fan_in >= int(matrix.sum(1).max())


@pytest.mark.parametrize("case", [one for one in FIRST if one != "transposed"])
def test_fan_out_is_what_leaves_one_neuron(case):
    make, shape = FIRST[case]
    torch.manual_seed(0)
    channels = shape[0]
    before = {1: nn.Linear, 2: lambda n, m: nn.Conv1d(n, m, 1), 3: lambda n, m: nn.Conv2d(n, m, 1)}[len(shape)]
    first = nn.Linear(shape[-1], shape[-1]) if case.startswith("linear") else before(channels, channels)
    model = InARow(first, IF(), make(), IF())
    graph = simplify(compiler.capture(model, torch.zeros(2, 1, *shape), "binary")).double()
    source, layer = layers_of(graph)
    assert source.readers == (layer.name,)
    assert source.fan_out == int(unrolled(graph, layer).sum(0).max())


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_of_0_are_no_fan(groups):
    """One weight of each kernel row is left, in places of their own: counts are those of the unrolled layers."""
    torch.manual_seed(0)
    layer = conv(8, 8, 3, padding=1, groups=groups)
    keep = torch.rand(layer.weight.shape) < 0.15
    layer.weight.data[~keep] = 0
    layer.weight.data[:, 0, 1, 1] = 1.0
    model = InARow(conv(8, 8, 1), IF(), layer, IF())
    graph = simplify(compiler.capture(model, torch.zeros(2, 1, 8, 6, 6), "binary")).double()
    source, read = layers_of(graph)
    matrix = unrolled(graph, read)
    assert read.fan_in == int(matrix.sum(1).max()) < 72 // groups / 2
    assert source.fan_out == int(matrix.sum(0).max()) < 72 // groups / 2
    assert read.synapses == int(matrix.sum())


def test_a_pool_between_brings_its_window():
    """2×2 pooled, then 3×3: one neuron reads 4 times 9 neurons of each channel, and of one value 9 are reached."""
    model = InARow(conv(1, 3, 3, padding=1), IF(), nn.AvgPool2d(2), conv(3, 5, 3, padding=1), IF())
    graph = simplify(compiler.capture(model, torch.zeros(2, 1, 1, 12, 12), "binary"))
    source, layer = layers_of(graph)
    assert layer.fan_in == 3 * 9 * 4
    assert source.fan_out == 5 * 9


def test_shortcuts_add_up():
    """stem + first + second: a depthwise 3×3 reads 9, the 1×1 behind it 6, with the shortcut 7; stem feeds both."""
    graph = simplify(compiler.capture(Residual(), torch.zeros(1, 1, 12, 12)))
    layers = {layer.name: layer for layer in layers_of(graph)}
    assert list(layers) == ["stem_lif", "first_lif", "second_lif", "third_lif", OUTPUT]
    assert layers["first_lif"].fan_in == 9
    assert layers["second_lif"].fan_in == 6 + 1
    assert layers["stem_lif"].fan_out == 9 + 1
    assert set(layers["stem_lif"].readers) == {"first_lif", "second_lif"}
    assert layers[OUTPUT].neuron is None
    assert layers[OUTPUT].fan_in == 12 * 9  # the average of 3×3 of twelve channels


def test_inputs_and_readers_are_named():
    graph = simplify(compiler.capture(SpikesIn(), torch.zeros(3, 1, 20), "binary"))
    layers = layers_of(graph)
    assert layers[0].sources == (graph.inputs[0],)
    assert set(layers[2].sources) == {graph.inputs[0], layers[1].neuron.output}
    assert sum(is_neuron(node) for node in graph) == 3 == len(layers) - 1
    assert [layer.fan_in for layer in layers] == [20, 16, 21, 16]  # no more than there are sources
