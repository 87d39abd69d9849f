"""Noisy neurons: the statistics that the equations promise, the seed, the modes, the stream.

Would break it: a variance that grows from step to step, a correlation of another power, noise that differs between
chunks and the whole, noise in evaluation by default, a trainable std without a gradient.
"""

import copy

import pytest
import torch
from torch import nn

import compiler
import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import LIF, Neuron, Noisy


class Through(Neuron):
    """Hands its current on, so that the noise can be seen."""

    def forward(self, x):
        return x


def noise(std, correlation, *shape, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return Noisy(Through(), std, correlation)(torch.zeros(*shape, dtype=dtype))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_std_and_autocorrelation(correlation):
    """4·10⁴ independent rows: every step has σ, and lag k has ρ^k, within five standard errors."""
    n, rows = noise(0.3, correlation, 12, 40000), 40000
    assert n.mean(1).abs().max() < 5 * 0.3 / rows**0.5
    assert (n.std(1) / 0.3 - 1).abs().max() < 5 / (2 * rows) ** 0.5
    for lag in (1, 2, 5):
        seen = (n[lag:] * n[:-lag]).mean(1) / 0.09
        expected = correlation**lag
        assert (seen - expected).abs().max() < 5 * ((1 + expected**2) / rows) ** 0.5


def test_it_is_gaussian():
    n = noise(1.0, 0.7, 3, 50000)
    assert (n**4).mean().item() == pytest.approx(3.0, abs=0.1)
    assert (n.abs() > 1.959964).double().mean().item() == pytest.approx(0.05, abs=0.004)


def test_by_hand():
    """The recursion on the numbers that torch draws."""
    got = noise(2.0, 0.6, 3, 4, 5)
    torch.manual_seed(0)
    a, b, c = (torch.randn(4, 5, dtype=torch.float64) for _ in range(3))
    second = 0.6 * a + 0.8 * b
    torch.testing.assert_close(got, 2 * torch.stack([a, second, 0.6 * second + 0.8 * c]), rtol=0, atol=1e-12)


def test_seed_and_input():
    x = torch.rand(6, 3, 50, dtype=torch.float64) * 2
    net = Noisy(LIF(), 0.5, 0.5)
    torch.manual_seed(3)
    first = net(x)
    torch.manual_seed(3)
    assert torch.equal(net(x), first)
    assert not torch.equal(net(x), first)
    torch.manual_seed(3)
    torch.testing.assert_close(first, LIF()(x + Noisy(Through(), 0.5, 0.5)(torch.zeros_like(x))), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cuts", [(1,) * 7, (2, 5)], ids=str)
@pytest.mark.parametrize("correlation", [0.0, 0.8])
def test_chunks_of_a_stream_are_the_sequence(cuts, correlation, dtype):
    """The same seed gives the same noise, whatever the chunks; few neurons, where torch draws another way."""
    x = (torch.rand(7, 2, 3, generator=torch.Generator().manual_seed(0)) * 2).to(dtype)
    net = Noisy(LIF(), 0.5, correlation)
    torch.manual_seed(1)
    whole = net(x)
    torch.manual_seed(1)
    stream = snnkit.Stream(net)
    assert torch.equal(torch.cat([stream.run(chunk) for chunk in x.split(cuts)]), whole)


def test_modes():
    x = torch.rand(5, 2, 30)
    for training in (True, False):
        for on in (True, False):
            net = Noisy(Through(), 1.0, in_training=on, in_evaluation=not on).train(training)
            assert torch.equal(net(x), x) != (on == training)
    assert torch.equal(Noisy(Through(), 1.0).eval()(x), x)
    assert torch.equal(Noisy(Through(), 0)(x), x)


def test_std_per_channel_and_its_gradient():
    std = nn.Parameter(torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64))
    torch.manual_seed(0)
    n = Noisy(Through(), std)(torch.zeros(4, 2000, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(n.std((0, 1, 3)), std.detach(), rtol=0.02, atol=0)
    n.square().mean().backward()
    # d mean(σ²ξ²)/dσ_c = 2σ_c/3 · mean(ξ²)
    torch.testing.assert_close(std.grad, 2 * std.detach() / 3, rtol=0.02, atol=1e-12)


def test_evaluation_is_the_plain_neuron_in_a_graph():
    graph = compiler.capture(nn.Sequential(Noisy(LIF(), 0.5)), torch.rand(4, 2, 6))
    assert [node.op for node in graph] == ["lif"]


def test_it_can_be_copied():
    net = Noisy(LIF(), 0.5, 0.9)
    net(torch.rand(3, 2, 4))
    assert repr(copy.deepcopy(net)) == repr(net)
    assert "std=0.5, correlation=0.9" in repr(net)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Noisy(LIF(), -0.1), "std"),
        (lambda: Noisy(LIF(), float("nan")), "std"),
        (lambda: Noisy(LIF(), torch.tensor([0.1, -1.0])), "std"),
        (lambda: Noisy(LIF(), 0.1, 1.0), "correlation"),
        (lambda: Noisy(LIF(), 0.1, -0.5), "correlation"),
        (lambda: Noisy(LIF(), 0.1, float("nan")), "correlation"),
        (lambda: Noisy(nn.ReLU(), 0.1), "neuron"),
        (lambda: Noisy(LIF(), 0.1)(torch.zeros(3)), "sequence"),
    ],
)
def test_bad_arguments_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
