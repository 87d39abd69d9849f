"""The layers break if a way gives another result than torch's layer, or is taken for an input it cannot serve."""

import copy
import itertools

import pytest
import torch
from torch import nn

from snnkit.deploy import PointwiseConv1d
from snnkit.errors import InvalidArgumentError
from snnkit.events import EventConv, EventLinear, base, pack, pack_pixels, quantise
from snnkit.events.base import DENSE, DENSE_INTEGERS
from snnkit.events.choice import EVENTS
from snnkit.events.library import why_not
from snnkit.layers import sequence

needs_c = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

CASES = {
    "linear": (nn.Linear(70, 33), (4, 5, 70)),
    "linear without bias": (nn.Linear(64, 10, bias=False), (40, 64)),
    "conv": (nn.Conv2d(16, 40, 3, padding=1), (2, 16, 7, 9)),
    "conv on an image": (nn.Conv2d(16, 40, 3, padding="same"), (16, 7, 9)),
    "conv, all settings": (nn.Conv2d(5, 7, (3, 2), (2, 1), (2, 0), (1, 2), bias=False), (2, 5, 9, 9)),
    "conv, valid": (nn.Conv2d(5, 7, 3, padding="valid"), (2, 5, 9, 9)),
    "conv, same, even": (nn.Conv2d(5, 7, (4, 2), padding="same", dilation=(1, 3)), (2, 5, 9, 9)),
    "depthwise": (nn.Conv2d(70, 70, 3, padding=1, groups=70), (2, 70, 7, 9)),
    "depthwise, all settings": (nn.Conv2d(9, 9, (3, 2), (2, 1), (2, 0), (1, 2), 9, bias=False), (2, 9, 9, 9)),
    "groups": (nn.Conv2d(12, 20, 3, 2, 1, groups=4), (2, 12, 7, 9)),
    "groups, same, even": (nn.Conv2d(6, 12, (4, 2), padding="same", groups=6), (2, 6, 7, 9)),
    "depthwise 1d, sequence": (sequence.Conv1d(20, 20, 3, padding=1, groups=20), (3, 2, 20, 17)),
    "sequence": (sequence.Conv2d(6, 8, 3, padding=1), (3, 2, 6, 5, 5)),
    "conv1d": (nn.Conv1d(20, 30, 1), (2, 20, 17)),
    "conv1d, wide": (nn.Conv1d(20, 30, 3, 2, 1), (2, 20, 17)),
    "conv1d, sequence": (sequence.Conv1d(20, 30, 3), (3, 2, 20, 17)),
    "linear, sequence": (sequence.Linear(20, 30), (3, 2, 20)),
}


def _stand_in(torch_layer, weights):
    return (EventLinear if isinstance(torch_layer, nn.Linear) else EventConv)(torch_layer, weights)


def _force(made, way, monkeypatch):
    monkeypatch.setattr(base, "race", lambda ways: {name: float(name != way) + 1.0 for name in ways})
    made.forget()


def _spikes(shape, levels=1):
    return (torch.rand(shape) < 0.3).float() * torch.randint(1, levels + 1, shape)


@needs_c
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("way", [EVENTS, DENSE])
@torch.no_grad()
def test_float_layers_equal_torch(name, levels, way, monkeypatch):
    torch_layer, shape = CASES[name]
    made, x = _stand_in(torch_layer, "float32"), _spikes(shape, levels)
    _force(made, way, monkeypatch)
    y, expected = made(x), torch_layer(x)
    assert made.report()["chosen"] == way
    assert y.shape == expected.shape
    assert (y - expected).abs().max() <= 1e-5 * expected.abs().max()


@needs_c
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("levels", [1, 3])
@torch.no_grad()
def test_int8_layers_are_the_same_in_every_way_to_the_last_bit(name, levels, monkeypatch):
    torch_layer, shape = CASES[name]
    made, x = _stand_in(torch_layer, "int8"), _spikes(shape, levels)
    q, scale = quantise(torch_layer.weight)
    exact = copy.deepcopy(torch_layer).double()
    exact.weight.copy_(q)
    bias, exact.bias = exact.bias, None
    along = (-1,) + (1,) * (torch_layer.weight.dim() - 2)
    expected = exact(x.double()).float() * scale.view(along)
    if bias is not None:
        expected += bias.float().view(along)
    for way in (EVENTS, DENSE, DENSE_INTEGERS)[: 3 if getattr(torch_layer, "groups", 1) == 1 else 2]:
        _force(made, way, monkeypatch)
        assert torch.equal(made(x), expected), way
        assert made.report()["chosen"] == way


@needs_c
@torch.no_grad()
def test_channels_last_images_take_the_same_ways(monkeypatch):
    x = _spikes((2, 16, 7, 9)).contiguous(memory_format=torch.channels_last)
    for groups, weights in itertools.product((1, 4, 16), ("float32", "int8")):
        conv = nn.Conv2d(16, 48, 3, groups=groups)
        made = EventConv(conv, weights)
        for way in (EVENTS, DENSE, DENSE_INTEGERS)[: 2 + (weights == "int8" and groups == 1)]:
            _force(made, way, monkeypatch)
            assert made(x).is_contiguous(memory_format=torch.channels_last)
            assert (made(x) - conv(x)).abs().max() < 0.05


@needs_c
@torch.no_grad()
def test_real_input_is_dense_and_says_why():
    linear = nn.Linear(8, 3)
    made, x = EventLinear(linear), torch.randn(6, 8)
    assert torch.equal(made(x), linear(x))
    row = made.report()
    assert row["chosen"] == DENSE
    assert row["reason"].startswith("the input is not spikes: 100% of it are values such as")
    assert row["times_ms"] == {}


@needs_c
@torch.no_grad()
def test_spikes_after_real_values_are_noticed_and_the_other_way_round(monkeypatch):
    linear = nn.Linear(200, 30)
    made = EventLinear(linear)
    _force(made, EVENTS, monkeypatch)
    real, spikes = torch.randn(20, 200), _spikes((20, 200))
    made(real)
    for _ in range(20):
        assert torch.allclose(made(spikes), linear(spikes), atol=1e-5)
    assert made.report()["chosen"] == EVENTS
    assert torch.allclose(made(real), linear(real), atol=1e-5)
    assert made.report()["chosen"] == DENSE


@needs_c
@torch.no_grad()
def test_a_layer_that_sums_integers_densely_still_sees_real_values(monkeypatch):
    made = EventLinear(nn.Linear(50, 20), "int8")
    _force(made, DENSE_INTEGERS, monkeypatch)
    made(_spikes((10, 50)))
    x = torch.rand(10, 50)
    q, scale = made.weight.float(), made.scale
    assert torch.allclose(made(x), x @ q.T * scale + made.bias, atol=1e-5)


@needs_c
@torch.no_grad()
def test_the_way_follows_the_rate(monkeypatch):
    """Events cost ten times the rate, dense costs 1: the crossing lies at 0.1."""
    made = EventLinear(nn.Linear(400, 10))
    rate = 0.0
    monkeypatch.setattr(base, "race", lambda ways: {EVENTS: 10.0 * rate, DENSE: 1.0})
    for rate, expected in ((0.02, EVENTS), (0.5, DENSE), (0.05, EVENTS)):
        x = torch.zeros(20, 400)
        x[:, : int(400 * rate)] = 1.0
        for _ in range(20):
            made(x)
        assert made.report()["chosen"] == expected
        assert made.report()["rate"] == pytest.approx(rate)


@needs_c
@torch.no_grad()
def test_packed_input_is_taken():
    linear, conv = nn.Linear(70, 33), nn.Conv2d(16, 40, 3)
    x, images = _spikes((4, 5, 70)), _spikes((2, 16, 7, 9))
    made = EventLinear(linear)
    assert torch.allclose(made(pack(x)), linear(x), atol=1e-5)
    assert made.report()["reason"] == "the input comes as bits"
    assert torch.allclose(EventConv(conv)(pack_pixels(images)), conv(images), atol=1e-5)


@torch.no_grad()
def test_without_a_compiler_all_is_dense_and_says_why(monkeypatch):
    monkeypatch.setattr(base, "why_not", lambda: "there is no C compiler")
    conv, x = nn.Conv2d(16, 40, 3), _spikes((2, 16, 7, 9))
    made = EventConv(conv)
    assert torch.equal(made(x), conv(x))
    assert made.report()["reason"] == "there is no C compiler"
    last = x.contiguous(memory_format=torch.channels_last)  # in which torch rounds otherwise on some processors
    assert torch.equal(made(pack_pixels(x)), conv(last))


@needs_c
def test_gradients_pass_through_the_dense_way():
    linear, x = nn.Linear(30, 20), _spikes((10, 30)).requires_grad_()
    made = EventLinear(linear)
    made(x).sum().backward()
    assert torch.allclose(x.grad, linear.weight.sum(0).expand(10, -1), atol=1e-5)
    assert "gradient" in made.report()["reason"]


@needs_c
@torch.no_grad()
def test_loaded_and_moved_weights_are_used():
    made, other, x = EventLinear(nn.Linear(30, 20)), nn.Linear(30, 20), _spikes((10, 30))
    made(pack(x))
    made.load_state_dict(other.state_dict())
    assert torch.allclose(made(pack(x)), other(x), atol=1e-5)
    made.double()
    assert torch.allclose(made(x.double()), other.double()(x.double()))


def test_layers_that_events_cannot_serve_are_refused():
    with pytest.raises(InvalidArgumentError, match="'circular': only zeros are silent"):
        EventConv(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"))
    with pytest.raises(InvalidArgumentError, match=r"torch.float64"):
        EventLinear(nn.Linear(4, 4).double())
    with pytest.raises(InvalidArgumentError, match="'float32' and 'int8'"):
        EventLinear(nn.Linear(4, 4), weights="int4")


@needs_c
@torch.no_grad()
def test_images_without_channels_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"2-D convolution takes images of channels, got \(4, 5\)"):
        EventConv(nn.Conv2d(4, 5, 1))(torch.zeros(4, 5))


@needs_c
@torch.no_grad()
def test_more_levels_than_before_are_seen_and_compared_anew(monkeypatch):
    made = EventLinear(nn.Linear(30, 20))
    _force(made, EVENTS, monkeypatch)
    for levels in (1, 4, 2):
        x = torch.full((6, 30), float(levels))
        expected = x @ made.weight.T + made.bias
        assert torch.allclose(made(x), expected, atol=1e-4)
        assert made.report()["rate"] == levels
    assert made.report()["chosen"] == EVENTS
    made(torch.full((6, 30), 16.0))
    assert made.report()["chosen"] == DENSE


@torch.no_grad()
def test_deployed_pointwise_convolutions_keep_their_dense_form():
    conv, x = nn.Conv1d(20, 30, 1), torch.randn(2, 20, 17)
    expected = conv(x)
    conv.__class__ = PointwiseConv1d
    assert torch.allclose(EventConv(conv)(x), expected, atol=1e-6)


@torch.no_grad()
def test_channels_last_weights_make_channels_last_outputs_as_in_torch():
    """The layers after a dense first one, such as pooling, depend on it for their speed."""
    conv, x = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last), torch.randn(2, 3, 8, 8)
    for weights in ("float32", "int8"):
        y = EventConv(conv, weights)(x)
        assert y.stride() == conv(x).stride()
        assert (y - conv(x)).abs().max() < 0.05
