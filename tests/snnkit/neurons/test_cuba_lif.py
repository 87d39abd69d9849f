"""CuBaLIF: by hand, against SpikingJelly's CUBALIFNode and snnTorch's Synaptic, kernels against the step.

Would break it: a decay taken as the share kept, the membrane fed with the old current, a spike that resets the current,
> for ≥, a reset to anything but v_reset, a gradient lost on the way through the current or to a trained decay.
"""

from dataclasses import astuple

import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional
from spikingjelly.activation_based import neuron as peer
from spikingjelly.activation_based import surrogate as peer_surrogate
from support.kernels import LAYOUTS, assert_kernels_agree, laid_out

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import LIF, NO_RESET, CuBaLIF
from snnkit.surrogates import ATan, Sigmoid, spike

KERNELS = ["reference", "numba"]


def drive(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 0.5 + 0.1


def outcome(run, x, weight):
    x = x.clone().requires_grad_()
    spikes = run(x)
    (spikes * weight).sum().backward()
    return spikes.detach(), x.grad


@pytest.mark.parametrize("kernel", KERNELS)
def test_by_hand(kernel):
    """i = 1, .5, .25, .125, .5625; hard: h = 1, .5 (the threshold: fires), .25, .3125, .796875."""
    x = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.5], dtype=torch.float64)[:, None]
    neuron = CuBaLIF(current_decay=0.5, voltage_decay=0.25, v_threshold=0.5, kernel=kernel)
    assert neuron(x).flatten().tolist() == [1, 1, 0, 0, 1]
    assert neuron.states(x)["v"].flatten().tolist() == [0.0, 0.0, 0.25, 0.3125, 0.0]
    assert neuron.states(x)["i"].flatten().tolist() == [1.0, 0.5, 0.25, 0.125, 0.5625]
    soft = CuBaLIF(0.5, 0.25, 0.5, v_reset=None, kernel=kernel)  # h = 1, .875, .53125, .1484375, .673828125
    assert soft(x).flatten().tolist() == [1, 1, 1, 0, 1]
    assert soft.membranes(x).flatten().tolist() == [0.5, 0.375, 0.03125, 0.1484375, 0.173828125]
    free = CuBaLIF(0.5, 0.25, 0.5, v_reset=NO_RESET, kernel=kernel)
    assert free.membranes(x).flatten().tolist() == [1.0, 1.25, 1.1875, 1.015625, 1.32421875]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("v_reset", [0.0, -0.25, None])
@pytest.mark.parametrize("detach", [True, False])
def test_equals_spikingjelly(detach, v_reset, dtype, kernel):
    x, weight = drive(8, 3, 40, dtype=dtype), drive(8, 3, 40, dtype=dtype, seed=1)
    theirs = peer.CUBALIFNode(0.5, 0.75, 0.5, v_reset, peer_surrogate.Sigmoid(4.0))  # its defaults: shares kept
    theirs.detach_reset = detach
    ours = CuBaLIF(v_reset=v_reset, surrogate=Sigmoid(4.0), detach_reset=detach, kernel=kernel)
    expected = outcome(lambda x: torch.stack([theirs(x_t) for x_t in x]), x, weight)
    got = outcome(ours, x, weight)
    assert torch.equal(got[0], expected[0])
    assert 0.05 < got[0].mean() < 0.95
    torch.testing.assert_close(got[1], expected[1], rtol=0, atol=2e-6 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("mechanism", "v_reset"), [("zero", 0.0), ("subtract", None), ("none", NO_RESET)])
def test_equals_snntorch_after_conversion(mechanism, v_reset, kernel):
    """alpha = 1 − current_decay, beta = 1 − voltage_decay; no delay; its spike feeds back into the reset."""
    x, weight = drive(8, 3, 40), drive(8, 3, 40, seed=1)
    x = x * 0.7 if mechanism == "subtract" else x
    theirs = snntorch.Synaptic(
        alpha=0.5,
        beta=0.75,
        spike_grad=lambda x: spike(x, ATan(2.0)),  # its own rounds the gradient to float32
        reset_mechanism=mechanism,
        reset_delay=False,
    ).double()
    ours = CuBaLIF(0.5, 0.25, 1.0, v_reset, ATan(2.0), detach_reset=False, kernel=kernel)
    if mechanism == "subtract":  # above twice the threshold snnTorch takes the rest one step later
        assert ours.membranes(x).max() < 1.0

    def run(x):
        synaptic, membrane, spikes = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
        for x_t in x:
            spike, synaptic, membrane = theirs(x_t, synaptic, membrane)
            spikes.append(spike)
        return torch.stack(spikes)

    expected, got = outcome(run, x, weight), outcome(ours, x, weight)
    assert torch.equal(got[0], expected[0])
    assert 0.05 < got[0].mean() < 0.95
    torch.testing.assert_close(got[1], expected[1], rtol=0, atol=1e-12)


def test_no_synaptic_memory_is_lif():
    x = drive(8, 3, 40)
    assert torch.equal(CuBaLIF(1.0, 0.5, 0.4)(x), LIF(tau=2, v_threshold=0.4, decay_input=False)(x))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("surrogate", [Sigmoid(4.0), ATan(2.0)], ids=str)
@pytest.mark.parametrize("v_reset", [0.0, -0.2, None, NO_RESET])
@pytest.mark.parametrize("detach", [True, False])
def test_kernels_equal_the_step(detach, v_reset, surrogate, dtype, layout):
    x = laid_out(drive(4, 2, 5, 6, 36, dtype=dtype), layout)
    start = tuple(drive(2, 5, 6, 36, dtype=dtype, seed=seed) for seed in (2, 3))
    spikes = assert_kernels_agree(CuBaLIF(0.4, 0.3, 0.45, v_reset, surrogate, detach), x, start)
    assert 0.05 < spikes.mean() < 0.95


@pytest.mark.parametrize("kernel", KERNELS)
def test_stream_equals_sequence(kernel):
    neuron, x = CuBaLIF(kernel=kernel), drive(6, 2, 5)
    stream = snnkit.Stream(neuron)
    assert torch.equal(torch.stack([stream.step(x_t) for x_t in x]), neuron(x))
    for name, states in neuron.states(x).items():
        assert torch.equal(stream.state[name], states[-1])


def test_half_storage():
    x = drive(6, 2, 5, dtype=torch.float32).half()
    assert torch.equal(CuBaLIF()(x), CuBaLIF()(x.float()).half())
    with pytest.raises(InvalidArgumentError, match="float32 and float64"):
        CuBaLIF(kernel="numba")(x)


def test_decays_per_channel_and_their_gradients():
    """Gradients to the decays are minus SpikingJelly's to the shares kept."""
    x, weight = drive(6, 2, 3, 7), drive(6, 2, 3, 7, seed=1)
    decays = [torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in ([0.5, 0.25, 0.75], [0.25, 0.5, 0.125])]
    neuron = CuBaLIF(*decays, surrogate=Sigmoid(4.0))
    spikes, _ = outcome(neuron, x, weight)
    for c, (current, voltage) in enumerate(zip(*(d.tolist() for d in decays), strict=True)):
        assert torch.equal(spikes[:, :, c], CuBaLIF(current, voltage)(x)[:, :, c])
    kept = [(1 - d.detach()).requires_grad_() for d in decays]
    current, v, outputs = torch.zeros_like(x[0]), torch.zeros_like(x[0]), []
    for x_t in x:
        given = (kept[0][:, None], kept[1][:, None], 0.5, 0.0, peer_surrogate.Sigmoid(4.0), True)
        spike, current, v = functional.cuba_lif_step(x_t, current, v, *given)
        outputs.append(spike)
    (torch.stack(outputs) * weight).sum().backward()
    for ours, theirs in zip(decays, kept, strict=True):
        torch.testing.assert_close(ours.grad, -theirs.grad, rtol=0, atol=1e-12)
        assert ours.grad.abs().min() > 1e-3


def test_operator_check():
    x = drive(3, 2, 4).requires_grad_()
    states = [torch.zeros(2, 4, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    arguments = (x, *states, *astuple(CuBaLIF().constants()), [], "", "sigmoid", [4.0], "exact", True, "auto")
    torch.library.opcheck(torch.ops.snnkit.cuba_lif.default, arguments)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: CuBaLIF(current_decay=-0.1), "current_decay"),
        (lambda: CuBaLIF(current_decay=1.1), "current_decay=1.1.*1/τ"),
        (lambda: CuBaLIF(voltage_decay=2), "voltage_decay=2"),
        (lambda: CuBaLIF(voltage_decay=torch.tensor([0.5, 1.5])), "voltage_decay=1.5"),
        (lambda: CuBaLIF(voltage_decay=float("nan")), "voltage_decay"),
        (lambda: CuBaLIF(v_threshold=0), "v_threshold"),
        (lambda: CuBaLIF(v_reset=0.5), "v_reset"),
        (lambda: CuBaLIF(surrogate="atan"), "surrogate"),
    ],
)
def test_bad_constants_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
