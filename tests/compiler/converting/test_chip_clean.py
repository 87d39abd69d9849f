"""The chip-clean variant: what a chip cannot do is replaced as said, and fine-tuning brings the accuracy back.

Would break it: the wrong N, a mask that lets through, a batch norm of another channel or fitted before what stands in
front of it was replaced. Margins are those of one seed, with room: attention was seen to go from 77.2 % to 34.6 % as
replaced, to 74.3 % after five epochs, and to 73.9 % at 16 levels after three more.
"""

import numpy as np
import pytest
import torch
from support.clothes import NETWORKS, accuracy, clothes, clothes_data, same_codes, trained
from torch import nn
from torch.nn import functional as F

import snnkit
from compiler.capturing import capture
from compiler.converting import convert
from compiler.converting.chip_clean import chip_clean
from compiler.converting.finetuning import distilled, fine_tuned
from compiler.converting.trainable import GraphModule
from compiler.errors import CaptureError
from compiler.graph import GraphBuilder
from compiler.interpreting import interpret
from compiler.passes import simplify
from snnkit.engine.progress import console
from snnkit.errors import InvalidArgumentError, NonFiniteError

DTYPE = torch.float64


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.eye(4, dtype=DTYPE))

    def forward(self, x):
        return self.function(x @ self.weight)


def of(model, x):
    return interpret(chip_clean(model.eval(), [x]), x)[0][0]


@pytest.mark.parametrize("axis", [-1, 1])
def test_softmax_becomes_relu_over_the_length_of_its_axis(axis):
    x = torch.tensor([[[1.0, -2, 3, 0.5], [2, 4, -6, 1]]], dtype=DTYPE)
    by_hand = torch.tensor([[[1.0, 0, 3, 0.5], [2, 4, 0, 1]]], dtype=DTYPE) / (4 if axis == -1 else 2)
    found = of(Function(lambda x: torch.softmax(x, axis)), x)
    torch.testing.assert_close(found, by_hand, rtol=0, atol=1e-15)


def test_what_a_mask_hides_stays_hidden():
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[:, 0] = True
    x = torch.randn(2, 4, 4, dtype=DTYPE)
    model = Function(lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=~mask))
    weights = torch.relu(x @ x.transpose(1, 2) / 2).masked_fill(mask, 0) / 4
    torch.testing.assert_close(of(model, x), weights @ x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("function", [F.gelu, F.silu, F.hardswish, F.mish, lambda x: F.gelu(x, approximate="tanh")])
def test_smooth_activations_become_relu(function):
    x = torch.randn(3, 4, dtype=DTYPE)
    assert torch.equal(of(Function(function), x), torch.relu(x))


@pytest.mark.parametrize("function", [torch.sigmoid, torch.relu, torch.tanh, F.relu6, lambda x: F.max_pool1d(x, 2)])
def test_what_was_not_asked_for_stays(function):
    x = torch.randn(3, 2, 4, dtype=DTYPE)
    model = Function(function).eval()
    torch.testing.assert_close(of(model, x), model(x), rtol=0, atol=1e-15)


NORMS = {
    "layer": (nn.LayerNorm(4), (6, 5, 4), -1),
    "layer without weights": (nn.LayerNorm(4, elementwise_affine=False), (6, 4), -1),
    "layer of maps": (nn.LayerNorm((3, 2, 4)), (6, 3, 2, 4), -3),
    "rms": (nn.RMSNorm(4), (6, 5, 4), -1),
    "group": (nn.GroupNorm(2, 6), (5, 6, 3, 4), 1),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_becomes_the_nearest_affine_map_of_each_channel(name):
    """Slope and height of each channel by numpy's line fit."""
    norm, shape, axis = NORMS[name]
    torch.manual_seed(3)
    model = nn.Sequential(nn.Tanh(), norm).double().eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.5)
    x = torch.randn(shape, dtype=DTYPE) * (1 + torch.arange(shape[-1])) + 1
    read, wanted = torch.tanh(x), model(x).detach()
    expected = torch.empty_like(wanted)
    for channel in range(shape[axis]):
        line = read.select(axis, channel), wanted.select(axis, channel)
        slope, height = np.polyfit(line[0].flatten().numpy(), line[1].flatten().numpy(), 1)
        expected.select(axis, channel)[:] = slope * line[0] + height
    graph = chip_clean(model, [x[:2], (x[2:], None)])
    assert {node.op for node in graph} == {"tanh", "batch_norm"}
    torch.testing.assert_close(interpret(graph, x)[0][0], expected, rtol=0, atol=1e-9)


def test_a_norm_by_hand():
    """Of (1, −1) and (−1, 1) the line through both; of what never varies a constant."""
    graph = chip_clean(nn.LayerNorm(2, eps=0.0, elementwise_affine=False).eval(), [torch.tensor([[1.0, -1], [-1, 1]])])
    y = interpret(graph, torch.tensor([[0.5, 0.0], [3.0, -1.0]]))[0][0]
    torch.testing.assert_close(y, torch.tensor([[0.5, 0.0], [3.0, -1.0]]))
    still = chip_clean(nn.LayerNorm(2).eval(), [torch.tensor([[3.0, -1.0]] * 4)])
    y = interpret(still, torch.tensor([[7.0, 7.0]]))[0][0]
    torch.testing.assert_close(y, torch.tensor([[1.0, -1.0]]), rtol=0, atol=1e-4)


def test_a_norm_is_fitted_to_what_it_reads_then():
    """Behind a ReLU that was a GELU, and behind another norm that was replaced."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 4), nn.LayerNorm(4)).double().eval()
    x = torch.randn(50, 4, dtype=DTYPE)
    graph = chip_clean(model, [x])
    first, second = (node for node in graph if node.op == "batch_norm")
    torch.testing.assert_close(first.parameters["mean"], torch.relu(x).mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(first.parameters["variance"], torch.relu(x).var(0, correction=0), rtol=0, atol=1e-12)
    read = interpret(graph, x, probes=[second.inputs[0]])[1][second.inputs[0]][0]
    torch.testing.assert_close(second.parameters["mean"], read.mean(0), rtol=0, atol=1e-12)
    wanted = model[3](read).mean(0).detach()
    torch.testing.assert_close(interpret(graph, x)[0][0].mean(0), wanted, rtol=0, atol=1e-12)


def test_nothing_is_left_that_a_chip_cannot_do_once_it_is_converted():
    torch.manual_seed(0)
    x = clothes()["train"][0][:32]
    clean = chip_clean(NETWORKS["attention"](12).eval(), [x])
    graph = simplify(clean)
    # The last is followed by an average, which no bias can go through; all others are in the layers behind them.
    assert [sum(node.op == "batch_norm" for node in one) for one in (clean, graph)] == [5, 1]
    assert {node.op for node in graph} <= {
        *("batch_norm", "conv", "linear", "matmul", "add", "scale", "relu", "mean", "constant"),
        *("reshape", "permute", "slice", "take", "rearrange", "expand", "identity"),
    }


@pytest.mark.slow
def test_fine_tuning_brings_the_accuracy_back(tmp_path, monkeypatch):
    monkeypatch.setattr(console, "quiet", True)
    model, samples = trained("attention"), [clothes()["train"][0][:256]]
    clean = chip_clean(model, samples)
    whole, before = accuracy(model), accuracy(GraphModule(clean))
    assert before < whole - 0.2
    learned, _ = distilled(clean, model, clothes_data(), 5, batch_statistics=True, folder=tmp_path / "float")
    assert accuracy(GraphModule(learned)) > whole - 0.06
    converted = convert(learned, samples, levels=16)
    tuned = fine_tuned(converted, clothes_data(), 2, teacher=model, folder=tmp_path / "quantised")
    assert accuracy(tuned.qann) > whole - 0.07
    assert same_codes(tuned, clothes()["test"][0][:8])
    assert not {node.op for node in tuned.snn_graph} & {"softmax", "layer_norm", "gelu"}


def test_bad_input():
    model, x = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).eval(), torch.randn(2, 4)
    with pytest.raises(InvalidArgumentError, match="training mode"):
        chip_clean(nn.Linear(4, 4).train(), [x])
    with pytest.raises(InvalidArgumentError, match="at least one batch"):
        chip_clean(model, [])
    graph = capture(model, x)
    with pytest.raises(InvalidArgumentError, match=r"takes \(B, 4\)"):
        chip_clean(graph, [torch.randn(2, 5)])
    with pytest.raises(InvalidArgumentError, match="got a sequence"):
        chip_clean(graph, [torch.randn(3, 2, 4)])
    with pytest.raises(NonFiniteError, match="the samples hold"):
        chip_clean(graph, [x, torch.full((2, 4), torch.nan)])
    with pytest.raises(NonFiniteError, match="log holds"):
        chip_clean(nn.Sequential(Function(lambda x: torch.log(x - 9)), nn.LayerNorm(4)).double().eval(), [x.double()])
    spiking = snnkit.create_model("spiking_cnn_small", img_size=8, width=4).eval()
    with pytest.raises(CaptureError, match="spiking one already"):
        chip_clean(spiking, [torch.zeros(1, 1, 8, 8)])


def test_a_graph_without_any_of_it_comes_back_as_it_is():
    builder = GraphBuilder("plain", 1)
    x = builder.input("x", (3,))
    graph = builder.finish([builder.add("linear", (x,), None, {"weight": torch.eye(3)}, name="layer")])
    clean = chip_clean(graph, [torch.randn(2, 3)])
    assert [node.name for node in clean] == ["layer"]
    assert torch.equal(clean.node("layer").parameters["weight"], torch.eye(3))
