"""Capture: the graph is the model, bit by bit, whatever way its code is written.

Would break it: a lost constant of a neuron, a stride or group dropped on the way, two uses of one module confused, a
model that is left in another mode, names that collide. A stream runs the model on the batches that the graph is run on;
plain code is in ``test_code``.
"""

import copy

import pytest
import torch
from support.captured import Around, Code, OverTime, assert_runs_as, check_plain, noise, operations_of, randomise
from torch import nn

import compiler
import snnkit
from compiler.capturing import capture, graph_of
from compiler.errors import CaptureError
from compiler.graph import BINARY, REAL, SignalType
from compiler.interpreting import interpret
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF

SPIKING = {
    "conv": lambda: nn.Sequential(OverTime(nn.Conv2d(4, 6, 3, padding=1)), LIF(tau=1.7)),
    "strided": lambda: nn.Sequential(OverTime(nn.Conv2d(4, 6, (3, 2), (2, 3), (1, 0), bias=False)), IF()),
    "grouped": lambda: nn.Sequential(OverTime(nn.Conv2d(4, 8, 3, padding=1, groups=2)), IF(v_reset=None)),
    "depthwise": lambda: nn.Sequential(OverTime(nn.Conv2d(4, 4, 3, groups=4, bias=False)), LIF(v_reset=-0.3)),
    "dilated": lambda: nn.Sequential(OverTime(nn.Conv2d(4, 6, 3, padding=2, dilation=2)), LIF(decay_input=False)),
    "batch norm 2d": lambda: nn.Sequential(OverTime(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)), LIF(3.0, 0.6, None)),
    "batch norm alone": lambda: nn.Sequential(OverTime(nn.BatchNorm2d(4, affine=False, eps=1e-2)), IF(0.4)),
    "linear": lambda: nn.Sequential(OverTime(nn.Flatten(), nn.Linear(256, 7), nn.BatchNorm1d(7)), LIF(v_threshold=0.3)),
    "pool": lambda: nn.Sequential(IF(), OverTime(nn.AvgPool2d(2)), LIF(v_threshold=0.2)),
    "padded pool": lambda: nn.Sequential(IF(), OverTime(nn.AvgPool2d(3, 2, 1), nn.Conv2d(4, 2, 1)), IF(0.3)),
    "max pool": lambda: nn.Sequential(
        OverTime(nn.MaxPool2d(2)), IF(2.5), OverTime(nn.MaxPool2d(2)), LIF(v_threshold=0.6)
    ),
    "residual": lambda: nn.Sequential(
        LIF(),
        Around(nn.Sequential(OverTime(nn.Conv2d(4, 4, 3, padding=1)), LIF())),
        OverTime(nn.Conv2d(4, 2, 3)),
        IF(),
    ),
    "dropout": lambda: nn.Sequential(OverTime(nn.Conv2d(4, 6, 3), nn.Dropout(0.5)), LIF(), nn.Identity()),
    "head": lambda: nn.Sequential(LIF(), OverTime(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 3))),
}


@pytest.mark.parametrize("name", SPIKING)
def test_a_spiking_network_equals_its_graph(name):
    model = randomise(SPIKING[name]())
    graph = capture(model, noise(1, 1, 4, 8, 8))
    x = noise(5, 3, 4, 8, 8)
    assert_runs_as(model, graph, x)
    for node in graph:
        if node.op in snnkit.neurons.OPERATORS:
            rate = interpret(graph, x, probes=[node.output])[1][node.output].mean()
            assert 0.02 < rate < 0.98, f"{node.name} fires at {rate:.3f}: nothing is shown"


def test_a_listed_model_equals_its_graph():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=16, width=4, timesteps=6, num_classes=3).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.3, 2.0)
    graph = capture(model, torch.rand(1, 1, 16, 16, dtype=torch.float64))
    assert graph.timesteps == 6
    assert graph.static_input
    assert_runs_as(model, graph, torch.rand(6, 2, 1, 16, 16, dtype=torch.float64))
    images = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    logits, _ = interpret(graph, images)
    assert logits.shape == (6, 2, 3)
    torch.testing.assert_close(logits.mean(0), model(images).detach(), rtol=0, atol=1e-12)
    by_sequence = capture(model, torch.rand(3, 1, 1, 16, 16, dtype=torch.float64))
    assert [node.name for node in by_sequence] == [node.name for node in graph]
    assert by_sequence.timesteps == 3
    assert not by_sequence.static_input  # the steps of a sequence may differ


class Block(nn.Module):
    """An ordinary residual block, written the way published ones are."""

    def __init__(self, inplace=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.relu, self.inplace = nn.ReLU(inplace=inplace), inplace

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.inplace:
            y += x
        else:
            y = y + x
        return self.relu(y)


ORDINARY = {
    "residual": lambda: nn.Sequential(Block(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(64, 5)),
    "functional": lambda: nn.Sequential(
        nn.Flatten(1), nn.Linear(256, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 2)
    ),
    "in place": lambda: nn.Sequential(Block(inplace=True), nn.Flatten(), nn.Linear(256, 5)),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_network_equals_its_graph(name):
    model, x = randomise(ORDINARY[name]()), noise(3, 4, 8, 8)
    graph = capture(model, x[:1])
    assert graph.timesteps == 1
    assert not graph.states
    assert not graph.static_input
    assert torch.equal(interpret(graph, x)[0][0], model(x).detach())


LAYERS = {
    "max pool": (nn.MaxPool2d(2), ["max_pool"]),
    "gelu": (nn.GELU(), ["gelu"]),
    "relu6": (nn.ReLU6(), ["clamp"]),
    "same padding": (nn.Conv2d(4, 4, 3, padding="same"), ["conv"]),
    "circular padding": (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), ["pad", "conv"]),
    "ceil mode": (nn.AvgPool2d(3, 2, ceil_mode=True), ["avg_pool"]),
    "padding that is not counted": (nn.AvgPool2d(3, 1, 1, count_include_pad=False), ["avg_pool"]),
    "divisor": (nn.AvgPool2d(2, divisor_override=3), ["avg_pool"]),
    "layer norm": (nn.LayerNorm([4, 8, 8]), ["layer_norm"]),
    "unflatten": (nn.Unflatten(1, (2, 2)), ["reshape"]),
    "pixel shuffle": (nn.PixelShuffle(2), None),
    "identity": (nn.Identity(), []),
    "dropout": (nn.Dropout2d(0.9), []),
    "dropout in place": (nn.Sequential(nn.Flatten(), nn.Dropout(0.9, inplace=True)), ["reshape"]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_equals_its_graph(name):
    """What a graph once had no place for, and what is nothing at all in eval mode."""
    layer, wanted = LAYERS[name]
    graph = check_plain(layer, (4, 8, 8))
    assert wanted is None or operations_of(graph) == wanted


@pytest.mark.parametrize("cls", [IF, LIF])
@pytest.mark.parametrize("settings", [{}, {"v_reset": None}, {"v_reset": -0.25, "v_threshold": 0.75}], ids=str)
def test_every_constant_of_a_neuron_is_in_the_graph(cls, settings):
    neuron = cls(**settings)
    graph = capture(neuron, torch.zeros(1, 1, 5))
    (node,) = graph.nodes
    assert node.op == neuron.operator.name
    for key in neuron.operator.parameter_names:
        assert node.attributes[key] == getattr(neuron.constants(), key), key
    (state,) = graph.states
    assert state.initial == (settings.get("v_reset", 0.0) or 0.0)
    assert (state.read, state.written) == (node.inputs[1], node.outputs[1])
    assert graph.type(node.output) == BINARY
    assert graph.shape(state.read) == graph.shape(node.output) == (5,)


def test_a_neuron_rests_at_its_reset():
    """The first step starts from v_reset, not from 0."""
    neuron, x = IF(v_reset=-2.0, v_threshold=0.5), torch.full((4, 1, 1), 1.5)
    assert neuron(x).flatten().tolist() == [0, 1, 0, 1]
    assert interpret(capture(neuron, x), x)[0].flatten().tolist() == [0, 1, 0, 1]


class Shared(nn.Module):
    """One convolution and one neuron module, each used twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.lif = nn.Conv2d(4, 4, 3, padding=1), LIF()

    def forward(self, x):
        once = self.lif(over_time(self.conv, x))
        return self.lif(over_time(self.conv, once))


def test_a_module_used_twice_is_two_nodes_with_equal_weights():
    model = randomise(Shared())
    graph = capture(model, noise(1, 1, 4, 8, 8))
    assert [node.name for node in graph] == ["conv", "lif", "conv#1", "lif#1"]
    assert torch.equal(graph.nodes[0].parameters["weight"], graph.nodes[2].parameters["weight"])
    assert len(graph.states) == 2
    assert_runs_as(model, graph, noise(5, 2, 4, 8, 8))


def test_nodes_carry_the_names_of_their_modules():
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4)
    graph = capture(model, torch.zeros(1, 1, 8, 8))
    expected = [
        "stem.conv",
        "stem.bn",
        "stem_lif",
        "down.conv",
        "down.bn",
        "down_lif",
        "depthwise.conv",
        "depthwise.bn",
    ]
    assert [node.name for node in graph][: len(expected)] == expected
    scopes = {node.scope for node in graph if node.scope}
    assert scopes <= set(dict(model.named_modules()))


NAMES = (
    *("model", "model1", "model_of_light", "input", "add", "readout", "constant", "reshape", "a_b", "output", "state"),
    *("input0", "input#1", "größe", "lif", "_snnkit_wrapped", "keys", "run", "self", "args"),
)


@pytest.mark.parametrize("attribute", NAMES)
def test_names_that_look_like_our_own(attribute):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(attribute, nn.Linear(4, 4))

        def forward(self, x):
            return self._modules[attribute](x) + x + 0.5

    model = randomise(Odd())
    x = noise(3, 4)
    graph = capture(model, x[:1])
    assert graph.nodes[0].scope == attribute
    assert graph.nodes[0].op == "linear"
    assert len({node.name for node in graph}) == len(graph)
    assert torch.equal(interpret(graph, x)[0][0], model(x).detach())


def test_names_of_states_that_modules_have_too():
    """A module called ``v`` or ``v_next`` inside one beside a neuron with a state of that name."""

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.v, self.v_next = nn.Linear(4, 4), LIF(v_threshold=0.3)

        def forward(self, x):
            return self.v_next(self.v(x))

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif, self.inner = LIF(v_threshold=0.3), Inner()
            self.inner.lif = LIF(v_threshold=0.2)
            self.add_module("inner_lif", LIF(v_threshold=0.1))

        def forward(self, x):
            return self.inner_lif(self.inner.lif(self.inner(self.lif(x))))

    model = randomise(Outer())
    graph = capture(model, noise(1, 1, 4))
    assert len(graph.states) == 4
    assert len(set(graph.signals)) == len(graph.signals)
    x = noise(4, 3, 4)
    assert torch.equal(interpret(graph, x, stepwise=True)[0], snnkit.Stream(model).run(x).detach())


def test_a_neuron_called_like_the_state_of_another():
    """``a`` is a neuron inside which a neuron ``v`` sits: its state is a.v, its neighbour's name is a.v too."""

    class Nested(LIF):
        pass

    outer = nn.Module()
    model = nn.Sequential()
    neuron = LIF(v_threshold=0.4)
    neuron.add_module("v", nn.Linear(4, 4))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = neuron

        def forward(self, x):
            return self.a(self.a.v(x))

    assert outer is not model
    model = randomise(Net())
    graph = capture(model, noise(1, 1, 4))
    x = noise(4, 3, 4)
    assert torch.equal(interpret(graph, x, stepwise=True)[0], snnkit.Stream(model).run(x).detach())


def test_capture_leaves_the_model_as_it_was():
    model = SPIKING["batch norm 2d"]().train()
    before = copy.deepcopy(model.state_dict())
    capture(model, torch.randn(1, 1, 4, 8, 8))
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_capture_leaves_frozen_batch_norms_frozen():
    model = SPIKING["batch norm 2d"]().train()
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    norm.eval()
    capture(model, torch.randn(1, 1, 4, 8, 8))
    assert not norm.training


def test_a_graph_keeps_no_gradient():
    graph = capture(SPIKING["conv"](), torch.randn(1, 1, 4, 8, 8))
    assert not any(p.requires_grad for node in graph for p in node.parameters.values())


def test_capture_is_in_eval_mode():
    """Dropout and batch statistics have no place in a graph, whatever mode the model is in."""
    model = randomise(SPIKING["dropout"]())
    x = noise(4, 2, 4, 8, 8)
    graph = capture(model.train(), x)
    assert_runs_as(model.eval(), graph, x)


def test_a_failed_capture_leaves_the_mode():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), Code(lambda p, x: x - x.mean(0))).train()
    with pytest.raises(CaptureError):
        capture(model, torch.zeros(1, 4, 8, 8))
    assert model.training


def test_the_values_of_the_example_do_not_matter():
    """Only shapes and types do: not even NaN is looked at, and the example is not written to."""
    model = randomise(ORDINARY["in place"]())
    one = capture(model, torch.full((1, 4, 8, 8), float("nan"), dtype=torch.float64))
    assert str(one) == str(capture(model, noise(7, 4, 8, 8)))
    x = noise(1, 6)
    before = x.clone()
    capture(Code(lambda p, x: x.add_(1.0)), x)
    assert torch.equal(x, before)


def test_a_captured_graph_is_a_graph():
    model, x = nn.Linear(4, 3), torch.zeros(1, 4)
    graph = capture(model, x)
    assert graph_of(graph, None) is graph
    assert str(graph_of(model, x)) == str(graph)
    assert compiler.capture is capture
    with pytest.raises(InvalidArgumentError, match="example"):
        graph_of(model, None)


@pytest.mark.parametrize("given", ["spikes", "", "Binary", "integer[3,1]"])
def test_a_bad_input_type_is_named(given):
    with pytest.raises((InvalidArgumentError, UnknownNameError), match="unknown signal type|low ≤ high"):
        capture(LIF(), torch.zeros(1, 1, 3), input_type=given)


def test_the_input_type_is_that_of_the_signal():
    model = snnkit.create_model("spiking_cnn_small", img_size=8)
    binary = capture(model, torch.zeros(1, 1, 8, 8), input_type="binary")
    assert binary.type(binary.inputs[0]) == BINARY
    assert not binary.static_input  # spikes are not one repeated image
    assert capture(LIF(), torch.zeros(1, 1, 3)).type("input") == REAL
    whole = capture(LIF(), torch.zeros(1, 1, 3), input_type="integer[0,3]")
    assert whole.type("input") == SignalType("integer", 0, 3)


def test_a_model_of_feature_maps_is_captured_as_its_maps():
    """Not as the logits that its ``forward_sequence`` still gives."""
    model = snnkit.create_model("meta_spikeformer_tiny", features_only=True, timesteps=2, img_size=16)
    model = randomise(model)
    x = torch.rand(2, 3, model.in_chans, 16, 16, dtype=torch.float64)
    graph = capture(model, x[:, :1])
    assert [graph.shape(name) for name in graph.outputs] == [tuple(y.shape[2:]) for y in model(x)]
    for ours, theirs in zip(interpret(graph, x)[0], model(x), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-12)
    from_image = capture(model, x[0, :1])
    assert (from_image.timesteps, from_image.outputs) == (2, graph.outputs)
