"""Point neurons by hand, against SpikingJelly with gradients, and against Norse.

Would break it: a term with the wrong sign, w updated before (or after) it is used, a reset of the wrong variable, a
parameter under another gate, a spike on the wrong side of a threshold.
"""

import pytest
import torch
from spikingjelly.activation_based import functional, neuron, surrogate

from snnkit import neurons
from snnkit.errors import InvalidArgumentError
from snnkit.importers import from_spikingjelly
from snnkit.surrogates import S2NN, Rect

SPIKINGJELLY = {
    "qif": lambda: neuron.QIFNode(tau=3.0, v_c=0.6, a0=0.7, v_rest=-0.05, v_reset=-0.2),
    "qif soft": lambda: neuron.QIFNode(v_reset=None, detach_reset=True),
    "eif": lambda: neuron.EIFNode(tau=2.5, delta_T=0.6, theta_rh=0.7, v_rest=0.05, v_reset=-0.2),
    "izhikevich": lambda: neuron.IzhikevichNode(tau_w=4.0, a=0.3, b=0.2, w_rest=0.1),
    "klif": lambda: neuron.KLIFNode(v_threshold=0.7),
    "klif scaled soft": lambda: neuron.KLIFNode(scale_reset=True, v_reset=None, decay_input=False, detach_reset=True),
    "clif": lambda: neuron.ComplementaryLIFNode(tau=1.8, surrogate_function=surrogate.ATan()),
    "ternary lif": lambda: neuron.TernaryLIFNode(tau=1.6, v_threshold=0.6, decay_input=False),
    "ternary if soft": lambda: neuron.TernaryIFNode(v_threshold=0.9, v_reset=None, detach_reset=True),
    "psn": lambda: neuron.PSN(T=7),
    "masked psn": lambda: neuron.MaskedPSN(k=3, T=7, lambda_init=0.4, step_mode="m"),
    "sliding psn": lambda: neuron.SlidingPSN(k=3, step_mode="m"),
    "glif": lambda: neuron.GatedLIFNode(T=7, inplane=3),
}


@pytest.mark.parametrize("kind", SPIKINGJELLY)
def test_outputs_and_gradients_are_spikingjellys(kind):
    torch.manual_seed(0)
    theirs = SPIKINGJELLY[kind]()
    if "psn" in kind:  # a random mixture that starts at −1 hardly ever fires
        torch.nn.init.constant_(theirs.bias, -0.1)
    if hasattr(theirs, "step_mode"):
        theirs.step_mode = "m"
    ours = from_spikingjelly(theirs).double()
    assert ours.import_report.max_mismatch <= 1e-6
    theirs.double()
    if kind == "klif":  # a slope that is not the start's
        for one in (ours, theirs):
            torch.nn.init.constant_(one.k, 1.3)
    x = torch.randn(7, 2, 3, 4, 5, dtype=torch.float64) + 0.4
    weight, results = torch.randn_like(x), []
    for one in (theirs, ours):
        functional.reset_net(one)
        leaf = x.clone().requires_grad_()
        out = one(leaf)
        (out * weight).sum().backward()
        results.append((out.detach(), leaf.grad, {name: p.grad for name, p in one.named_parameters()}))
    assert 0.02 < (results[0][0] != 0).double().mean() < 0.98
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)
    assert results[0][1].abs().max() > 1e-3
    assert results[0][2].keys() == results[1][2].keys()
    for name, expected in results[0][2].items():
        torch.testing.assert_close(results[1][2][name], expected, rtol=1e-9, atol=1e-12)


def membranes(made, *currents):
    return made.membranes(torch.tensor(currents, dtype=torch.float64).reshape(-1, 1)).flatten().tolist()


def test_quadratic_by_hand():
    """τ = 2, x = 1: h = ½ → ½ + (1 + ½·(−.3))/2 = .925 → .925 + (1 + .925·.125)/2 = 1.48, which fires."""
    made = neurons.QIF(v_reset=0.0)
    assert membranes(made, 1.0, 1.0, 1.0) == pytest.approx([0.5, 0.925, 0.0])
    assert made(torch.ones(3, 1)).flatten().tolist() == [0, 0, 1]


def test_exponential_by_hand():
    """Δ = 1, θ_rh = 0, τ = 2, rest 0: h = (1 + e⁰)/2 = 1 ≥ 1 fires at once; with x = 0: h = ½."""
    made = neurons.EIF(rheobase=0.0, v_reset=0.0)
    assert made(torch.tensor([[1.0], [0.0]])).flatten().tolist() == [1, 0]
    assert membranes(made, 1.0, 0.0) == pytest.approx([0.0, 0.5])


def test_adaptive_threshold_by_hand():
    """τ = 2, β = .5, τ_a = 4, x = 3: h = 1.5 fires; a = 1 → .75: threshold 1.375, h = 1.5 fires; a = 1.75 → 1.3125:
    threshold 1.65625, h = 1.5 does not fire."""
    made = neurons.ALIF(beta=0.5, tau_adaptation=4.0)
    x = torch.full((3, 1), 3.0)
    assert made(x).flatten().tolist() == [1, 1, 0]
    assert made.states(x)["adaptation"].flatten().tolist() == [1.0, 1.75, 1.3125]


def test_ternary_by_hand():
    x = torch.tensor([[1.0], [-1.0], [-0.4], [-0.7], [0.3]])
    assert neurons.TernaryIF()(x).flatten().tolist() == [1, -1, 0, -1, 0]
    soft = neurons.TernaryIF(v_reset=None)
    assert soft.membranes(torch.tensor([[1.5], [-2.0], [0.0]])).flatten().tolist() == [0.5, -0.5, -0.5]
    assert soft(torch.tensor([[1.5], [-2.0]])).flatten().tolist() == [1, -1]
    with pytest.raises(InvalidArgumentError, match="symmetric"):
        neurons.TernaryLIF(surrogate=S2NN())
    with pytest.raises(InvalidArgumentError, match=r"between −v_threshold and v_threshold"):
        neurons.TernaryIF(v_reset=-1.5)


def test_complementary_by_hand():
    """τ = 2, x = 1: h = 1 fires, m = 1, v = 1 − (1 + σ(1)); a silent neuron is a LIF without decay of input."""
    made = neurons.ComplementaryLIF()
    states = made.states(torch.ones(1, 1, dtype=torch.float64))
    assert states["m"].item() == 1.0
    assert states["v"].item() == pytest.approx(-torch.sigmoid(torch.tensor(1.0)).item(), abs=1e-7)
    quiet = torch.rand(5, 3, dtype=torch.float64) * 0.3
    lif = neurons.LIF(decay_input=False, v_reset=None)
    torch.testing.assert_close(made.membranes(quiet), lif.membranes(quiet), rtol=1e-14, atol=0)


def test_leaky_integrator_by_hand():
    made = neurons.LeakyIntegrator(tau=4.0)
    assert made(torch.tensor([[4.0], [0.0], [1.0]])).flatten().tolist() == [1.0, 0.75, 0.8125]
    assert neurons.LeakyIntegrator(tau=4.0, decay_input=False)(torch.ones(2, 1)).flatten().tolist() == [1.0, 1.75]


def test_few_spikes_write_binary_numbers():
    made = neurons.FewSpikes.relu(4, high=16.0)
    values = torch.arange(-2.0, 18.0)
    out = made(torch.stack([values, *[torch.zeros_like(values)] * 3]))
    assert out.sum(0).tolist() == values.clamp(0, 15).tolist()
    assert out[:, 7].tolist() == [0.0, 4.0, 0.0, 1.0]  # 5
    with pytest.raises(InvalidArgumentError, match="tables for 4 steps"):
        made(torch.zeros(3, 1))
    with pytest.raises(InvalidArgumentError, match="h has 1 where theta has 2"):
        neurons.FewSpikes([1, 2], [1], [1, 2])


def test_few_spikes_as_in_spikingjelly():
    from spikingjelly.activation_based.neuron.few_spike import FewSpikeNode, FewSpikeTable

    table = ([1.0, 0.3, 0.2], [0.9, 0.4, 0.1], [0.8, 0.5, -0.2])
    theirs = FewSpikeNode(FewSpikeTable(*table), step_mode="m")
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    grads = []
    for made in (theirs, neurons.FewSpikes(*table)):
        leaf = x.clone().requires_grad_()
        out = made(leaf)
        (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        grads.append((out.detach(), leaf.grad))
    assert torch.equal(grads[0][0], grads[1][0])
    torch.testing.assert_close(grads[0][1], grads[1][1])


def norse_parameters(cls, **given):
    return cls(**{key: torch.as_tensor(value, dtype=torch.float64) for key, value in given.items()})


def test_adaptive_lif_as_in_norse():
    """Norse's input acts one step later, through a synapse that here forgets at once."""
    from norse.torch.functional.lsnn import LSNNFeedForwardState, LSNNParameters, lsnn_feed_forward_step

    p = norse_parameters(LSNNParameters, tau_syn_inv=1.0, tau_mem_inv=0.25, tau_adapt_inv=0.1, v_th=0.6, beta=0.3)
    x = torch.rand(40, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
    zero, spikes = torch.zeros(30, dtype=torch.float64), []
    state = LSNNFeedForwardState(v=zero, i=zero, b=zero + 0.6)
    for x_t in x:
        s, state = lsnn_feed_forward_step(x_t, state, p, dt=1.0)
        spikes.append(s)
    ours = neurons.ALIF(tau=4.0, tau_adaptation=10.0, beta=0.3, v_threshold=0.6)(x)
    assert 0.05 < ours.mean() < 0.6
    assert torch.equal(ours[:-1], torch.stack(spikes)[1:])


def test_adex_as_in_norse():
    from norse.torch.functional.lif_adex import (
        LIFAdExFeedForwardState,
        LIFAdExParameters,
        lif_adex_feed_forward_step,
    )

    given = {"tau_syn_inv": 1.0, "tau_mem_inv": 0.2, "tau_ada_inv": 0.1, "adaptation_current": 0.4}
    p = norse_parameters(LIFAdExParameters, **given, adaptation_spike=0.3, delta_T=0.4, v_th=0.9, v_reset=0.1)
    x = torch.rand(40, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    zero, spikes = torch.zeros(30, dtype=torch.float64), []
    state = LIFAdExFeedForwardState(zero + 0.1, zero, zero)
    for x_t in x:
        s, state = lif_adex_feed_forward_step(x_t, state, p, dt=1.0)
        spikes.append(s)
    made = neurons.AdEx(tau=5.0, delta=0.4, rheobase=0.9, tau_w=10.0, a=0.4, b=0.3, v_threshold=0.9, v_reset=0.1)
    ours = made(x)
    assert 0.05 < ours.mean() < 0.6
    assert torch.equal(ours, torch.stack(spikes))


def test_sliding_psn_by_hand():
    """k = 2, weights ½ and 1, bias −1: fires where x[t] + x[t−1]/2 ≥ 1."""
    made = neurons.SlidingPSN(2)
    assert made(torch.tensor([[0.9], [0.6], [0.6], [0.8]])).flatten().tolist() == [0, 1, 0, 1]


def test_masked_psn_is_drawn_shut():
    made = neurons.MaskedPSN(2, 4)
    made.lambda_ = 1.0
    seen = made.mixing() != 0
    assert seen.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    with pytest.raises(InvalidArgumentError, match="within 0 … 1"):
        made.lambda_ = 1.5


def test_gated_lif_says_how_many_steps_it_has():
    with pytest.raises(InvalidArgumentError, match=r"timesteps=2.*no input gate for step 3"):
        neurons.GatedLIF(2)(torch.zeros(3, 1, 1))
    with pytest.raises(InvalidArgumentError, match="init_tau"):
        neurons.GatedLIF(2, init_tau=1.0)


@pytest.mark.parametrize(
    "cls", [neurons.QIF, neurons.EIF, neurons.Izhikevich, neurons.ALIF, neurons.AdEx, neurons.KLIF, neurons.TernaryLIF]
)
def test_constants_out_of_range(cls):
    for given in ({"tau": 1.0}, {"tau": float("nan")}, {"v_threshold": 0.0}, {"v_reset": 2.0}):
        with pytest.raises(InvalidArgumentError, match=f"{cls.__name__}\\({next(iter(given))}"):
            cls(**given)


@pytest.mark.parametrize("make", [neurons.QIF, neurons.ALIF, neurons.TernaryLIF, neurons.ComplementaryLIF])
def test_constants_may_differ_by_channel_and_be_trained(make):
    theta = torch.nn.Parameter(torch.linspace(0.5, 1.5, 3, dtype=torch.float64))
    made, x = make(v_threshold=theta), torch.randn(6, 2, 3, 4, dtype=torch.float64) * 2
    out = made(x)
    out.sum().backward()
    assert theta.grad.shape == (3,)
    assert theta.grad.abs().min() > 0
    for c in range(3):
        single = make(v_threshold=theta[c].item())
        assert torch.equal(out[:, :, c], single(x[:, :, c]))


def test_rect_is_the_default_of_the_complementary():
    assert neurons.ComplementaryLIF().surrogate == Rect(1.0)
