"""Axonal delays: shifts by hand, lava-dl's shift, finite differences, streams.

Would break it: a delay one step off, a spike that enters from the end of the sequence, channels mixed up, a gradient of
the wrong sign, delays that leave their range for good, history lost (or of the wrong length) between chunks.
"""

import copy

import pytest
import torch
from torch import nn

import compiler
import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import LIF, AxonalDelay


def spikes(*shape, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) < 0.4).double()


def shifted(x, delays):
    """The same, channel by channel."""
    y = torch.zeros_like(x)
    for c, d in enumerate(delays):
        y[d:, :, c] = x[: len(x) - d, :, c]
    return y


def test_by_hand():
    x = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]).unsqueeze(1)
    y = AxonalDelay(2, 3, delay=torch.tensor([1, 3]))(x)
    assert y[:, 0].T.tolist() == [[0, 1, 0, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize("shape", [(9, 2, 5), (9, 2, 5, 3, 4)], ids=str)
@pytest.mark.parametrize("trainable", [False, True])
def test_whole_delays_shift(shape, trainable):
    delays = [0, 1, 4, 9, 12]  # also longer than the sequence
    x = spikes(*shape)
    got = AxonalDelay(5, 12, trainable, torch.tensor(delays))(x)
    assert torch.equal(got, shifted(x, [min(d, 9) for d in delays]))
    assert got.shape == x.shape
    assert got.dtype == x.dtype


def test_real_delays_interpolate():
    x = torch.zeros(5, 1, 1, dtype=torch.float64)
    x[1] = 1.0
    net = AxonalDelay(1, 3, True, 1.25).double()
    assert net(x).flatten().tolist() == [0, 0, 0.75, 0.25, 0]


def test_gradient_by_finite_differences():
    x, weight = torch.randn(8, 2, 4, 3, dtype=torch.float64), torch.randn(8, 2, 4, 3, dtype=torch.float64)
    start = torch.tensor([0.3, 1.7, 2.9, 4.5], dtype=torch.float64)
    net = AxonalDelay(4, 5, True, start).double()
    net.delay.data.copy_(start)
    x.requires_grad_()
    assert torch.autograd.gradcheck(net, (x,), atol=1e-7)

    def loss(delay):
        with torch.no_grad():
            net.delay.copy_(delay)
        return (net(x) * weight).sum()

    (gradient,) = torch.autograd.grad(loss(start), net.delay)
    for c in range(4):
        e = torch.zeros(4, dtype=torch.float64)
        e[c] = 1e-6
        assert gradient[c].item() == pytest.approx(((loss(start + e) - loss(start - e)) / 2e-6).item(), abs=1e-7)


@pytest.mark.parametrize(("delay", "step"), [(2.0, 1e-6), (0.0, 1e-6), (5.0, -1e-6)])
def test_gradient_at_whole_delays_is_one_sided(delay, step):
    """From the right, and from the left at the longest delay."""
    x, weight = torch.randn(8, 2, 1, dtype=torch.float64), torch.randn(8, 2, 1, dtype=torch.float64)
    net = AxonalDelay(1, 5, True, delay).double()
    at = (net(x) * weight).sum()
    at.backward()
    with torch.no_grad():
        net.delay.add_(step)
        beside = (net(x) * weight).sum()
    assert net.delay.grad.item() == pytest.approx(((beside - at) / step).item(), abs=1e-7)


def test_outside_of_its_range_a_delay_can_only_come_back():
    x = spikes(8, 2, 4)
    net = AxonalDelay(4, 5, True, 1.0).double()
    with torch.no_grad():
        net.delay.copy_(torch.tensor([-0.5, -0.5, 5.5, 5.5]))
    y = net(x)
    assert torch.equal(y, shifted(x, [0, 0, 5, 5]))
    plain = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    # Descent on the delay with gradient +1 leads down: kept at 5.5, dropped at −0.5; and the other way round.
    (got,) = torch.autograd.grad(snnkit.neurons.delay._Bounded.apply(net.delay, 5.0), net.delay, plain)
    assert got.tolist() == [0, -1, 1, 0]


def test_a_delay_is_learned():
    """A pulse that should arrive 3 steps later: gradient descent moves the delay there, through a blurred target."""
    time = torch.arange(20, dtype=torch.float64).view(-1, 1, 1)
    pulse = torch.exp(-(((time - 5) / 3) ** 2))
    wanted = torch.exp(-(((time - 8) / 3) ** 2))
    net = AxonalDelay(1, 6, True, 0.5).double()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        (net(pulse) - wanted).square().sum().backward()
        optimiser.step()
    assert net.delay.item() == pytest.approx(3.0, abs=0.15)
    assert net.round_().delay.item() == 3.0
    assert torch.equal(net(pulse)[3:], pulse[:-3])


def test_round_for_deployment():
    net = AxonalDelay(4, 3, True, torch.tensor([0.2, 1.5, 2.5, 2.9]))
    x = spikes(9, 2, 4).float()
    assert set(net(x).unique().tolist()) > {0.0, 1.0}
    assert net.round_() is net
    assert net.delay.tolist() == [0, 2, 2, 3]
    assert isinstance(net.delay, nn.Parameter)
    assert torch.equal(net(x), shifted(x, [0, 2, 2, 3]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("cuts", [(1,) * 9, (2, 7), (5, 1, 3)], ids=str)
@pytest.mark.parametrize("trainable", [False, True])
def test_chunks_of_a_stream_are_the_sequence(trainable, cuts, dtype):
    torch.manual_seed(0)
    net, x = AxonalDelay(5, 4, trainable), spikes(9, 2, 5, 3).to(dtype)
    whole, stream = net(x), snnkit.Stream(net)
    assert whole.dtype == dtype
    assert torch.equal(torch.cat([stream.run(chunk) for chunk in x.split(cuts)]), whole)
    with pytest.raises(InvalidArgumentError, match="shape"):
        stream.step(x[0, :1])


def test_delays_in_a_network_get_gradients():
    torch.manual_seed(0)
    net = nn.Sequential(LIF(), AxonalDelay(6, 3, True), nn.Linear(6, 6), LIF())
    net(torch.rand(12, 4, 6) * 3).sum().backward()
    assert (net[1].delay.grad != 0).sum() >= 4


def test_random_delays_follow_the_seed_and_fill_the_range():
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        made.append((AxonalDelay(200, 3), AxonalDelay(200, 3, True)))
    assert torch.equal(made[0][0].delay, made[1][0].delay)
    assert sorted(made[0][0].delay.unique().tolist()) == [0, 1, 2, 3]
    assert 0 <= made[0][1].delay.min() < 0.2
    assert 2.8 < made[0][1].delay.max() <= 3


def test_state_dict_and_copies():
    net = AxonalDelay(6, 4)
    other = AxonalDelay(6, 4)
    other.load_state_dict(net.state_dict())
    x = spikes(9, 2, 6)
    assert torch.equal(other(x), net(x))
    assert torch.equal(copy.deepcopy(net).half().double()(x), net(x))


@pytest.mark.parametrize("trainable", [True, False])
def test_a_graph_carries_what_is_delayed(trainable):
    """A graph of one step that starts without history would lose every delayed spike."""
    x = torch.rand(6, 2, 6, dtype=torch.float64) * 3
    net = nn.Sequential(LIF(), AxonalDelay(6, 2, trainable)).double()
    delayed, _ = compiler.interpret(compiler.capture(net, x[:, :1]), x)
    assert torch.equal(delayed, net(x).detach())
    assert delayed[1:].any()


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: AxonalDelay(0, 3), "channels"),
        (lambda: AxonalDelay(4, 0), "max_delay"),
        (lambda: AxonalDelay(4, 2.5), "max_delay"),
        (lambda: AxonalDelay(4, 3, delay=4), "max_delay=3"),
        (lambda: AxonalDelay(4, 3, delay=-1), "0 … max_delay"),
        (lambda: AxonalDelay(4, 3, True, float("nan")), "0 … max_delay"),
        (lambda: AxonalDelay(4, 3, delay=1.5), "trainable=True"),
        (lambda: AxonalDelay(4, 3, delay=torch.ones(3)), r"\(4,\)"),
        (lambda: AxonalDelay(4, 3)(torch.zeros(5, 2, 3)), r"\(T, B, 4"),
        (lambda: AxonalDelay(4, 3)(torch.zeros(5, 4)), r"\(T, B, 4"),
        (lambda: AxonalDelay(4, 3)(torch.zeros(5, 2, 4, dtype=torch.long)), "floating"),
    ],
)
def test_bad_arguments_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
