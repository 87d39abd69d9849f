"""Whole-number events through layers in C, against torch's layers and the tracer's step in float64.

Would break it: a window that begins elsewhere, a border that is not 0, odd channels, outputs that fill no panel, a step
that is computed from lists otherwise than densely, sums that are kept in the weights, weights cut to 16 bits.
"""

import math

import pytest
import torch

import snnkit.events.graded as graded
from snnkit.events.graded import Events, Neurons, Pass, Window, empty_events, prepared, split, whole_panels
from snnkit.kernels.tracer.reference import event

pytestmark = pytest.mark.skipif(bool(graded.why_not()), reason="needs a C compiler")

STEPS = 4
CASES = {
    "3x3": (2, 6, 40, 7, 5, Window((3, 3), (1, 1), (1, 1)), False),
    "odd channels, strided": (2, 3, 65, 9, 8, Window((3, 3), (2, 2), (1, 1)), False),
    "1x1 strided": (1, 64, 16, 6, 6, Window((1, 1), (2, 2)), False),
    "dilated, oblong": (1, 4, 5, 9, 10, Window((3, 2), (1, 2), (2, 1), (2, 1)), False),
    "wide": (1, 70, 130, 3, 4, Window((3, 3), (1, 1), (1, 1)), False),
    "rows": (3, 33, 10, 1, 4, Window(), False),
    "depthwise": (2, 67, 67, 6, 5, Window((3, 3), (1, 1), (1, 1)), True),
    "depthwise strided": (1, 16, 16, 7, 7, Window((5, 5), (2, 2), (2, 2)), True),
}


def _events(generator, steps, images, channels, height, width, padding, rate=0.3, size=4):
    x = torch.randint(-size, size + 1, (steps, images, channels, height, width), generator=generator)
    x = x * (torch.rand(x.shape, generator=generator) < rate)
    made = empty_events(steps, images, (height, width), channels, padding)
    made.images().copy_(x.flatten(0, 1))
    made.counts = [[int(torch.count_nonzero(one)), 0] for one in x]
    return x.double(), made


def _product(x, weight, window, depthwise):
    groups = len(weight) if depthwise else 1
    return torch.nn.functional.conv2d(x, weight, None, window.stride, window.padding, window.dilation, groups)


def _wanted(x, weight, bias, window, depthwise, other, ends, scale, low, high, largest):
    """Values and events of all steps, in float64."""
    total_x, sent_before, values, sent = torch.zeros_like(x[0]), 0.0, [], []
    for t in range(len(x)):
        total_x = total_x + x[t]
        y = _product(total_x, weight.double(), window, depthwise) + bias.double()[:, None, None]
        y = (y + other[min(t, len(other) - 1)].double()).clamp(*ends)
        codes = torch.floor(y / scale[:, None, None].double() + 0.5).clamp(low, high)
        o = event(codes - sent_before, -1 if largest == 0 else int(math.log2(largest)))
        sent_before = sent_before + o
        values.append(y)
        sent.append(o)
    return torch.stack(values), torch.stack(sent)


@pytest.mark.parametrize("listed", [0.0, 0.5, 2.0], ids=["dense", "chosen", "listed"])
@pytest.mark.parametrize("bits", [9, 17])
@pytest.mark.parametrize("case", CASES)
def test_values_and_events_are_those_of_whole_numbers(monkeypatch, case, bits, listed):
    images, channels, outputs, height, width, window, depthwise = CASES[case]
    monkeypatch.setattr(graded, "LISTED_BELOW", listed)
    g = torch.Generator().manual_seed(3)
    shape = (outputs, 1 if depthwise else channels, *window.kernel)
    # Few large weights: what has more than 16 bits must be no part that vanishes, and sums stay below 2^24.
    weight = torch.randint(-(2**9), 2**9, shape, generator=g).float() / 2**12
    weight.view(outputs, -1)[:, 0] = (2**bits - 1) / 2**12
    bias = torch.randint(-999, 999, (outputs,), generator=g).float() / 2**12
    padding = (window.padding[0] + 1, window.padding[1])  # a buffer may be padded for another layer
    x, made = _events(g, STEPS, images, channels, height, width, padding)
    made.counts[1] = [made.buffer[0].numel(), 0]  # so that a chosen way differs from step to step
    layer = prepared(weight, bias, window, 30, depthwise)
    assert layer is not None
    assert (layer.shift > 0) == (bits > 15 and not depthwise)
    size = _product(x[0], weight.double(), window, depthwise).shape
    other = torch.randint(-50, 50, (2, *size), generator=g).float() / 8
    scale, ends, largest = torch.rand(outputs, generator=g) + 0.1, (-2.0, 6.0), 4
    pixels = (images, *size[2:])
    one = Pass(pixels, outputs, STEPS + 1, layer, split(made, layer.shift) if layer.shift else made)
    one.sums = layer.bias.repeat(math.prod(pixels), 1)
    one.other = other.permute(0, 1, 3, 4, 2).contiguous()
    one.least, one.most = ends
    one.neurons = Neurons(whole_panels(scale, 1.0), -3, 12, largest)
    one.total = torch.zeros(math.prod(pixels), len(layer.step))
    one.sent = empty_events(STEPS + 1, images, size[2:], outputs, (1, 2))
    one.y = torch.empty(one.steps_y, *pixels, outputs)
    one.run()

    later = torch.cat([x, torch.zeros_like(x[:1])])
    values, sent = _wanted(later, weight, bias, window, depthwise, other, ends, scale, -3, 12, largest)
    assert torch.equal(one.y.permute(0, 1, 4, 2, 3).double(), values[:STEPS])
    counts = [[int(torch.count_nonzero(o)), int(o.abs().sum())] for o in sent]
    assert one.sent.counts == counts
    assert one.sent.steps == max(t + 1 for t, (events, _) in enumerate(counts) if events)
    got = Events(one.sent.buffer, STEPS + 1, (1, 2), outputs, []).images().double()
    assert torch.equal(got.view_as(sent), sent)
    border = one.sent.buffer.clone()
    border[:, :, 1:-1, 2:-2] = 0
    assert not border.any()
    assert torch.equal(one.total[:, :outputs].double(), sent.sum(0).permute(0, 2, 3, 1).reshape(-1, outputs))


@pytest.mark.parametrize("largest", [0, 1, 8])
def test_neurons_alone_send_what_is_missing(largest):
    g = torch.Generator().manual_seed(1)
    y = torch.randn(3, 2, 1, 5, 7, generator=g) * 9
    one = Pass((2, 1, 5), 7, 6, other=y, neurons=Neurons(whole_panels(torch.full((7,), 0.7), 1.0), -8, 7, largest))
    one.total = whole_panels(torch.zeros(10, 7))
    one.sent = empty_events(6, 2, (1, 5), 7, (0, 0))
    one.run()
    total = torch.zeros_like(y[0])
    for t in range(6):
        codes = torch.floor(y[min(t, 2)] / 0.7 + 0.5).clamp(-8, 7)
        o = event(codes - total, -1 if largest == 0 else int(math.log2(largest)))
        total = total + o
        assert torch.equal(one.sent.buffer[t, ..., :7].float(), o)


def test_weights_off_any_exact_grid_are_left_to_others():
    assert prepared(torch.tensor([[1.0, 2.0**-23]]), None, Window(), 15) is None  # 2^23 · 15 > 2^24
    assert prepared(torch.tensor([[1.0, 0.5]]), torch.tensor([2.0**-24]), Window(), 1) is None
    assert prepared(torch.tensor([[1.0, 0.5]]), None, Window(), 1 << 15) is None  # events of 16 bits
    assert prepared(torch.zeros(2, 3), None, Window(), 15) is not None
