"""Training by events. Would break it: a tap beside its place, an edge, a stride, real inputs taken as spikes."""

import copy

import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.events import Geometry, pack_pixels, train_by_events, weight_gradient
from snnkit.events.choice import EVENTS, Choice
from snnkit.events.library import why_not
from snnkit.layers import ConvBN
from snnkit.neurons import LIF

pytestmark = pytest.mark.skipif(bool(why_not()), reason="no C compiler")

GEOMETRIES = [
    Geometry((1, 1)),
    Geometry((3, 3), padding=(1, 1)),
    Geometry((3, 3), stride=(2, 2), padding=(1, 1)),
    Geometry((7, 7), padding=(3, 3)),
    Geometry((3, 2), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),
]


def spikes(*shape, rate=0.2):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(0)) < rate).float()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(
    ("channels", "outputs", "depthwise"), [(5, 7, False), (70, 96, False), (3, 64, False), (70, 70, True)]
)
def test_gradient_of_weights(geometry, channels, outputs, depthwise):
    x = spikes(3, channels, 9, 11)
    groups = channels if depthwise else 1
    g = geometry
    conv = nn.Conv2d(channels, outputs, g.kernel, g.stride, g.padding, g.dilation, groups, bias=False).double()
    y = conv(x.double())
    gradient = torch.randn(y.shape)
    y.backward(gradient.double())
    found = weight_gradient(pack_pixels(x), gradient, geometry, depthwise)
    torch.testing.assert_close(found.double(), conv.weight.grad, rtol=1e-5, atol=1e-4)


def test_another_gradient_is_refused():
    with pytest.raises(InvalidArgumentError, match="output"):
        weight_gradient(pack_pixels(spikes(2, 3, 5, 5)), torch.zeros(2, 4, 5, 5), Geometry((3, 3)))


def network():
    torch.manual_seed(0)
    layers = [ConvBN(2, 24, 3), LIF(), ConvBN(24, 40, 3, stride=2, bias=True), LIF()]
    layers += [snnkit.layers.sequence.Conv2d(40, 40, 7, padding=3, groups=40), LIF(v_threshold=0.2), ConvBN(40, 8, 1)]
    net = nn.Sequential(*layers).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.bias, 0.7)
    return net


@pytest.mark.parametrize("way", ["events", "dense"])
def test_a_network_trains_the_same(way, monkeypatch):
    monkeypatch.setattr(Choice, "at", lambda self, rate: way)
    plain = network()
    ours = train_by_events(plain)
    assert list(ours.state_dict()) == list(plain.state_dict())
    x = torch.randn(3, 2, 2, 12, 10)
    results = []
    for net in (plain, ours):
        y = net(x)
        y.square().sum().backward()
        results.append([y, *(p.grad for p in net.parameters()), *net.buffers()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(b, a, rtol=2e-3, atol=2e-3)
    assert EVENTS == "events"


def test_spikes_are_kept_as_bits():
    net = train_by_events(nn.Sequential(nn.Conv2d(64, 8, 3, padding=1)))
    kept = []
    x = spikes(4, 64, 16, 16).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        net(x)
    assert sum(kept) - net[0].weight.nbytes == x.nbytes // 32


def test_real_inputs_and_other_types_compute_as_before():
    plain = nn.Conv2d(3, 4, 3)
    ours = train_by_events(plain)
    for x in (torch.randn(2, 3, 6, 6), spikes(2, 3, 6, 6).double()):
        a, b = copy.deepcopy(plain).to(x.dtype), copy.deepcopy(ours).to(x.dtype)
        assert torch.equal(a(x), b(x))
    with torch.no_grad():
        assert torch.equal(plain(spikes(2, 3, 6, 6)), ours(spikes(2, 3, 6, 6)))


def test_its_memory_can_be_planned():
    """In a simulation there are no spikes to look at: layers count as dense ones, an upper bound."""
    plan = snnkit.memory.plan(train_by_events(network()), torch.randn(3, 2, 2, 12, 10), "1GiB")
    assert plan.peak > 0
