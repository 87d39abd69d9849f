"""Acceleration breaks if a network gives other results, loses a layer's weights, or changes the original."""

import pickle

import pytest
import torch
from torch import nn

from snnkit import create_model
from snnkit.deploy import deploy
from snnkit.errors import InvalidArgumentError
from snnkit.events import EventConv, EventLinear, accelerate, report
from snnkit.events.library import why_not
from snnkit.layers import ConvBN
from snnkit.neurons import LIF


class Network(nn.Module):
    """Real image, two spiking convolutions (one grouped), a spiking linear layer; sequences (T, B, C, H, W)."""

    def __init__(self):
        super().__init__()
        self.first, self.second = ConvBN(3, 16, 3), ConvBN(16, 24, 3, stride=2)
        self.depthwise = ConvBN(24, 24, 3, groups=24)
        self.neurons = nn.ModuleList(LIF() for _ in range(3))
        self.head = nn.Linear(24, 10)

    def forward(self, x):
        for part, neuron in zip((self.first, self.second, self.depthwise), self.neurons, strict=True):
            x = neuron(part(x) * 3.0)
        return self.head(x.amax((-1, -2)))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Network().eval()


@pytest.fixture
def image():
    return torch.randn(1, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1)).repeat(4, 1, 1, 1, 1)


def _on_a_grid(model):
    """Round weights to multiples of 1/256: sums of them are exact in any order, so no spike may differ."""
    for parameter in model.parameters():
        parameter.mul_(256.0).round_().div_(256.0)
    return model


@torch.no_grad()
def test_a_network_keeps_its_output_and_the_original(network, image):
    network = _on_a_grid(deploy(network))
    fast = accelerate(network, image)
    assert torch.equal(fast(image), network(image))
    assert isinstance(network.head, nn.Linear)
    assert isinstance(fast.head, EventLinear)
    assert isinstance(fast.second.conv, EventConv)
    assert isinstance(fast.depthwise.conv, EventConv)
    assert fast.state_dict().keys() == network.state_dict().keys()


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")
def test_the_report_says_why(network, image):
    rows = {row["layer"]: row for row in report(accelerate(network, image))}
    assert rows.keys() == {"first.conv", "second.conv", "depthwise.conv", "head"}
    assert rows["first.conv"]["reason"].startswith("the input is not spikes")
    assert rows["second.conv"]["rate"] > 0.01
    for name in ("second.conv", "depthwise.conv", "head"):
        assert 0.0 <= rows[name]["rate"] < 1.0
        assert rows[name]["times_ms"].keys() == {"events", "dense"}
        assert rows[name]["chosen"] in rows[name]["reason"]


@torch.no_grad()
def test_int8_weights_are_close(network, image):
    small = accelerate(network, image, weights="int8")
    assert small.second.conv.weight.dtype == torch.int8
    x = torch.rand(4, 16, 16, 16).lt(0.2).float()
    error = (small.second.conv(x) - network.second.conv(x)).abs().max()
    assert error <= 0.02 * network.second.conv(x).abs().max()


@torch.no_grad()
def test_copies_that_were_pickled_compute_the_same(network, image):
    fast = accelerate(_on_a_grid(network), image)
    again = pickle.loads(pickle.dumps(fast))
    assert torch.equal(again(image), fast(image))


def test_a_shared_layer_stays_one():
    linear = nn.Linear(8, 8)
    fast = accelerate(nn.Sequential(linear, nn.Sequential(linear)))
    assert fast[0] is fast[1][0]


def test_other_layers_stay_as_they_are():
    attention = nn.MultiheadAttention(8, 2)
    fast = accelerate(nn.ModuleList([attention, nn.Conv3d(2, 2, 1)]))
    assert type(fast[0].out_proj) is type(attention.out_proj)
    assert [row["reason"] for row in report(fast)] == [
        "NonDynamicallyQuantizableLinear has no event-driven stand-in",
        "Conv3d has no event-driven stand-in",
    ]


def test_a_single_layer_is_a_network_too():
    assert isinstance(accelerate(nn.Linear(3, 4)), EventLinear)


def test_weights_have_two_kinds():
    with pytest.raises(InvalidArgumentError, match="'float32' and 'int8'"):
        accelerate(nn.Linear(3, 4), weights="int2")


@torch.no_grad()
def test_a_model_of_the_registry(image):
    model = _on_a_grid(deploy(create_model("spiking_cnn_small", num_classes=10, in_chans=3, img_size=16, timesteps=2)))
    fast = accelerate(model, image[0])
    assert any(isinstance(module, EventConv) for module in fast.modules())
    assert torch.equal(fast(image[0]), model(image[0]))
