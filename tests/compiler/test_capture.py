"""Capture: the graph is the model, bit by bit, and what has no place in a graph is named.

Would break it: a lost constant of a neuron, a stride or group dropped on the way, two uses of one module confused, a
model that is left in another mode, an operator that is skipped instead of refused. Equality is exact in float64: a
stream runs the model on the same batches as the interpreter runs the graph.
"""

import copy

import pytest
import torch
from torch import nn

import compiler
import snnkit
from compiler.errors import CaptureError
from compiler.graph import BINARY
from snnkit.errors import InvalidArgumentError
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF


class OverTime(nn.Module):
    """Layers without memory on a sequence."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return over_time(self.layers, x)


class Residual(nn.Module):
    """A branch around a body."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x) + x


def randomise(model, seed=0):
    """Random weights and statistics in float64, so that no layer is an identity."""
    generator = torch.Generator().manual_seed(seed)
    model.double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.copy_(torch.randn(module.weight.shape, generator=generator, dtype=torch.float64) * 0.6)
                if module.bias is not None:
                    module.bias.copy_(torch.rand(module.bias.shape, generator=generator, dtype=torch.float64) * 0.2)
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                if module.affine:
                    module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                    module.bias.copy_(torch.rand(module.num_features, generator=generator))
    return model


def sequence(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 1.5


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
    "residual": lambda: nn.Sequential(
        LIF(),
        Residual(nn.Sequential(OverTime(nn.Conv2d(4, 4, 3, padding=1)), LIF())),
        OverTime(nn.Conv2d(4, 2, 3)),
        IF(),
    ),
    "dropout": lambda: nn.Sequential(OverTime(nn.Conv2d(4, 6, 3), nn.Dropout(0.5)), LIF(), nn.Identity()),
    "head": lambda: nn.Sequential(LIF(), OverTime(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 3))),
}


def assert_exact(model, graph, x):
    """Equal outputs over several steps, batches other than the example's, and firing neurons."""
    stream = snnkit.Stream(model)
    expected = torch.stack([stream.step(x_t) for x_t in x]).detach()
    got, _ = compiler.interpret(graph, x)
    assert torch.equal(got, expected)
    for node in graph:
        if node.op in snnkit.neurons.OPERATORS:
            rate = compiler.interpret(graph, x, probes=[node.output])[1][node.output].mean()
            assert 0.02 < rate < 0.98, f"{node.name} fires at {rate:.3f}: nothing is shown"


@pytest.mark.parametrize("name", SPIKING)
def test_a_spiking_network_equals_its_graph(name):
    model = randomise(SPIKING[name]())
    graph = compiler.capture(model, sequence(1, 1, 4, 8, 8))
    assert_exact(model, graph, sequence(5, 3, 4, 8, 8))


def test_a_listed_model_equals_its_graph():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=16, width=4, timesteps=6, num_classes=3).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.3, 2.0)
    graph = compiler.capture(model, torch.rand(1, 1, 16, 16, dtype=torch.float64))
    assert graph.timesteps == 6
    assert graph.static_input
    assert_exact(model, graph, torch.rand(6, 2, 1, 16, 16, dtype=torch.float64))
    images = torch.rand(2, 1, 16, 16, dtype=torch.float64)
    logits, _ = compiler.interpret(graph, images)
    assert logits.shape == (6, 2, 3)
    torch.testing.assert_close(logits.mean(0), model(images).detach(), rtol=0, atol=1e-12)
    by_sequence = compiler.capture(model, torch.rand(3, 1, 1, 16, 16, dtype=torch.float64))
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
    model, x = randomise(ORDINARY[name]()), sequence(3, 4, 8, 8)
    graph = compiler.capture(model, x[:1])
    assert graph.timesteps == 1
    assert not graph.states
    assert not graph.static_input
    assert torch.equal(compiler.interpret(graph, x)[0][0], model(x).detach())


@pytest.mark.parametrize("cls", [IF, LIF])
@pytest.mark.parametrize("settings", [{}, {"v_reset": None}, {"v_reset": -0.25, "v_threshold": 0.75}], ids=str)
def test_every_constant_of_a_neuron_is_in_the_graph(cls, settings):
    neuron = cls(**settings)
    graph = compiler.capture(neuron, torch.zeros(1, 1, 5))
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
    assert compiler.interpret(compiler.capture(neuron, x), x)[0].flatten().tolist() == [0, 1, 0, 1]


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
    graph = compiler.capture(model, sequence(1, 1, 4, 8, 8))
    assert [node.name for node in graph] == ["conv", "lif", "conv#1", "lif#1"]
    assert torch.equal(graph.nodes[0].parameters["weight"], graph.nodes[2].parameters["weight"])
    assert len(graph.states) == 2
    assert_exact(model, graph, sequence(5, 2, 4, 8, 8))


def test_nodes_carry_the_names_of_their_modules():
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4)
    graph = compiler.capture(model, torch.zeros(1, 1, 8, 8))
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


@pytest.mark.parametrize("attribute", ["model", "model1", "model_of_light", "input", "add"])
def test_names_that_look_like_our_own(attribute):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, attribute, nn.Linear(4, 4))

        def forward(self, x):
            return getattr(self, attribute)(x) + x

    model = randomise(Odd())
    x = sequence(3, 4)
    graph = compiler.capture(model, x[:1])
    assert graph.nodes[0].scope == attribute
    assert torch.equal(compiler.interpret(graph, x)[0][0], model(x).detach())


def test_capture_leaves_the_model_as_it_was():
    model = SPIKING["batch norm 2d"]().train()
    before = copy.deepcopy(model.state_dict())
    compiler.capture(model, torch.randn(1, 1, 4, 8, 8))
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_capture_leaves_frozen_batch_norms_frozen():
    model = SPIKING["batch norm 2d"]().train()
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d))
    norm.eval()
    compiler.capture(model, torch.randn(1, 1, 4, 8, 8))
    assert not norm.training


def test_a_graph_keeps_no_gradient():
    graph = compiler.capture(SPIKING["conv"](), torch.randn(1, 1, 4, 8, 8))
    assert not any(p.requires_grad for node in graph for p in node.parameters.values())


def test_capture_is_in_eval_mode():
    """Dropout and batch statistics have no place in a graph, whatever mode the model is in."""
    model = randomise(SPIKING["dropout"]())
    x = sequence(4, 2, 4, 8, 8)
    graph = compiler.capture(model.train(), x)
    assert_exact(model.eval(), graph, x)


# What is refused.


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(6, 6), function

    def forward(self, x):
        return self.function(self.layer(x))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.MaxPool2d(2), "'inner' uses the operator 'max_pool2d'.*'avg_pool2d'"),
        (nn.GELU(), "'inner' uses the operator 'gelu'"),
        (nn.ReLU6(), "'inner' uses the operator 'hardtanh'.*Known: .*relu"),
        (nn.Conv2d(4, 4, 3, padding="same"), "'inner'.*conv2d"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"), "'inner' uses the operator 'pad"),
        (nn.AvgPool2d(2, ceil_mode=True), "inner.*ceil_mode"),
        (nn.AvgPool2d(3, 1, 1, count_include_pad=False), "inner.*padding"),
        (nn.AvgPool2d(2, divisor_override=3), "inner.*divisor"),
        (nn.BatchNorm2d(4, track_running_stats=False), "inner.*stored statistics"),
        (nn.LayerNorm([4, 8, 8]), "'inner' uses the operator 'layer_norm'"),
        (nn.Unflatten(1, (2, 2)), r"inner.*reshaping \(4, 8, 8\) to \(2, 2, 8, 8\)"),
        (nn.PixelShuffle(2), "'inner' uses the operator 'pixel_shuffle'"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_a_layer_without_a_place_is_named(layer, words):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = layer

        def forward(self, x):
            return self.inner(x)

    with pytest.raises(CaptureError, match=words) as caught:
        compiler.capture(Holder(), torch.zeros(1, 4, 8, 8))
    assert caught.value.user_error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda y: y * y, "the model itself uses the operator 'mul"),
        (lambda y: y + 1.0, "only sums of two signals"),
        (lambda y: torch.add(y, y, alpha=2), "only sums of two signals"),
        (lambda y: y.mean(1), "'mean"),
        (lambda y: torch.cat([y, y], 1), "'cat'"),
        (lambda y: y.reshape(3, 4), "mixes batch and features"),
        (lambda y: y.unflatten(1, (2, 3)), "reshaping"),
    ],
    ids=["product", "constant", "alpha", "mean", "concatenation", "across the batch", "reshape"],
)
def test_an_operation_without_a_place_is_named(function, words):
    with pytest.raises(CaptureError, match=words):
        compiler.capture(Calls(function), torch.zeros(1, 6))


def test_a_mean_over_time_has_no_place_in_one_step():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = LIF()

        def forward(self, x):
            return self.lif(x).mean(0)

    with pytest.raises(CaptureError, match="mean"):
        compiler.capture(Pooled(), torch.zeros(4, 1, 3))


def test_what_torch_cannot_trace_is_one_line():
    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else x + x

    with pytest.raises(CaptureError, match="could not trace Branches") as caught:
        compiler.capture(Branches(), torch.zeros(1, 6))
    assert "\n" not in str(caught.value)


def test_an_example_of_the_wrong_size_gets_the_models_own_message():
    model = snnkit.create_model("spiking_cnn_small", img_size=8)
    with pytest.raises(InvalidArgumentError, match="1, 8, 8"):
        compiler.capture(model, torch.zeros(1, 1, 12, 12))
    compiler.capture(model, torch.zeros(1, 1, 8, 8))  # and the model still works


def test_a_failed_capture_leaves_the_mode():
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GELU()).train()
    with pytest.raises(CaptureError):
        compiler.capture(model, torch.zeros(1, 4, 8, 8))
    assert model.training


@pytest.mark.parametrize("given", ["spikes", "", "Binary"])
def test_a_bad_input_type_is_named(given):
    with pytest.raises(InvalidArgumentError, match="real, binary"):
        compiler.capture(LIF(), torch.zeros(1, 1, 3), input_type=given)


def test_the_input_type_is_that_of_the_signal():
    model = snnkit.create_model("spiking_cnn_small", img_size=8)
    binary = compiler.capture(model, torch.zeros(1, 1, 8, 8), input_type="binary")
    assert binary.type(binary.inputs[0]) == BINARY
    assert not binary.static_input  # spikes are not one repeated image
