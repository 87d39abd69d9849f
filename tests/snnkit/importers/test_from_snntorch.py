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
    more = {"alpha": 0.7} if kind.endswith("Synaptic") else {}
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


RECURRENT = [
    (kind, form, reset, delay)
    for kind, form, reset, delay in itertools.product(
        ("RLeaky", "RSynaptic"), ("linear", "conv", "one", "each"), ("subtract", "zero", "none"), (True, False)
    )
    if delay or (kind == "RLeaky" and form == "linear")
]
FORMS = {
    "linear": ({"linear_features": 12}, (12,)),
    "conv": ({"conv2d_channels": 3, "kernel_size": 3}, (3, 5, 4)),
    "one": ({"all_to_all": False, "V": -0.4}, (12,)),
    "each": ({"all_to_all": False, "V": torch.linspace(-0.6, 0.6, 12)}, (12,)),
}


def both(theirs, ours, x):
    """Spikes and gradients (to the input, to parameters in order) of both; snnTorch's spikes are float32 always."""
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    found = []
    for run, module in ((_run(theirs), theirs), (ours, ours)):
        leaf = x.clone().requires_grad_()
        out = run(leaf)
        named = sorted(module.named_parameters(), key=lambda item: item[0].rsplit(".", 1)[-1])
        wanted = [p for _, p in named if p.requires_grad]
        grads = torch.autograd.grad((out * weights).sum(), [leaf, *wanted])
        found.append((out.detach(), grads))
    return found


@pytest.mark.parametrize(("kind", "form", "reset", "delay"), RECURRENT)
def test_recurrent_neurons(kind, form, reset, delay):
    torch.manual_seed(3)
    options, shape = FORMS[form]
    theirs = make(kind, reset_mechanism=reset, threshold=0.9, reset_delay=delay, **options)
    ours = from_snntorch(theirs)
    layer = ours.import_report.layers[0]
    assert (layer.mismatch, layer.result) == (0.0, "Recurrent of DelayedResetLIF")
    x = torch.randn(9, 4, *shape, generator=torch.Generator().manual_seed(0)) + 0.2
    (expected, expected_grads), (out, grads) = both(theirs, ours, x)
    assert 0.02 < out.mean() < 0.98
    assert torch.equal(out, expected)
    assert len(grads) == len(expected_grads) == (3 if form in ("linear", "conv") else 2)
    for a, b in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(a, b.reshape(a.shape), rtol=1e-5, atol=1e-5)


def test_feedback_that_is_not_learned_stays_fixed():
    for options in ({"linear_features": 4}, {"all_to_all": False, "V": 0.5}):
        ours = from_snntorch(snntorch.RLeaky(beta=0.8, learn_recurrent=False, **options))
        assert not any(p.requires_grad for p in ours.parameters())


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize(
    "options",
    [{"beta": 0.8}, {"R": 5.0, "C": 1.3}, {"R": 2, "C": 3, "time_step": 0.5}, {"beta": 0.7, "C": 2.0}],
)
def test_lapicque(options, reset):
    theirs = snntorch.Lapicque(threshold=0.6, reset_mechanism=reset, **options)
    ours = from_snntorch(theirs)
    assert ours.import_report.max_mismatch == 0.0
    x = torch.randn(9, 4, 30, generator=torch.Generator().manual_seed(0)) * 2 + 0.6
    (expected, expected_grads), (out, grads) = both(theirs, ours, x)
    assert 0.02 < out.mean() < 0.98
    assert torch.equal(out, expected)
    torch.testing.assert_close(grads[0], expected_grads[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("alpha", [0.9, torch.linspace(0.85, 0.97, 30)])
def test_alpha(alpha, learned, reset):
    theirs = snntorch.Alpha(
        alpha=alpha, beta=0.6, threshold=0.3, reset_mechanism=reset, learn_beta=learned, learn_threshold=learned
    )
    ours = from_snntorch(theirs)
    assert ours.import_report.max_mismatch == 0.0
    x = torch.randn(9, 4, 30, generator=torch.Generator().manual_seed(0)) + 0.3
    (expected, expected_grads), (out, grads) = both(theirs, ours, x)
    assert 0.02 < out.mean() < 0.98
    assert torch.equal(out, expected)
    assert len(grads) == len(expected_grads) == 1 + 2 * learned
    for a, b in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(a, b.reshape(a.shape), rtol=1e-5, atol=2e-6)


def test_a_network_of_the_others():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 8),
        snntorch.RSynaptic(alpha=0.5, beta=0.7, linear_features=8, init_hidden=True, threshold=0.4),
        nn.Linear(8, 8),
        snntorch.Lapicque(beta=0.9, init_hidden=True, threshold=0.1),
        nn.Linear(8, 4),
        snntorch.Alpha(alpha=0.9, beta=0.5, init_hidden=True, threshold=0.05, output=True),
    )
    ours = from_snntorch(net, torch.randn(9, 5, 6) * 2)
    assert ours.import_report.whole == 0.0
    assert [layer.result for layer in ours.import_report.layers] == [
        "Recurrent of DelayedResetLIF", "DelayedResetLIF", "AlphaLIF"
    ]  # fmt: skip
    out = ours(torch.randn(9, 5, 6) * 2)
    assert out.mean() > 0.02
    out.sum().backward()
    assert all(p.grad is not None for p in ours.parameters())


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
    with pytest.raises(UnknownNameError, match="SLSTM"):
        from_snntorch(snntorch.SLSTM(3, 4))
    with pytest.raises(InvalidArgumentError, match="learn_beta=True"):
        from_snntorch(snntorch.Lapicque(beta=torch.tensor(0.8), learn_beta=True))
    with pytest.raises(InvalidArgumentError, match="> 1 turns the membrane's sign"):
        from_snntorch(snntorch.Lapicque(beta=0.2))
    with pytest.raises(InvalidArgumentError, match="does not run in snnTorch itself"):
        from_snntorch(snntorch.RSynaptic(alpha=0.7, beta=0.8, linear_features=3, reset_delay=False))
    with pytest.raises(InvalidArgumentError, match="V has the shape"):
        from_snntorch(snntorch.RLeaky(beta=0.8, all_to_all=False, V=torch.ones(3, 1, 1)))
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
