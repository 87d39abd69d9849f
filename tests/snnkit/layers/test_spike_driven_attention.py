"""Spike-driven attention. Would break it: heads that mix, a sum over channels for tokens, time or images that mix."""

import copy

import pytest
import torch

from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers.spike_driven_attention import ATTENTIONS, linear_attention, spike_attention
from snnkit.neurons import IF, LIF

T, B, C, H, W, HEADS = 3, 2, 12, 4, 5, 4


def spikes(*shape, rate=0.4, seed=0):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < rate).double()


def qkv(operator):
    given = [spikes(T, B, C, H, W, seed=seed) for seed in range(3)]
    return given if operator.uses_value else given[:2]


def neuron(current):
    """LIF with τ = 2, threshold 0.5 and hard reset, written out."""
    v, out = torch.zeros_like(current[0]), []
    for x in current:
        h = v + (x - v) / 2
        s = (h >= 0.5).double()
        v = h * (1 - s)
        out.append(s)
    return torch.stack(out)


def by_hand(name, q, k, v):
    """Every step and image for itself, tokens (L, C), heads by slices."""
    if name in ("sdsa1", "sdsa2"):
        seen = (k * v if name == "sdsa1" else q).sum((-1, -2), keepdim=True)
        return (q if name == "sdsa1" else k) * neuron(seen)
    current = torch.zeros(T, B, C, H, W).double()
    d = C // HEADS
    for t in range(T):
        for b in range(B):
            for head in range(HEADS):
                part = slice(head * d, (head + 1) * d)
                q_LD, k_LD, v_LD = (x[t, b, part].reshape(d, H * W).T for x in (q, k, v))
                current[t, b, part] = (q_LD @ k_LD.T @ v_LD * 0.125).T.reshape(d, H, W)
    return neuron(current)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_is_its_formula(name):
    operator = spike_attention(name, HEADS).double()
    q, k, v = (spikes(T, B, C, H, W, rate=0.5, seed=seed) for seed in range(3))
    y = operator(*(q, k, v)[: 2 + operator.uses_value])
    assert y.shape == (T, B, C, H, W)
    assert torch.equal(y, by_hand(name, q, k, v))
    assert 0.02 < y.mean() < 0.98


def test_linear_and_quadratic_order_are_equal_to_the_last_bit():
    q, k, v = (spikes(T, B, C, H, W, seed=seed).float() for seed in range(3))
    assert torch.equal(spike_attention("ssa", HEADS)(q, k, v), spike_attention("sdsa3", HEADS)(q, k, v))


def test_values_may_be_wider():
    q, k, v = spikes(T, B, C, H, W), spikes(T, B, C, H, W, seed=1), spikes(T, B, 4 * C, H, W, seed=2)
    y = linear_attention(q, k, v, HEADS)
    assert y.shape == v.shape
    alone = linear_attention(q[:, :, :3], k[:, :, :3], v[:, :, :12], 1)
    assert torch.equal(y[:, :, :12], alone)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_channels_last_changes_nothing(name):
    operator = spike_attention(name, HEADS).double()
    given = qkv(operator)
    last = [x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (T, B)) for x in given]
    assert torch.equal(operator(*last), operator(*given))


@pytest.mark.parametrize("name", ["sdsa3", "sdsa4", "ssa"])
@pytest.mark.parametrize("scale", [0.125, 0.3])
def test_the_scale_goes_into_the_threshold(name, scale):
    operator = spike_attention(name, HEADS, scale=scale).double()
    merged = operator.merged()
    assert float(merged.scale) == 1.0
    assert merged.lif.v_threshold == pytest.approx(0.5 / scale, rel=1e-6)
    given = [spikes(T, B, C, H, W, rate=0.5, seed=seed) for seed in range(3)]
    assert torch.equal(merged(*given), operator(*given))
    assert not list(merged.parameters())


def test_a_neuron_that_cannot_take_the_scale_keeps_it():
    for lif in (LIF(v_threshold=0.5, v_reset=-0.1), IF(v_threshold=0.5)):
        operator = spike_attention("sdsa3", HEADS, lif)
        assert operator.merged().scale == 0.125
        assert operator.merged().lif.v_threshold == 0.5


@pytest.mark.parametrize("name", ATTENTIONS)
def test_gradients_reach_everything(name):
    operator = spike_attention(name, HEADS).double()
    given = [x.requires_grad_() for x in qkv(operator)]
    weight = torch.randn(T, B, C, H, W).double()
    (operator(*given) * weight).sum().backward()
    for x in [*given, *operator.parameters()]:
        assert x.grad.abs().max() > 0
    copy.deepcopy(operator)


def test_bad_arguments():
    with pytest.raises(UnknownNameError, match="sdsa3"):
        spike_attention("sdsa-3", 8)
    with pytest.raises(InvalidArgumentError, match="num_heads"):
        spike_attention("sdsa3", 0)
    with pytest.raises(InvalidArgumentError, match="scale"):
        spike_attention("ssa", 2, scale=0.0)
