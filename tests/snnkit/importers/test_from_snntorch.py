"""Translating snnTorch: equal spikes and gradients for every reset, and errors for what has no counterpart.

Would break it: ≥ for >, a reset within the step, a reset that is not detached, a trained decay that becomes fixed.
"""

import itertools

import pytest
import snntorch
import torch
from torch import nn

import snnkit
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


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "RLeaky", "Alpha"])
def test_trained_shares_are_clamped_whenever_they_run(kind):
    """snnTorch clamps alpha and beta to 0 … 1 in every step; training may leave that range before or after import."""
    torch.manual_seed(0)
    more = {"Synaptic": {"alpha": 0.9, "learn_alpha": True}, "Alpha": {"alpha": 0.9}}.get(kind, {})
    more |= {"linear_features": 30} if kind == "RLeaky" else {}
    theirs = getattr(snntorch, kind)(beta=0.6, learn_beta=True, threshold=0.6, **more)
    ours = from_snntorch(theirs)
    x = torch.rand(9, 4, 30, generator=torch.Generator().manual_seed(0)) * 0.4
    seen = [ours(x)]
    for value in (1.3, -0.2) if kind != "Alpha" else (-0.2,):
        with torch.no_grad():
            share(theirs).fill_(value)
            share(ours).fill_(value)
        after = from_snntorch(theirs)
        assert after.import_report.max_mismatch == 0.0
        found = []
        for run, made in ((_run(theirs), theirs), (after, after), (ours, ours)):
            out = run(x)
            found.append((out.detach(), torch.autograd.grad(out.sum(), share(made))[0]))
        for out, grad in found[1:]:
            assert torch.equal(out, found[0][0])
            torch.testing.assert_close(grad, found[0][1], rtol=1e-5, atol=1e-5)
        seen.append(out)
        assert not torch.equal(seen[-1], seen[-2])


def share(module):
    """The trained beta, under either name."""
    named = dict(module.named_parameters())
    return named[next(n for n in ("beta", "decay", "neuron.decay") if n in named)]


def test_a_fixed_share_outside_is_clamped_and_errors_name_the_layer():
    theirs = snntorch.Leaky(beta=1.03)
    ours = from_snntorch(theirs)
    x = torch.rand(9, 4, 5, generator=torch.Generator().manual_seed(0)) * 0.4
    assert torch.equal(ours(x), _run(theirs)(x))
    for bad, error in (
        (snntorch.Leaky(beta=0.5, threshold=-1.0, init_hidden=True), InvalidArgumentError),
        (snntorch.Leaky(beta=0.5, spike_grad=lambda x: x, init_hidden=True), UnknownNameError),
    ):
        with pytest.raises(error, match=r"^0\.1 \(Leaky\): "):
            from_snntorch(nn.Sequential(nn.Sequential(nn.Linear(2, 2), bad)))


class Named(snntorch.Leaky):
    """Does as its parent."""


class Doubled(snntorch.Leaky):
    def forward(self, input_, mem=None):
        return super().forward(2 * input_, mem)


@pytest.mark.parametrize("output", [False, True])
def test_subclasses(output):
    torch.manual_seed(0)
    x = torch.rand(9, 4, 6, generator=torch.Generator().manual_seed(0))
    net = nn.Sequential(
        nn.Linear(6, 6),
        Named(beta=0.8, init_hidden=True, threshold=0.2),
        Doubled(beta=0.8, init_hidden=True, output=output),
    )
    expected = _run(net)(x).detach()
    assert 0.02 < expected.mean() < 0.98
    ours = from_snntorch(net, x)
    assert ours.import_report.whole == 0.0
    assert ours.import_report.kept == ("Doubled",)
    assert any("Doubled has its own forward: it runs as it is" in text for text in ours.import_report.conventions)
    for _ in range(2):
        assert torch.equal(ours(x), expected), "every call starts at rest"
    stream = snnkit.Stream(ours)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), expected)
    alone = from_snntorch(net[2])
    assert torch.equal(alone(x), alone(x))
    assert torch.equal(alone(x), _run(net[2])(x))
    with pytest.raises(InvalidArgumentError, match=r"^Doubled: .*init_hidden=True"):
        from_snntorch(Doubled(beta=0.8))


def test_one_neuron_in_two_places_stays_one():
    torch.manual_seed(0)
    shared = snntorch.Leaky(beta=0.9, init_hidden=True, threshold=0.3)
    net = nn.Sequential(nn.Linear(6, 6), shared, nn.Linear(6, 6), shared)
    x = torch.rand(9, 4, 6, generator=torch.Generator().manual_seed(0))
    expected = _run(net)(x).detach()
    ours = from_snntorch(net, x)
    assert ours.import_report.whole == 0.0
    assert 0.02 < expected.mean() < 0.98
    assert torch.equal(ours(x), expected)
    assert torch.equal(ours(x), expected)
    stream = snnkit.Stream(ours)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), expected)


def test_neurons_hidden_in_a_block_are_refused_by_path():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = snntorch.Leaky(beta=0.5, init_hidden=True)

        def forward(self, x):
            return self.lif(x)

    with pytest.raises(InvalidArgumentError, match=r"1 \(Block\).*1\.lif"):
        from_snntorch(nn.Sequential(nn.Linear(2, 2), Block()))


@pytest.mark.parametrize("kind", ["Leaky", "Synaptic", "Alpha", "RLeaky"])
def test_import_after_a_training_step_and_in_double_precision(kind):
    more = {"Synaptic": {"alpha": 0.9}, "Alpha": {"alpha": 0.9}, "RLeaky": {"linear_features": 6}}.get(kind, {})
    net = nn.Sequential(nn.Linear(6, 6), getattr(snntorch, kind)(beta=0.7, init_hidden=True, threshold=0.3, **more))
    x = torch.rand(5, 4, 6, generator=torch.Generator().manual_seed(0))
    fresh = from_snntorch(net)(x)
    sum(net(x_t).sum() for x_t in x).backward()
    assert torch.equal(from_snntorch(net, x)(x), fresh)
    doubled = from_snntorch(net.double())
    assert doubled.import_report.max_mismatch == 0.0
    assert {p.dtype for p in doubled.parameters()} == {torch.float64}
    assert doubled(x.double()).dtype == torch.float64
