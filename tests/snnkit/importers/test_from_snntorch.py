"""Translating snnTorch: equal spikes and gradients for every reset, and errors for what has no counterpart.

Would break it: ≥ for >, a reset within the step, a reset that is not detached, a trained decay that becomes fixed.
"""

import itertools

import pytest
import snntorch
import torch
from torch import nn

from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.importers import from_snntorch
from snnkit.importers.snntorch import _run

CASES = list(itertools.product(("Leaky", "Synaptic"), ("subtract", "zero", "none"), (True, False)))


def make(kind, **options):
    more = {"alpha": 0.7} if kind == "Synaptic" else {}
    return getattr(snntorch, kind)(beta=0.8, **more, **options)


@pytest.mark.parametrize(("kind", "reset", "delay"), CASES)
def test_spikes_and_gradients_are_equal(kind, reset, delay):
    theirs = make(kind, reset_mechanism=reset, reset_delay=delay, threshold=0.9)
    ours = from_snntorch(theirs)
    assert ours.import_report.max_mismatch == 0.0
    x = torch.randn(9, 4, 30, generator=torch.Generator().manual_seed(0)) + 0.2
    weights, grads = torch.randn(9, 4, 30), []
    for run in (_run(theirs), ours):
        leaf = x.clone().requires_grad_()
        out = run(leaf)
        assert 0.02 < out.mean() < 0.98
        (out * weights).sum().backward()
        grads.append((out.detach(), leaf.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1], grads[1][1], rtol=0, atol=2e-6)


def test_exactly_at_the_threshold_nothing_fires():
    ours = from_snntorch(snntorch.Leaky(beta=0.5))
    assert ours(torch.ones(1, 1, 1)).item() == 0.0
    assert ours(torch.full((1, 1, 1), 1.0001)).item() == 1.0


def test_a_network_with_trained_decay():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        snntorch.Leaky(beta=0.5, init_hidden=True, threshold=0.3),
        nn.Flatten(),
        nn.Linear(144, 5),
        snntorch.Leaky(beta=torch.rand(5), learn_beta=True, init_hidden=True, reset_mechanism="zero", output=True),
    )
    ours = from_snntorch(net, torch.randn(7, 2, 1, 8, 8))
    assert ours.import_report.whole == 0.0
    assert any(name.endswith("decay") and p.shape == (5,) for name, p in ours.named_parameters())
    ours(torch.randn(7, 2, 1, 8, 8)).sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_what_has_no_counterpart():
    with pytest.raises(UnknownNameError, match="Alpha"):
        from_snntorch(snntorch.Alpha(alpha=0.9, beta=0.8))
    with pytest.raises(InvalidArgumentError, match="inhibition"):
        from_snntorch(snntorch.Leaky(beta=0.8, inhibition=True))
    with pytest.raises(InvalidArgumentError, match="init_hidden"):
        from_snntorch(nn.Sequential(nn.Linear(2, 2), snntorch.Leaky(beta=0.8)))

    class Own(nn.Module):
        pass

    with pytest.raises(InvalidArgumentError, match="forward of its own"):
        from_snntorch(Own())
    with pytest.raises(UnknownNameError, match="surrogate"):
        from_snntorch(snntorch.Leaky(beta=0.8, spike_grad=snntorch.surrogate.custom_surrogate(torch.cos)))
