"""Readouts: hand-made sequences, gradients, and that the running form is the readout of every prefix.

Would break it: another axis, a first spike one step off, a silent neuron that looks early, no gradient for a neuron
that never fires, the maximum's gradient at another step.
"""

import pytest
import torch
from spikingjelly.activation_based import neuron

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import LIF
from snnkit.readouts import READOUTS, FirstSpike, LastMembrane, MaxMembrane, Mean, Sum


def sequence(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand():
    y = torch.tensor([[1.0, -2.0], [4.0, -5.0], [1.0, -8.0]]).unsqueeze(1)
    expected = {Mean: [2, -5], Sum: [6, -15], LastMembrane: [1, -8], MaxMembrane: [4, -2]}
    for cls, values in expected.items():
        assert cls()(y).tolist() == [values], cls
    assert set(expected) | {FirstSpike} == set(READOUTS)
    assert snnkit.readouts.Mean is Mean


def test_first_spike_by_hand():
    """First at step 0, at step 2, never (T = 4); several spikes are the first one, an integer spike is one."""
    s = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 1, 0], [1, 1, 0, 0, 3], [0, 0, 0, 1, 1]]).double().unsqueeze(1)
    assert FirstSpike()(s).tolist() == [[0, -2, -4, 0, -2]]
    assert FirstSpike().times(-s).tolist() == [[4, 4, 4, 4, 4]]


def test_first_spike_gradient_by_hand():
    """−(1 + silent steps directly after k) up to the first spike, 0 after; the logits have the other sign."""
    s = torch.tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]]).double().unsqueeze(1).requires_grad_()
    FirstSpike()(s).sum().backward()
    assert s.grad[:, 0].T.tolist() == [[2, 1, 2, 0, 0], [5, 4, 3, 2, 1], [3, 0, 0, 0, 0]]


def test_first_spike_gradient_is_that_of_the_formula():
    inside = (torch.rand(5, 2, 3, generator=torch.Generator().manual_seed(0)).double() * 0.8 + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(FirstSpike(), (inside,))


def test_first_spike_of_probabilities_is_the_expected_time():
    p = torch.rand(6, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.manual_seed(0)
    drawn = (torch.rand(6, 40000, 4, dtype=torch.float64) < p).double()
    times = FirstSpike().times(drawn)
    error = 5 * times.std(0) / 200
    assert ((times.mean(0) - FirstSpike().times(p)[0]).abs() < error).all()


def test_first_spike_trains_a_silent_neuron_to_fire():
    """The gradient of a neuron that never fires reaches its input through the surrogate."""
    current = torch.full((4, 1, 1), 0.4, requires_grad=True)
    logits = FirstSpike()(LIF()(current))
    assert logits.item() == -4
    logits.sum().backward()
    assert (current.grad > 0).all()


def test_max_membrane_is_spikingjellys_and_its_gradient_goes_to_the_maximum():
    x = sequence(6, 3, 4)
    theirs = neuron.NonSpikingLIFNode(tau=2.0, decode="max-mem")
    v, h = [], torch.zeros(3, 4, dtype=torch.float64)
    for x_t in x:
        h = h + (x_t - h) / 2.0
        v.append(h)
    v = torch.stack(v).requires_grad_()
    theirs.step_mode = "m"
    torch.testing.assert_close(MaxMembrane()(v), theirs(x), rtol=0, atol=1e-12)
    MaxMembrane()(v).sum().backward()
    assert torch.equal(v.grad.argmax(0), v.detach().argmax(0))
    assert v.grad.sum() == 12


@pytest.mark.parametrize("cls", READOUTS)
def test_running_is_the_readout_of_every_prefix(cls):
    y = sequence(7, 3, 4)
    if cls is FirstSpike:
        y = (y > 0.8).double()
    running = cls().running(y)
    assert running.shape == y.shape
    for t in range(7):
        torch.testing.assert_close(running[t], cls()(y[: t + 1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cls", READOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_stays(cls, dtype):
    y = (sequence(4, 2, 3) > 0).to(dtype)
    assert cls()(y).dtype == dtype
    assert cls()(y).shape == (2, 3)
    assert cls().running(y).dtype == dtype


@pytest.mark.parametrize("cls", READOUTS)
@pytest.mark.parametrize("shape", [(0, 2, 3), (3,), ()], ids=str)
def test_no_sequence_is_an_error(cls, shape):
    for read in (cls(), cls().running):
        with pytest.raises(InvalidArgumentError, match=f"{cls.__name__} takes a sequence"):
            read(torch.zeros(shape))
