"""RepConv. Would break it: zeros around the map, a border with a gradient or of the batch, a norm left unmerged."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from snnkit.deploy import deploy
from snnkit.layers.rep_conv import RepConv


def layer(c=5, o=7):
    torch.manual_seed(0)
    made = RepConv(c, o).double()
    for norm in (made.norm_in, made.norm_out, made.norm):
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.3, 2)
    return made.eval()


def written_out(made, x):
    """The published order of operations: a padded copy whose border is overwritten, on (N, C, H, W)."""
    u = made.norm_in(made.conv_in(x))
    norm = made.norm_in
    value = norm.bias.detach() - norm.running_mean * norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
    padded = value.view(1, -1, 1, 1).expand(len(x), -1, x.shape[2] + 2, x.shape[3] + 2).clone()
    padded[..., 1:-1, 1:-1] = u
    return made.norm(made.norm_out(made.conv_out(F.conv2d(padded, made.depthwise.weight, groups=x.shape[1]))))


@pytest.mark.parametrize("training", [False, True])
def test_equals_the_padded_form_with_its_gradients(training):
    ours, x = layer().train(training), torch.randn(2, 3, 5, 6, 4).double().requires_grad_()
    theirs, z = copy.deepcopy(ours), x.detach().flatten(0, 1).requires_grad_()
    y = ours(x)
    expected = written_out(theirs, z)
    torch.testing.assert_close(y.flatten(0, 1), expected, rtol=0, atol=1e-11)
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (expected * weight.flatten(0, 1)).sum().backward()
    torch.testing.assert_close(x.grad.flatten(0, 1), z.grad, rtol=1e-9, atol=1e-11)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-8, atol=1e-10, msg=name)
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_merged_is_one_dense_convolution():
    made, x = layer(), torch.randn(2, 3, 5, 6, 4).double()
    merged = made.merged()
    assert isinstance(merged, nn.Conv2d)
    assert merged.weight.shape == (7, 5, 3, 3)
    torch.testing.assert_close(merged(x), made(x), rtol=0, atol=1e-12)


def test_folded_is_three_convolutions_without_norms():
    made, x = layer(), torch.randn(2, 3, 5, 6, 4).double()
    before = copy.deepcopy(made.state_dict())
    folded = made.folded()
    assert [m.kernel_size for m in folded] == [(1, 1), (3, 3), (1, 1)]
    torch.testing.assert_close(folded(x), made(x), rtol=0, atol=1e-12)
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
    assert sum(p.numel() for p in folded.parameters()) < sum(p.numel() for p in made.merged().parameters())


def test_merged_sees_the_border():
    """Zeros around the inner map would change the outermost pixels and nothing else."""
    made, x = layer(), torch.randn(2, 3, 5, 6, 4).double()
    expected = made(x)
    made.border = lambda: torch.zeros(5).double()
    difference = (made(x) - expected).abs().amax((0, 1, 2))
    assert difference[1:-1, 1:-1].max() == 0
    assert difference[0].min() > 1e-3


def test_merged_is_another_network_while_training():
    made, x = layer().train(), torch.randn(2, 3, 5, 6, 4).double()
    assert (made.merged()(x) - made(x)).abs().max() > 0.1


@pytest.mark.parametrize("fewest", [False, True])
def test_deploy_merges_it(fewest):
    net, x = nn.Sequential(layer()), torch.randn(2, 3, 5, 6, 4).double()
    made = deploy(net, fewest_operations=fewest)
    assert sum(isinstance(m, nn.Conv2d) for m in made.modules()) == (3 if fewest else 1)
    assert not any(isinstance(m, (RepConv, nn.BatchNorm2d)) for m in made.modules())
    torch.testing.assert_close(made(x), net(x), rtol=0, atol=1e-12)
