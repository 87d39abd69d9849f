"""Deploying: norms folded away, the same function, the original untouched.

Would break it: a norm that is folded into the wrong layer, a bias that is lost, a network that is changed in place.
"""

import copy

import pytest
import torch
from support.kernels import laid_out
from torch import nn

import snnkit
from snnkit.deploy import deploy, flip_rate
from snnkit.layers import ConvBN
from snnkit.layers.normed_neuron import NormedNeuron
from snnkit.layers.sequence import BatchNorm2d, Conv2d, Folded
from snnkit.neurons import IF, LIF, ParametricLIF


def lively(net):
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(part.running_mean, -0.3, 0.3)
            nn.init.uniform_(part.running_var, 0.2, 0.6)
            nn.init.uniform_(part.weight, 0.8, 2.0)
            nn.init.uniform_(part.bias, 0.0, 0.5)
    return net.eval()


def network():
    torch.manual_seed(0)
    tokens = Folded(nn.Conv1d(8, 12, 1), nn.BatchNorm1d(12))
    net = nn.Sequential(
        ConvBN(3, 6, 3),
        LIF(),
        Conv2d(6, 8, 3, padding=1),
        BatchNorm2d(8),
        LIF(),
        nn.Flatten(3),
        tokens,
        LIF(),
    )
    return lively(net)


def test_the_function_stays_and_the_norms_go():
    net = network().double()
    x = torch.randn(4, 2, 3, 8, 8, dtype=torch.float64)
    before = copy.deepcopy(net.state_dict())
    made = deploy(net)
    expected, got = net(x), made(x)
    assert 0.005 < expected.mean() < 0.98
    assert torch.equal(got, expected), "in float64 no membrane is that close to its threshold"
    assert not any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in made.modules())
    assert not any(p.requires_grad for p in made.parameters())
    assert not made.training
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert torch.equal(deploy(net, channels_last=False)(x), expected)


def test_flip_rates_by_layer():
    net = network()
    x = torch.randn(4, 2, 3, 8, 8)
    rates = flip_rate(net, deploy(net), x)
    assert len(rates) == 3
    assert max(rates.values()) <= 1e-3
    other = deploy(net)
    with torch.no_grad():
        next(other.parameters()).mul_(3.0)
    assert max(flip_rate(net, other, x).values()) > 0.01


def test_a_registered_model():
    torch.manual_seed(0)
    model = lively(snnkit.create_model("spiking_cnn_small", img_size=16, width=4, num_classes=3)).double()
    x = torch.randn(2, 1, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(deploy(model)(x), model(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_training_norms_are_folded_with_their_running_statistics(training):
    net = network().train(training)
    made = deploy(net)
    assert net.training is training
    x = torch.randn(4, 2, 3, 8, 8)
    with torch.no_grad():
        assert (made(x) != copy.deepcopy(net).eval()(x)).float().mean() <= 1e-3


def test_pointwise_convolutions_are_what_is_faster(monkeypatch):
    from snnkit import deploy as module

    net, x = network(), torch.randn(4, 2, 3, 8, 8)
    for winner, slow in ((module.PointwiseConv1d, nn.Conv1d), (nn.Conv1d, module.PointwiseConv1d)):
        monkeypatch.setattr(module, "_seconds", lambda forward, *_, slow=slow: float(forward is slow.forward))
        made = deploy(net, example=x)
        (part,) = [part for part in made.modules() if isinstance(part, nn.Conv1d)]
        assert type(part) is winner
        assert not part._forward_pre_hooks
        assert made.state_dict().keys() == deploy(net).state_dict().keys()
        with torch.no_grad():
            assert (made(x) != net(x)).float().mean() <= 1e-3


def pre_activation(v_reset=0.0):
    torch.manual_seed(0)
    parametric = ParametricLIF(v_threshold=0.6, channels=5)
    torch.nn.init.uniform_(parametric.w, -0.5, 0.5)
    tail = (BatchNorm2d(5), parametric, Conv2d(5, 5, 3), BatchNorm2d(5), IF(v_reset=v_reset))
    return lively(nn.Sequential(BatchNorm2d(4), LIF(v_reset=v_reset), Conv2d(4, 5, 3), nn.Identity(), *tail))


@pytest.mark.parametrize("v_reset", [0.0, -0.2, None])
def test_norms_without_a_layer_go_into_the_neuron(v_reset):
    net = pre_activation(v_reset).double()
    made = deploy(net)
    assert [type(part).__name__ for part in made] == [
        "Identity", "NormedNeuron", "Conv2d", "Identity", "Identity", "NormedNeuron", "Conv2d", "Identity", "IF",
    ]  # fmt: skip
    x = torch.randn(5, 2, 4, 9, 9, dtype=torch.float64)
    with torch.no_grad():
        expected = net(x)
        assert 0.02 < expected.mean() < 0.98
        assert torch.equal(made(x), expected)
    assert torch.equal(made(x), expected), "with gradients recorded too"
    stream = snnkit.Stream(made)
    with torch.no_grad():
        assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "expanded"])
def test_one_pass_is_two_passes_bit_for_bit(layout, dtype):
    torch.manual_seed(1)
    neuron = LIF(tau=1.7, v_threshold=0.7)
    norm = BatchNorm2d(4)
    lively(nn.Sequential(norm))
    joined = NormedNeuron(norm, neuron).to(dtype if dtype != torch.bfloat16 else torch.float32)
    x = laid_out(torch.randn(5, 2, 4, 33, 17), layout).to(dtype)
    scale, shift = (value.view(-1, 1, 1) for value in (joined.scale, joined.shift))
    wide = x.float() if dtype == torch.bfloat16 else x
    with torch.no_grad():
        got, expected = joined(x), neuron(wide * scale + shift)
    assert 0.02 < expected.mean() < 0.98
    assert torch.equal(got, expected.to(dtype))
    assert got.dtype == dtype
