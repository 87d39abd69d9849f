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
from snnkit.layers.layer_scale import LayerScale
from snnkit.layers.normed_neuron import NormedNeuron
from snnkit.layers.residual_depthwise import ResidualDepthwise
from snnkit.layers.same_padding import SameConv2d
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


# Ordinary networks: norms before convolutions, layer scales, skip connections beside depthwise convolutions.


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 9, 1),
        nn.Conv2d(6, 9, 1, bias=False),
        nn.Conv2d(6, 12, 3, groups=3),
        nn.Conv2d(6, 6, (2, 3), stride=2, groups=6, bias=False),
    ],
    ids=repr,
)
@pytest.mark.parametrize("affine", [True, False])
def test_a_norm_goes_into_the_convolution_behind_it(conv, affine):
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(6, affine=affine), conv, nn.BatchNorm2d(conv.out_channels))
    for norm in (net[0], net[2]):
        nn.init.uniform_(norm.running_mean, -1, 1)
        nn.init.uniform_(norm.running_var, 0.2, 3)
    if affine:
        nn.init.uniform_(net[0].weight, -1, 2)
        nn.init.uniform_(net[0].bias, -1, 1)
    net, x = net.double().eval(), torch.randn(2, 6, 7, 8).double()
    made = deploy(net)
    assert [type(part) for part in made] == [nn.Identity, nn.Conv2d, nn.Identity]
    torch.testing.assert_close(made(x), net(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("conv", [nn.Conv2d(6, 6, 3, padding=1), SameConv2d(6, 6, 3), SameConv2d(6, 6, 3, 2)], ids=repr)
def test_a_norm_before_padding_stays(conv):
    """A border of zeros is no border of shifts."""
    torch.manual_seed(0)
    net, x = lively(nn.Sequential(nn.BatchNorm2d(6), conv)).double(), torch.randn(2, 6, 7, 8).double()
    made = deploy(net)
    assert isinstance(made[0], nn.BatchNorm2d)
    torch.testing.assert_close(made(x), net(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "layer", [nn.Linear(4, 6), nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1, bias=False)], ids=repr
)
def test_layer_scales_go_into_the_layer_before_them(layer):
    torch.manual_seed(0)
    linear = isinstance(layer, nn.Linear)
    net = nn.Sequential(layer, LayerScale(6, channel_axis=-1 if linear else 1)).double().eval()
    nn.init.uniform_(net[1].gamma, -1, 2)
    x = torch.randn(2, 4, 7, 4 if linear else 8).double()
    made = deploy(net)
    assert isinstance(made[1], nn.Identity)
    torch.testing.assert_close(made(x), net(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_skip_connection_goes_into_its_depthwise_convolution(dims):
    torch.manual_seed(0)
    net, x = nn.Sequential(ResidualDepthwise(5, 3, dims)).double(), torch.randn(2, 5, *(4, 6, 7)[:dims]).double()
    made = deploy(net)
    assert type(made[0]) in (nn.Conv2d, nn.Conv3d)
    torch.testing.assert_close(made(x), net(x), rtol=1e-12, atol=1e-12)


IMAGE = {"depths": (1, 1, 1, 1), "img_size": 64, "num_classes": 5}
NARROW = {"dims": (8, 8, 16, 16), "head_dim": 8}
ORDINARY = {
    "uniformer_base_ls": {**IMAGE, **NARROW, "local_layer_scale": True},
    "uniformer_small_plus": {**IMAGE, **NARROW},
    "uniformer_xxs": {**IMAGE, **NARROW},
    "uniformer_video_small": {**IMAGE, **NARROW, "attention": "divided"},
    "tiny_moat_0": {**IMAGE, "stem_dim": 8, "dims": (8, 16, 32, 64)},
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_models_exactly(name):
    torch.manual_seed(0)
    model = lively(snnkit.create_model(name, **ORDINARY[name])).double()
    for part in model.modules():
        if isinstance(part, LayerScale):
            nn.init.uniform_(part.gamma, 0.5, 1.5)
    x = torch.randn(2, 3, *((4,) if "video" in name else ()), 64, 64).double()
    made = deploy(model)
    left = [key for key, part in made.named_modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert left == ([] if "moat" in name else ["norm"]), "only the norm of the tail has no convolution beside it"
    assert not any(isinstance(part, (LayerScale, ResidualDepthwise)) for part in made.modules())
    with torch.no_grad():
        expected = model(x)
        for got in (made(x), deploy(model, channels_last=False)(x), deploy(model, example=x)(x)):
            assert (got - expected).abs().max() <= 1e-12 * expected.abs().max()
        for other in (x[..., :32], x[:1]):
            torch.testing.assert_close(made(other), model(other), rtol=1e-10, atol=1e-10)


def test_every_kind_of_pointwise_convolution_can_be_a_product(monkeypatch):
    from snnkit import deploy as module

    torch.manual_seed(0)
    for conv, x in (
        (nn.Conv2d(4, 6, 1), torch.randn(2, 4, 5, 3)),
        (nn.Conv3d(4, 6, 1, bias=False), torch.randn(2, 4, 2, 5, 3)),
    ):
        expected, slow = conv(x), type(conv).forward
        monkeypatch.setattr(module, "_seconds", lambda forward, *_, slow=slow: float(forward is slow))
        made = deploy(nn.Sequential(conv), example=x)
        assert type(made[0]).__name__ == f"Pointwise{type(conv).__name__}"
        torch.testing.assert_close(made(x), expected)
    for other in (nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 4, 1, stride=2), nn.Conv2d(4, 4, 1, padding=1)):
        assert type(deploy(nn.Sequential(other), example=torch.randn(1, 4, 4, 4))[0]) is nn.Conv2d
