"""Grouped event sums break if an event reaches a wrong group, tap or image, a word's end is missed, or a sum wraps."""

import pytest
import torch
from torch.nn import functional as F

from snnkit.errors import InvalidArgumentError
from snnkit.events import Geometry, event_group_conv, group_weights, groups, pack_pixels
from snnkit.events.library import why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

PLAIN = Geometry((3, 3), padding=(1, 1))
ODD = Geometry((5, 2), (2, 3), (2, 0), (1, 2))
CONVS = [
    # images, channels, outputs, groups, height, width, geometry
    (2, 130, 130, 130, 7, 9, PLAIN),  # depthwise, more than two words
    (3, 64, 64, 64, 11, 8, ODD),
    (2, 5, 5, 5, 9, 9, Geometry((3, 3), (1, 1), (4, 4), (3, 3))),  # padding wider than the kernel reaches
    (2, 6, 6, 6, 9, 6, Geometry((2, 4), more=(1, 3))),
    (2, 4, 4, 4, 1, 20, Geometry((1, 3), (1, 2), (0, 1))),
    (2, 6, 24, 6, 7, 9, PLAIN),  # several outputs of each input
    (2, 12, 4, 4, 7, 9, ODD),  # one output of several inputs
    (3, 12, 30, 6, 6, 7, PLAIN),
    (2, 130, 66, 2, 5, 5, Geometry()),
    (2, 32, 64, 4, 6, 6, Geometry((3, 3), (3, 3))),  # steps beyond the kernel
]


def _spikes(*shape, rate=0.2, levels=1):
    return (torch.rand(shape) < rate).float() * torch.randint(1, levels + 1, shape)


def _dense(x, weight, g, count, bias=None):
    (top, left), (below, right) = g.padding, g.more
    x = F.pad(x.double(), (left, left + right, top, top + below))
    return F.conv2d(x, weight.double(), bias, g.stride, 0, g.dilation, count)


@pytest.fixture(params=["lists", "bits"], autouse=True)
def way(request, monkeypatch):
    monkeypatch.setattr(groups, "_MANY", float("inf") if request.param == "lists" else -1.0)


@pytest.mark.parametrize(("n", "channels", "outputs", "count", "height", "width", "g"), CONVS)
@pytest.mark.parametrize("rate", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("levels", [1, 3])
def test_equal_to_the_dense_convolution(n, channels, outputs, count, height, width, g, rate, levels):
    x = _spikes(n, channels, height, width, rate=rate, levels=levels)
    w, b, scale = torch.randn(outputs, channels // count, *g.kernel), torch.randn(outputs), torch.rand(outputs) + 0.5
    q = torch.randint(-127, 128, w.shape, dtype=torch.int8)
    packed, expected = pack_pixels(x, levels), _dense(x, w, g, count, b.double())
    y = event_group_conv(packed, group_weights(w, count, b), g)
    assert y.shape == expected.shape
    assert (y - expected).abs().max() <= 1e-5 * (1 + expected.abs().max())
    sums = event_group_conv(packed, group_weights(q, count), g)
    assert sums.dtype == torch.int32
    assert torch.equal(sums.double(), _dense(x, q, g, count))
    along = (-1, 1, 1)
    scaled = event_group_conv(packed, group_weights(q, count, b, scale), g)
    assert torch.equal(scaled, sums.float() * scale.view(along) + b.view(along))


@pytest.mark.parametrize("sign", [127, -128])
@pytest.mark.parametrize("outputs", [3, 6])
def test_sums_that_would_overflow_16_bits(sign, outputs):
    """Hundreds of equal largest weights under one kernel: flushed too late, the sum would wrap."""
    q = torch.full((outputs, 1, 40, 40), sign, dtype=torch.int8)
    y = event_group_conv(pack_pixels(torch.ones(1, 3, 40, 40)), group_weights(q, 3), Geometry((40, 40)))
    assert (y == sign * 1600).all()


@pytest.mark.parametrize("outputs", [8, 16])
def test_shared_among_threads_the_result_is_the_same(outputs):
    """Shares end inside of images: no event may be lost or counted twice there."""
    prepared, images = group_weights(torch.randn(outputs, 1, 3, 3), 8), pack_pixels(_spikes(3, 8, 25, 23))
    one = event_group_conv(images, prepared, PLAIN)
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    try:
        assert torch.equal(event_group_conv(images, prepared, PLAIN), one)
    finally:
        torch.set_num_threads(before)


def test_wrong_groups_and_sizes_are_named():
    with pytest.raises(InvalidArgumentError, match="groups=3 do not divide the 4 outputs"):
        group_weights(torch.zeros(4, 2, 3, 3), 3)
    with pytest.raises(InvalidArgumentError, match="have 5 channels, the weights take 8"):
        event_group_conv(pack_pixels(torch.ones(1, 5, 4, 4)), group_weights(torch.zeros(4, 2, 3, 3), 4), PLAIN)
    with pytest.raises(InvalidArgumentError, match="no float bias"):
        group_weights(torch.zeros(2, 1, 1, 1, dtype=torch.int8), 2, torch.zeros(2))
