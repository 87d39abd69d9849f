"""Convolutions on visible places against gathering them, and what hidden places may not do.

Would break it: statistics over hidden places, the biased variance in the running one, a bias that fills hidden places,
a mask whose order differs from that of time folded into the batch.
"""

import copy

import pytest
import torch
from torch import nn

from snnkit.layers import ConvBN
from snnkit.layers.sparse import sparse_batch_norm, sparse_conv_bn, spread


def maps(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + 1


ACTIVE = torch.tensor([[[1, 0], [0, 1]], [[1, 1], [0, 0]], [[0, 0], [1, 1]]], dtype=torch.float64)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_norm_equals_gathering(momentum):
    """Outputs, gradients and running statistics of BatchNorm1d on the visible places, over two batches."""
    ours, theirs = nn.BatchNorm2d(5, momentum=momentum).double(), nn.BatchNorm1d(5, momentum=momentum).double()
    nn.init.uniform_(ours.weight, 0.5, 2)
    nn.init.uniform_(ours.bias, -1, 1)
    theirs.load_state_dict(ours.state_dict())
    visible = spread(ACTIVE, 4, 6)
    for seed in (1, 2):
        a, b = maps(3, 5, 4, 6, seed=seed).requires_grad_(), maps(3, 5, 4, 6, seed=seed).requires_grad_()
        y = sparse_batch_norm(ours, a, visible.unsqueeze(1))
        z = torch.zeros(3, 4, 6, 5, dtype=torch.float64)
        z[visible.bool()] = theirs(b.permute(0, 2, 3, 1)[visible.bool()])
        z = z.permute(0, 3, 1, 2)
        weight = maps(3, 5, 4, 6, seed=9)
        for out in (y, z):
            (out * weight).sum().backward()
        torch.testing.assert_close(y, z, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-10, atol=1e-10)
    for key, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-12, atol=1e-12)


def test_norm_without_affine_and_in_half_precision():
    visible = spread(ACTIVE, 4, 4).unsqueeze(1)
    plain, full = nn.BatchNorm2d(3, affine=False).double(), nn.BatchNorm2d(3).double()
    x = maps(3, 3, 4, 4)
    torch.testing.assert_close(sparse_batch_norm(plain, x, visible), sparse_batch_norm(full, x, visible))
    half = sparse_batch_norm(nn.BatchNorm2d(3).bfloat16(), x.bfloat16(), visible.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), sparse_batch_norm(full, x, visible), rtol=0.02, atol=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_hidden_places_stay_zero_and_whole_masks_change_nothing(training):
    torch.manual_seed(0)
    layer = ConvBN(4, 6, 3, stride=2, bias=True).double().train(training)
    nn.init.uniform_(layer.bn.running_mean, -1, 1)
    dense = copy.deepcopy(layer)
    x = maps(2, 3, 4, 8, 8)
    hidden = spread(ACTIVE, 4, 4)[None, :, None] == 0
    y = sparse_conv_bn(layer, x, ACTIVE)
    assert y.shape == (2, 3, 6, 4, 4)
    assert (y[hidden.expand_as(y)] == 0).all()
    assert (y[~hidden.expand_as(y)] != 0).all()
    layer.load_state_dict(dense.state_dict())
    torch.testing.assert_close(sparse_conv_bn(layer, x, torch.ones_like(ACTIVE)), dense(x), rtol=1e-11, atol=1e-11)


def test_time_is_folded_in_the_order_of_the_mask():
    """Every step of an image has the mask of that image."""
    layer = ConvBN(2, 2, 1).double().eval()
    x = maps(3, 3, 2, 4, 4)
    y = sparse_conv_bn(layer, x, ACTIVE)
    for t in range(3):
        torch.testing.assert_close(y[t], sparse_conv_bn(layer, x[t : t + 1], ACTIVE)[0], rtol=0, atol=0)


def test_spread():
    wide = spread(ACTIVE[:1], 4, 6)
    assert wide.shape == (1, 4, 6)
    assert wide[0, :2, :3].eq(1).all()
    assert wide[0, 2:, 3:].eq(1).all()
    assert wide.sum() == 12
