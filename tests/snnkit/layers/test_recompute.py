"""Recomputing. Would break it: statistics that count a batch twice, a momentum or a counter that is not put back."""

import copy

import pytest
import torch
from torch import nn

from snnkit.layers import ConvBN
from snnkit.layers.recompute import recompute
from snnkit.neurons import LIF


@pytest.mark.parametrize("momentum", [0.1, None])
def test_equals_the_plain_call(momentum):
    torch.manual_seed(0)
    plain = nn.Sequential(ConvBN(2, 8, 3), LIF(), ConvBN(8, 3, 3), LIF(), ConvBN(3, 3, 1)).double()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = momentum
            nn.init.constant_(module.bias, 0.7)
    other = copy.deepcopy(plain)
    for _ in range(2):
        x = torch.randn(3, 2, 2, 6, 6).double()
        for model, run in ((plain, plain), (other, lambda x: recompute(other, x))):
            model.zero_grad()
            run(x).square().sum().backward()
        for (key, a), b in zip(plain.named_parameters(), other.parameters(), strict=True):
            assert a.grad.abs().max() > 0, key
            assert torch.equal(a.grad, b.grad), key
        for (key, a), b in zip(plain.named_buffers(), other.buffers(), strict=True):
            assert torch.equal(a, b), key
    assert other[0].bn.momentum == momentum
    assert other[0].bn.num_batches_tracked == 2
