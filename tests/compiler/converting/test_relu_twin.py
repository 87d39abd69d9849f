"""The ordinary twin is the network with ReLU for neurons, evaluated once.

Would break it: a state left behind, a type that is no longer true, a neuron that stays.
"""

import torch
from hypothesis import given
from support.random_graphs import GRAPHS, QUICK, data_for

import snnkit
from compiler.capturing import capture
from compiler.converting import relu_twin
from compiler.graph import REAL, is_neuron, operation, verify
from compiler.interpreting import interpret
from compiler.passes import infer_signals, simplify


@QUICK
@given(graph=GRAPHS)
def test_the_twin_is_the_network_with_relu(graph):
    simple = simplify(graph)
    twin = verify(relu_twin(simple))
    assert not any(is_neuron(node) for node in twin)
    assert not twin.states
    assert (twin.timesteps, twin.static_input) == (1, False)
    assert dict(twin.signals) == dict(infer_signals(twin).signals)
    # By hand: run the nodes of the spiking graph with torch.relu for every neuron.
    x = data_for(graph)[0]
    values = {"x": x}
    for node in simple:
        if is_neuron(node):
            values[node.output] = torch.relu(values[node.inputs[0]])
        else:
            values[node.output] = operation(node.op).run(node, *(values[name] for name in node.inputs))[0]
    expected = values[simple.outputs[0]].expand(len(x), -1)
    torch.testing.assert_close(interpret(twin, x)[0][0], expected, rtol=1e-12, atol=1e-12)


def test_the_twin_of_the_small_network_by_torch():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4).double().eval()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    down = torch.relu(model.down.bn(model.down.conv(torch.relu(model.stem.bn(model.stem.conv(x))))))
    depthwise = torch.relu(model.depthwise.bn(model.depthwise.conv(down)))
    mixed = torch.relu(model.mix.bn(model.mix.conv(depthwise)) + down)
    expected = model.head(model.pool(mixed).flatten(1)).detach()
    twin = relu_twin(simplify(capture(model, x[:1])))
    torch.testing.assert_close(interpret(twin, x)[0][0], expected, rtol=0, atol=1e-12)
    assert {twin.type(name) for name in twin.signals} == {REAL}
