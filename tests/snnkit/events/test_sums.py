"""Event sums break if a tap, an edge, a panel's end or an overflow is wrong: integers must equal int64 sums."""

import pytest
import torch
from torch.nn import functional as F

from snnkit.errors import InvalidArgumentError, NonFiniteError
from snnkit.events import Geometry, event_conv, event_linear, pack, pack_pixels, panels, quantise
from snnkit.events.groups import group_weights
from snnkit.events.library import why_not
from snnkit.events.sums import scale_in_place

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")

SHAPES = [(1, 1, 1), (5, 63, 31), (64, 64, 32), (33, 130, 65), (300, 512, 200), (2100, 20, 3)]
CONVS = [
    # images, channels, outputs, height, width, geometry
    (2, 16, 40, 7, 9, Geometry((3, 3), padding=(1, 1))),
    (1, 65, 33, 6, 5, Geometry((3, 3))),
    (3, 3, 64, 11, 8, Geometry((5, 2), (2, 3), (2, 0), (1, 2))),
    (2, 130, 10, 4, 4, Geometry()),
    (1, 2, 5, 9, 9, Geometry((3, 3), (1, 1), (4, 4), (3, 3))),
    (2, 4, 6, 1, 20, Geometry((1, 3), (1, 2), (0, 1))),
]


def _spikes(*shape, rate=0.2, levels=1):
    return (torch.rand(shape) < rate).float() * torch.randint(1, levels + 1, shape)


@pytest.mark.parametrize(("rows", "k", "n"), SHAPES)
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.7, 1.0])
@pytest.mark.parametrize("levels", [1, 3])
def test_linear(rows, k, n, rate, levels):
    x, w, b = _spikes(rows, k, rate=rate, levels=levels), torch.randn(n, k), torch.randn(n)
    q = torch.randint(-127, 128, (n, k), dtype=torch.int8)
    packed = pack(x, levels)
    exact = x.double() @ w.double().T + b
    assert (event_linear(packed, panels(w, b)) - exact).abs().max() <= 1e-5 * (1 + exact.abs().max())
    sums = event_linear(packed, panels(q))
    assert sums.dtype == torch.int32
    assert torch.equal(sums.long(), x.long() @ q.long().T)
    scale = torch.rand(n) + 0.5
    assert torch.equal(event_linear(packed, panels(q, b, scale)), sums.float() * scale + b)
    assert torch.equal(scale_in_place(sums.clone(), scale, b), sums.float() * scale + b)


@pytest.mark.parametrize("sign", [127, -128])
def test_sums_that_would_overflow_16_bits(sign):
    """Thousands of equal largest weights: flushed too late, the sum would wrap."""
    x, q = torch.ones(3, 5000), torch.full((70, 5000), sign, dtype=torch.int8)
    assert (event_linear(pack(x), panels(q)) == sign * 5000).all()


@pytest.mark.parametrize(("n", "channels", "outputs", "height", "width", "g"), CONVS)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("levels", [1, 2])
def test_conv(n, channels, outputs, height, width, g, order, levels):
    x = _spikes(n, channels, height, width, levels=levels).contiguous(memory_format=order)
    w, b = torch.randn(outputs, channels, *g.kernel), torch.randn(outputs)
    q = torch.randint(-127, 128, w.shape, dtype=torch.int8)
    packed = pack_pixels(x, levels)

    def dense(weight, bias=None):
        return F.conv2d(x.double(), weight.double(), bias, g.stride, g.padding, g.dilation)

    y = event_conv(packed, panels(w, b), g)
    assert y.shape == dense(w).shape
    assert (y - dense(w, b.double())).abs().max() <= 1e-5 * (1 + dense(w).abs().max())
    assert torch.equal(event_conv(packed, panels(q), g).double(), dense(q))


def test_many_rows_and_events_do_not_fit_into_one_block():
    """More rows than a block takes, and more events than its lists hold."""
    x, q = _spikes(5000, 100, rate=0.6), torch.randint(-127, 128, (70, 100), dtype=torch.int8)
    assert torch.equal(event_linear(pack(x), panels(q)).long(), x.long() @ q.long().T)


def test_shared_among_threads_the_result_is_the_same():
    x, w = _spikes(3000, 90), torch.randn(50, 90)
    prepared, packed = panels(w), pack(x)
    images, kernel = pack_pixels(_spikes(4, 8, 20, 20)), panels(torch.randn(9, 8, 3, 3))
    one, conv = event_linear(packed, prepared), event_conv(images, kernel, Geometry((3, 3)))
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(event_linear(packed, prepared), one)
        assert torch.equal(event_conv(images, kernel, Geometry((3, 3))), conv)
    finally:
        torch.set_num_threads(before)


def test_leading_dimensions_are_kept():
    x, w = _spikes(2, 3, 4, 40), torch.randn(6, 40)
    assert torch.allclose(event_linear(pack(x), panels(w)), x @ w.T, atol=1e-5)


def test_wrong_weights_and_sizes_are_named():
    with pytest.raises(InvalidArgumentError, match=r"float32 or int8, got torch.float64"):
        panels(torch.zeros(2, 2, dtype=torch.float64))
    with pytest.raises(InvalidArgumentError, match="no float bias"):
        panels(torch.zeros(2, 2, dtype=torch.int8), torch.zeros(2))
    with pytest.raises(InvalidArgumentError, match="not the 5 inputs"):
        event_linear(pack(torch.ones(2, 4)), panels(torch.zeros(2, 5)))
    with pytest.raises(InvalidArgumentError, match="2 × 2 is smaller than the kernel"):
        event_conv(pack_pixels(torch.ones(1, 1, 2, 2)), panels(torch.zeros(1, 1, 3, 3)), Geometry((3, 3)))


def test_quantised_weights_are_the_nearest():
    w = torch.randn(20, 3, 5, 5) * torch.logspace(-6, 6, 20).view(-1, 1, 1, 1)
    w[3] = 0.0
    q, scale = quantise(w)
    assert q.abs().amax() == 127
    assert not q[3].any()
    assert scale[3] == 1.0
    error = (q * scale.view(-1, 1, 1, 1) - w).abs().flatten(1).amax(1)
    assert (error <= scale * 0.50001).all()
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        quantise(torch.tensor([[float("nan")]]))


@pytest.mark.parametrize("wrong", [torch.zeros(1), torch.zeros(33), torch.zeros(40, 1), torch.zeros(40).double()])
@pytest.mark.parametrize("which", ["bias", "scale"])
def test_a_bias_or_scale_that_is_not_one_an_output_is_named(which, wrong):
    """Forty outputs are two panels: a bias of one number would be read beyond its end."""
    for weight, prepare in (
        (torch.zeros(40, 8), panels),
        (torch.zeros(40, 8, 1, 1), lambda w, **v: group_weights(w, 1, **v)),
    ):
        weight = weight.to(torch.int8) if which == "scale" else weight
        with pytest.raises(InvalidArgumentError, match=f"the {which} of 40 event outputs"):
            prepare(weight, **{which: wrong})
