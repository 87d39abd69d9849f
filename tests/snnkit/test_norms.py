"""Norms for spiking networks against SpikingJelly, and in streams.

Would break it: statistics over the wrong axes, a scale of the wrong step, a weight that does not start at the
threshold, running statistics that are not moved.
"""

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.layers import norms
from snnkit.neurons import MembraneNormLIF

SHAPES = {1: (6, 4, 3, 5), 2: (6, 4, 3, 5, 2), 3: (6, 4, 3, 2, 2, 2)}


def pair(name, axes):
    first = (0.7, 0.5) if name.startswith("Threshold") else (6,)
    theirs = getattr(layer, f"{name}{axes}d")(*first, 3)
    theirs.step_mode = "m"
    return theirs, getattr(norms, f"{name}{axes}d")(*first, 3)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("name", ["ThresholdDependentBatchNorm", "TemporalEffectiveBatchNorm", "BatchNormThroughTime"])
def test_as_in_spikingjelly(name, axes):
    torch.manual_seed(0)
    theirs, ours = pair(name, axes)
    assert len(ours.state_dict()) >= 2
    assert set(ours.state_dict()) == set(theirs.state_dict())
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.rand_like(p))
    ours.load_state_dict(theirs.state_dict())
    x, results = torch.randn(SHAPES[axes]) * 2 + 1, []
    for one in (theirs, ours):
        functional.reset_net(one)
        leaf = x.clone().requires_grad_()
        out = one(leaf)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        one.eval()
        functional.reset_net(one)
        results.append([out.detach(), one(x).detach(), leaf.grad, *(p.grad for p in one.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert not torch.equal(results[0][0], results[0][1])


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("name", ["TemporalEffectiveBatchNorm", "BatchNormThroughTime"])
def test_a_stream_knows_the_step(name, axes):
    torch.manual_seed(0)
    _, ours = pair(name, axes)
    with torch.no_grad():
        for p in ours.parameters():
            p.add_(torch.rand_like(p))
    x = torch.randn(SHAPES[axes])
    ours.eval()
    stream = snnkit.Stream(ours)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), ours(x))
    with pytest.raises(InvalidArgumentError, match="parameters for 6 steps, and this sequence has 7"):
        stream.step(x[0])
    stream.reset()
    assert torch.equal(stream.run(x[:4]), ours(x[:4]))


def test_bad_arguments():
    with pytest.raises(InvalidArgumentError, match="affine=True"):
        norms.ThresholdDependentBatchNorm2d(1.0, 1.0, 3, affine=False)
    with pytest.raises(InvalidArgumentError, match="timesteps=0"):
        norms.BatchNormThroughTime2d(0, 3)


@pytest.mark.parametrize("v_reset", [0.0, None])
@pytest.mark.parametrize("shape", [(5, 8, 3), (5, 8, 3, 4, 2)])
def test_membrane_norm_as_in_spikingjelly(shape, v_reset):
    size = {"out_channels": 3} if len(shape) == 5 else {"out_features": 3}
    theirs = neuron.MPBNLIFNode(tau=1.7, v_threshold=0.6, v_reset=v_reset, step_mode="m", detach_reset=True, **size)
    ours = MembraneNormLIF(3, tau=1.7, v_threshold=0.6, v_reset=v_reset)
    torch.nn.init.uniform_(theirs.vbn.weight, 0.5, 1.5)
    ours.load_state_dict(theirs.state_dict())
    theirs.double(), ours.double()
    x, results = torch.randn(shape, dtype=torch.float64), []
    for one in (theirs, ours):
        functional.reset_net(one)
        leaf = x.clone().requires_grad_()
        out = one(leaf)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        one.eval()
        functional.reset_net(one)
        results.append([out.detach(), one(x).detach(), leaf.grad, *(p.grad for p in one.parameters())])
    assert 0.05 < results[0][0].mean() < 0.95
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
