"""Batch norms and scales folded into layers: by hand, through moves, before and behind, and where they must stay.

Would break it: a factor along the wrong axis or group, a shift that zero padding does not see, a layer folded that
others read, statistics rounded on the way.
"""

import pytest
import torch
from support.random_graphs import Random, assert_same_meaning, data_for, ops
from torch import nn

import snnkit
from compiler.capturing import capture
from compiler.graph import BINARY
from compiler.interpreting import interpret
from compiler.passes import fold_bn, simplify


def check(graph, wanted, tolerance=1e-12):
    folded = fold_bn(graph)
    assert ops(folded) == wanted
    assert_same_meaning(graph, folded, data_for(graph), tolerance)
    return folded


def test_folding_by_hand():
    """y = 2·(3x + 1 − 5)/√(4 + 0) + 7 = 3x + 3."""
    one = torch.ones(1, dtype=torch.float64)
    b = Random((1,))
    layer = b.add("linear", ("x",), {}, {"weight": 3 * one.reshape(1, 1), "bias": one})
    stored = {"mean": 5 * one, "variance": 4 * one, "weight": 2 * one, "bias": 7 * one}
    folded = fold_bn(b.finish([b.add("batch_norm", (layer,), {"eps": 0.0, "axis": -1}, stored)]))
    (node,) = folded.nodes
    assert node.parameters["weight"].item() == 3
    assert node.parameters["bias"].item() == 3
    assert folded.outputs == (layer,)


def test_the_small_network_has_no_batch_norm_left():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4)
    graph = capture(model, torch.zeros(1, 1, 8, 8))
    assert sum(node.op == "batch_norm" for node in graph) == 4
    folded = simplify(graph)
    assert "batch_norm" not in ops(folded)
    assert [n.name for n in folded if n.op == "conv"] == ["stem.conv", "down.conv", "depthwise.conv", "mix.conv"]


def test_a_layer_that_others_read_is_not_folded():
    b = Random((2, 4, 4))
    conv = b.conv("x", 2)
    check(b.finish([b.add("add", (b.norm(conv), conv))]), ["conv", "batch_norm", "add"], 0)


def test_a_layer_that_is_itself_an_output_is_not_folded():
    b = Random((3,))
    layer = b.linear("x", 3)
    assert ops(fold_bn(b.finish([layer, b.norm(layer)]))) == ["linear", "batch_norm"]


@pytest.mark.parametrize("between", ["relu", "lif", "layer_norm", "max_pool"])
def test_nothing_folds_across_what_is_not_linear(between):
    b = Random((2, 4, 4))
    x = b.conv("x", 2)
    if between == "lif":
        x = b.lif(x)
    elif between == "layer_norm":
        x = b.add("layer_norm", (x,), {"axes": 1, "eps": 1e-5})
    elif between == "max_pool":
        one = dict.fromkeys(("kernel_size", "stride", "dilation"), (1, 1))
        x = b.add("max_pool", (x,), {**one, "padding": (0, 0), "ceil_mode": False})
    else:
        x = b.add("relu", (x,))
    graph = b.finish([b.add("relu", (b.norm(x),))])
    assert fold_bn(graph) is graph


def test_two_batch_norms_in_a_row():
    b = Random((2, 4, 4))
    check(b.finish([b.norm(b.norm(b.conv("x", 3)))]), ["conv"])
    b = Random((2, 4, 4))
    check(b.finish([b.norm(b.norm("x"), affine=False)]), ["batch_norm"])


def test_folding_is_computed_in_float64():
    """Statistics that float32 arithmetic would round visibly."""
    b = Random((1,))
    third = torch.tensor([[1 / 3]], dtype=torch.float32)
    layer = b.add("linear", ("x",), {}, {"weight": third})
    numbers = {"mean": torch.tensor([0.1]), "variance": torch.tensor([3.0]), "weight": torch.tensor([0.7])}
    norm = b.add("batch_norm", (layer,), {"eps": 1e-5, "axis": -1}, {**numbers, "bias": torch.tensor([0.2])})
    (node,) = fold_bn(b.finish([norm])).nodes
    exact = third.double().item() * numbers["weight"].double().item() / (3.0 + 1e-5) ** 0.5
    assert node.parameters["weight"].dtype == torch.float32
    assert node.parameters["weight"].item() == torch.tensor(exact, dtype=torch.float32).item()


def test_a_batch_norm_along_another_axis_than_the_layers_outputs():
    """Behind a linear layer on tokens (N, D), BatchNorm1d takes N for its channels: no weight of the layer is N's."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.bn = nn.Linear(4, 6), nn.BatchNorm1d(6)

        def forward(self, x):
            return self.bn(self.fc(x))

    torch.manual_seed(0)
    model = Tokens().double().eval()
    nn.init.uniform_(model.bn.weight, 0.5, 1.5)
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    graph = capture(model, x[:1])
    torch.testing.assert_close(interpret(graph, x)[0][0], model(x).detach(), rtol=0, atol=1e-12)
    assert ops(fold_bn(graph)) == ["linear", "batch_norm"]
    torch.testing.assert_close(interpret(fold_bn(graph), x)[0][0], model(x).detach(), rtol=0, atol=1e-12)


def test_tokens_whose_channels_come_last():
    b = Random((5, 4))
    check(b.finish([b.norm(b.linear("x", 6), axis=-1)]), ["linear"])


@pytest.mark.parametrize("bias", [False, True])
def test_through_moves_to_the_layer_before(bias):
    """The norm of spiking transformers: tokens to channels, split into heads, moved, shifted, cut."""
    b = Random((6, 4))
    x = b.permute(b.linear("x", 8, bias), -1, -2)  # (8, 6)
    x = b.roll(b.reshape(b.norm(x), (2, 4, 6)), 1, -1)
    x = b.norm(b.reshape(b.slice(x, -1, 1, 5), (8, 2, 2)))
    check(b.finish([x]), ["linear", "permute", "reshape", "roll", "slice", "reshape"])


def test_what_a_channel_meets_must_be_one_factor():
    b = Random((6, 4))
    x = b.reshape(b.linear("x", 8), (8, 6))  # rows and channels mixed
    graph = b.finish([b.norm(x)])
    assert fold_bn(graph) is graph


def test_averages_and_sums_in_between():
    b = Random((2, 6, 6))
    x = b.pool(b.conv("x", 3), 2)
    check(b.finish([b.norm(b.mean(x, -1, -2))]), ["conv", "avg_pool", "mean"])
    b = Random((2, 6, 6))
    total = b.add("sum", (b.conv("x", 3, bias=True),), {"axes": (-1, -2), "keepdim": False})
    check(b.finish([b.norm(total)]), ["conv", "sum"])


def test_a_shift_does_not_reach_a_padded_border():
    b = Random((2, 6, 6))
    graph = b.finish([b.norm(b.pool(b.conv("x", 3), 2, padding=1))])
    assert fold_bn(graph) is graph
    b = Random((2, 6, 6))
    check(b.finish([b.scale(b.pool(b.conv("x", 3), 2, padding=1), (3, 1, 1))]), ["conv", "avg_pool"])
    b = Random((2, 6, 6))
    check(b.finish([b.scale(b.pad(b.conv("x", 3), 1, 0, 0, 1), (3, 1, 1))]), ["conv", "pad"])


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_the_other_way(groups):
    b = Random((4, 3, 3))
    weight, settings = b.normal(4, 3, 2, 2), {"stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    settings |= {"output_padding": (0, 0), "groups": groups}
    x = b.norm(b.add("conv_transpose", ("x",), settings, {"weight": weight, "bias": b.normal(3 * groups)}))
    check(b.finish([x]), ["conv_transpose"])


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("scaled", [False, True])
def test_into_the_layer_behind(groups, scaled):
    b = Random((2, 4, 4))
    x = b.scale("x", (2, 1, 1)) if scaled else b.norm("x")
    check(b.finish([b.conv(b.permute(x, -3, -1, -2), 4, padding=0, groups=groups)]), ["permute", "conv"])
    b = Random((5, 4))
    x = b.scale("x", (4,)) if scaled else b.norm("x", axis=-1)
    check(b.finish([b.linear(x, 3, bias=True)]), ["linear"])


def test_where_padding_sees_the_shift():
    """A real input: the norm stays. Spikes: the layer reads them, and what the shift adds is stored."""
    b = Random((2, 4, 4))
    graph = b.finish([b.conv(b.norm("x"), 3)])
    assert fold_bn(graph) is graph
    b = Random((2, 4, 4), input_type=BINARY)
    folded = check(b.finish([b.conv(b.norm("x"), 3)]), ["conv", "constant", "add"])
    assert folded.nodes[0].inputs == ("x",)
    b = Random((2, 4, 4))
    check(b.finish([b.conv(b.scale("x", (2, 1, 1)), 3)]), ["conv"])  # a factor alone meets no border


def test_one_number_goes_through_sums():
    b = Random((2, 4, 4))
    x = b.reshape(b.mean(b.scale("x"), -1, keepdim=False), (8,))
    check(b.finish([b.linear(x, 3)]), ["mean", "reshape", "linear"])


def test_layer_scale():
    b = Random((5, 4))
    x = b.scale(b.linear(b.add("relu", (b.linear("x", 8),)), 4, bias=True), (4,))
    check(b.finish([b.add("add", ("x", x))]), ["linear", "relu", "linear", "add"])


def test_integer_layers_are_left_alone():
    b = Random((3,))
    weight = torch.ones(2, 3, dtype=torch.float64)
    x = b.add("linear", ("x",), {"weight_exponent": 2}, {"weight": weight})
    graph = b.finish([b.norm(x)])
    assert fold_bn(graph) is graph
