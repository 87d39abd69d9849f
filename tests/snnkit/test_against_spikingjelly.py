"""IF and LIF against SpikingJelly 2.0, live: equal spikes, gradients equal to 1e-10 in float64.

Would break it: any change to the equation, the reset, the surrogate or its steepness on either side.
"""

import itertools

import pytest
import torch

from snnkit.neurons import IF, LIF
from snnkit.surrogates import ATan, Sigmoid

neuron = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is not installed")
from spikingjelly.activation_based import surrogate as their_surrogate  # noqa: E402

SURROGATES = {
    "sigmoid": (Sigmoid(4.0), lambda: their_surrogate.Sigmoid(alpha=4.0)),
    "steep sigmoid": (Sigmoid(7.0), lambda: their_surrogate.Sigmoid(alpha=7.0)),
    "atan": (ATan(2.0), lambda: their_surrogate.ATan(alpha=2.0)),
}
RESETS = {"hard to 0": 0.0, "hard to -0.4": -0.4, "soft": None}


def gradients(run, x, weights):
    leaf = x.clone().requires_grad_()
    spikes = run(leaf)
    (spikes * weights).sum().backward()
    return spikes.detach(), leaf.grad


def compare(ours, theirs):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, 3, 50, generator=generator, dtype=torch.float64) * 3 - 0.6
    weights = torch.randn(6, 3, 50, generator=generator, dtype=torch.float64)
    spikes, grad = gradients(ours, x, weights)
    their_spikes, their_grad = gradients(theirs, x, weights)
    assert 0.1 < spikes.mean() < 0.9
    assert torch.equal(spikes, their_spikes)
    assert their_grad.abs().max() > 0.1
    torch.testing.assert_close(grad, their_grad, rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel", ["reference", "numba"])
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
@pytest.mark.parametrize("reset", RESETS)
def test_if(reset, detach, surrogate, kernel):
    ours, theirs = SURROGATES[surrogate]
    compare(
        IF(0.9, RESETS[reset], surrogate=ours, detach_reset=detach, kernel=kernel),
        neuron.IFNode(0.9, RESETS[reset], theirs(), detach_reset=detach, step_mode="m"),
    )


@pytest.mark.parametrize("kernel", ["reference", "numba"])
@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize(("tau", "decay"), itertools.product((2.0, 1.3), (True, False)))
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
@pytest.mark.parametrize("reset", RESETS)
def test_lif(reset, detach, tau, decay, surrogate, kernel):
    ours, theirs = SURROGATES[surrogate]
    compare(
        LIF(tau, 0.7, RESETS[reset], decay, surrogate=ours, detach_reset=detach, kernel=kernel),
        neuron.LIFNode(tau, decay, 0.7, RESETS[reset], theirs(), detach_reset=detach, step_mode="m"),
    )


@pytest.mark.parametrize(("cls", "theirs"), [(LIF, "LIFNode"), (IF, "IFNode")])
def test_defaults_are_theirs_but_for_the_detached_reset(cls, theirs):
    compare(cls(detach_reset=False), getattr(neuron, theirs)(step_mode="m"))
    compare(cls(), getattr(neuron, theirs)(step_mode="m", detach_reset=True))
