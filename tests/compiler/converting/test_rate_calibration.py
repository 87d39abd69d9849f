"""Calibrated rates: every step against the same arithmetic in plain loops, and what they are for, on images.

Would break it: means of other samples or axes, layers mended in another order, a shift that is forgotten when the bias
comes, a grid that starts elsewhere.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from compiler import capture, interpret
from compiler.converting.rate import rate_coded, rate_logits
from compiler.converting.rate_calibration import calibrated_rate_coded
from compiler.converting.rate_thresholds import LeastError
from compiler.graph import GraphBuilder
from compiler.passes import simplify
from snnkit.data.fashion_mnist import load
from snnkit.errors import InvalidArgumentError

STEPS = 6


class Small(nn.Module):
    """Two layers that spike, the first with channels of six places, the second with one place a channel."""

    def __init__(self):
        super().__init__()
        self.conv, self.hidden, self.head = nn.Conv1d(1, 3, 3), nn.Linear(18, 7), nn.Linear(7, 2)

    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(1)
        return self.head(torch.relu(self.hidden(x)))


def small():
    torch.manual_seed(11)
    model = Small().double().eval()
    x = torch.randn(150, 1, 8, dtype=torch.float64)
    return model, x, simplify(capture(model, x[:2]))


def least_error(values, steps):
    """The threshold of one row of values, candidate by candidate."""
    best = (np.inf, 0.0)
    for index in range(95):
        theta = values.max() * (1 - 0.01 * index)
        levels = np.clip(np.floor(values / theta * steps), 0, steps) * theta / steps
        best = min(best, (((values - levels) ** 2).mean(), -theta))
    return -best[1]


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_the_threshold_of_least_error(steps):
    values = np.abs(np.random.default_rng(0).standard_normal((3, 500))) * [[1.0], [2.0], [0.1]]
    found = LeastError(torch.from_numpy(values.max(1)), steps)
    for part in np.split(values, [100, 350], axis=1):
        found.update(torch.from_numpy(part))
    np.testing.assert_allclose(found.result().numpy(), [least_error(row, steps) for row in values], rtol=1e-12)


def run_if(current, theta, initial, steps):
    """Mean over T of θ times the spikes of neurons, step by step, and the spikes."""
    v, sent = initial * np.ones_like(current[0]), []
    for now in current:
        v = v + now / theta
        sent.append((v >= 1).astype(float))
        v = v - sent[-1]
    return theta * np.stack(sent)


def by_hand(model, x, channel_wise, shift, bias, potential):
    """Calibrate the small network in numpy and return its output at every step."""
    w = {name: p.detach().numpy() for name, p in model.named_parameters()}

    def conv(z):
        windows = np.stack([z[..., 0, i : i + 6] for i in range(3)], -1)
        return np.einsum("...pk,ck->...cp", windows, w["conv.weight"][:, 0]) + w["conv.bias"][:, None]

    def hidden(z):
        return z.reshape(*z.shape[:-2], 18) @ w["hidden.weight"].T + w["hidden.bias"]

    first = np.maximum(conv(x), 0)
    wanted = [first, np.maximum(hidden(first), 0)]
    feed = np.broadcast_to(x, (STEPS, *x.shape))
    for layer, ann in zip((conv, hidden), wanted, strict=True):
        channels = ann.shape[1]
        rows = ann.swapaxes(0, 1).reshape(channels, -1)
        one = [least_error(row, STEPS) for row in (rows if channel_wise else rows.reshape(1, -1))]
        theta = np.array(one).reshape(-1, *[1] * (ann.ndim - 2)) if channel_wise else one[0]
        more, initial = (theta / (2 * STEPS) if shift else 0.0), 0.0
        current = layer(feed)
        if bias:
            missing = (ann - run_if(current + more, theta, initial, STEPS).mean(0)).mean(0)
            more = more + missing.reshape(channels, -1).mean(1).reshape(-1, *[1] * (ann.ndim - 2))
        if potential:
            missing = (ann - run_if(current + more, theta, initial, STEPS).mean(0)).mean(0)
            initial = missing * STEPS / theta
        feed = run_if(current + more, theta, initial, STEPS)
    return feed @ w["head.weight"].T + w["head.bias"]


@pytest.mark.parametrize("channel_wise", [False, True])
@pytest.mark.parametrize(
    ("shift", "bias", "potential"),
    [(False, False, False), (True, False, False), (False, True, False), (True, True, False), (True, True, True)],
)
def test_every_step_as_by_hand(channel_wise, shift, bias, potential):
    model, x, graph = small()
    choice = {"channel_wise": channel_wise, "shift": shift, "bias": bias, "potential": potential}
    for batches in (x, (part for part in x.split(40))):
        converted = calibrated_rate_coded(graph, batches, timesteps=STEPS, **choice)
        output, _ = interpret(converted, x)
        expected = by_hand(model, x.numpy(), **choice)
        np.testing.assert_allclose(output.numpy(), expected, rtol=0, atol=1e-9)


def test_one_neuron_by_hand():
    """θ = 1 for (0.5, 1) in T = 2 steps; 0.9 for (0.9, 1), whose mean 0.95 lacks 0.05."""
    builder = GraphBuilder("one neuron")
    y = builder.add("relu", (builder.input("x", (1,)),), name="y")
    graph = builder.finish([builder.add("linear", (y,), parameters={"weight": torch.ones(1, 1, dtype=torch.float64)})])
    exact = torch.tensor([[0.5], [1.0]], dtype=torch.float64)
    converted = calibrated_rate_coded(graph, exact, timesteps=2, shift=False)
    assert rate_logits(converted, exact)[:, :, 0].tolist() == [[0.0, 1.0], [0.5, 1.0]]
    # θ = 1 would miss 0.9 by 0.4, 0.9 misses 1 by 0.1.
    near = torch.tensor([[0.9], [1.0]], dtype=torch.float64)
    plain = calibrated_rate_coded(graph, near, timesteps=2, shift=False, bias=False)
    assert rate_logits(plain, near)[-1, :, 0].tolist() == pytest.approx([0.9, 0.9])
    mended = calibrated_rate_coded(graph, near, timesteps=2, shift=False)
    # 2·0.41 is no 0.9; 2·(0.41 + 0.05) is one.
    x = torch.tensor([[0.41]], dtype=torch.float64)
    assert rate_logits(plain, x)[-1].item() == 0.0
    assert rate_logits(mended, x)[-1].item() == pytest.approx(0.45)


class Net(nn.Module):
    """A small convolutional network with a shortcut."""

    def __init__(self, width=12):
        super().__init__()
        self.stem, self.norm1 = nn.Conv2d(1, width, 3, 2, 1), nn.BatchNorm2d(width)
        self.mix, self.norm2 = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)
        self.down, self.norm3 = nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width)
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x):
        x = torch.relu(self.norm1(self.stem(x)))
        x = torch.relu(self.norm2(self.mix(x)) + x)
        return self.head(torch.relu(self.norm3(self.down(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def trained():
    """A network that learned Fashion-MNIST at 14 × 14 for seconds, 256 images to calibrate, 400 to test."""
    data = load("vendored")
    images = [
        F.avg_pool2d(torch.from_numpy(x[:count]).float().unsqueeze(1) / 255, 2)
        for x, count in ((data.x_train, 3000), (data.x_test, 400))
    ]
    labels = [torch.from_numpy(y[: len(x)]).long() for x, y in zip(images, (data.y_train, data.y_test), strict=True)]
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(5):
        for index in torch.randperm(3000).split(60):
            optimizer.zero_grad()
            F.cross_entropy(model(images[0][index]), labels[0][index]).backward()
            optimizer.step()
    graph = simplify(capture(model.eval(), images[0][:1]))
    with torch.no_grad():
        accuracy = float((model(images[1]).argmax(1) == labels[1]).float().mean())

    def test(converted):
        decisions = rate_logits(converted, images[1])[-1].argmax(1)
        return float((decisions == labels[1]).float().mean())

    return graph, images[0][:256], test, accuracy


def test_the_published_order_of_methods(trained):
    graph, x, test, accuracy = trained
    largest = {T: test(rate_coded(graph, x, timesteps=T)) for T in (8, 16)}
    rounded = test(rate_coded(graph, x, timesteps=8, mode="99%", channel_wise=True, half_threshold=True))
    calibrated = {T: test(calibrated_rate_coded(graph, x, timesteps=T)) for T in (8, 16)}
    assert accuracy > 0.7
    assert rounded > largest[8] + 0.2
    assert calibrated[16] > largest[16] + 0.1
    assert calibrated[8] > accuracy - 0.15
    assert calibrated[16] > accuracy - 0.05


def test_each_part_of_the_calibration_helps(trained):
    graph, x, test, _ = trained
    parts = ((False, False), (False, True), (True, True))
    bare, bias, both = (test(calibrated_rate_coded(graph, x, timesteps=4, shift=s, bias=b)) for s, b in parts)
    assert bias > bare + 0.1
    assert both > bias


def test_bad_arguments():
    _, x, graph = small()
    with pytest.raises(InvalidArgumentError, match="timesteps=0"):
        calibrated_rate_coded(graph, x, timesteps=0)
    with pytest.raises(InvalidArgumentError, match=r"of shape \(150, 8\); the graph takes \(B, 1, 8\)"):
        calibrated_rate_coded(graph, x[:, 0], timesteps=2)
    with pytest.raises(InvalidArgumentError, match="not finite"):
        calibrated_rate_coded(graph, x / 0, timesteps=2)


def test_a_silent_channel_is_calibrated_and_said():
    model, x, _ = small()
    nn.init.constant_(model.hidden.bias[2:3], -50.0)
    graph = simplify(capture(model, x[:2]))
    with pytest.warns(UserWarning, match="1 of 7 in relu"):
        converted = calibrated_rate_coded(graph, x, timesteps=4, channel_wise=True, potential=True)
    assert bool(torch.isfinite(rate_logits(converted, x)).all())
