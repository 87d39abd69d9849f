"""Two- and multi-compartment neurons: the published TC-LIF's numbers, Norse's compartments, hand-made steps.

Would break it: the soma pulling with its new instead of its old membrane, a spike that leaves the dendrite alone (or
resets it in the hard mode), a sign of the coupling, input at the wrong end of the chain, conductance that creates
charge, state lost between the chunks of a stream.
"""

import numpy as np
import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import MultiCompartmentLIF, TwoCompartmentLIF
from snnkit.surrogates import Sigmoid


def drive(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 4.0 - 0.5


@pytest.mark.parametrize("index", range(6))
def test_golden_of_the_published_neuron(golden, index):
    """Spikes, both membranes, gradients to the input and to c1 and c2, recorded from TCLIFNode's update rules."""
    data = np.load(golden / "tc_lif.npz", allow_pickle=False)
    given = dict(setting.split("=") for setting in str(data["names"][index]).split("|"))
    c1, c2 = (nn.Parameter(torch.tensor(float(given[c]), dtype=torch.float64)) for c in ("c1", "c2"))
    neuron = TwoCompartmentLIF(
        c1,
        c2,
        gamma=float(given["gamma"]),
        v_threshold=float(given["v_threshold"]),
        v_reset=None if given["v_reset"] == "None" else float(given["v_reset"]),
        surrogate=Sigmoid(4.0),
        detach_reset=given["detach_reset"] == "True",
    )
    x = torch.from_numpy(data["x"]).requires_grad_()
    spikes = neuron(x)
    np.testing.assert_array_equal(spikes.detach().numpy(), data[f"s{index}"])
    states = neuron.states(x.detach())
    np.testing.assert_allclose(states["v"].detach().numpy(), data[f"v{index}"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(states["dendrite"].detach().numpy(), data[f"d{index}"], rtol=0, atol=1e-12)
    (spikes * torch.from_numpy(data["w"])).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), data[f"gx{index}"], rtol=0, atol=1e-12)
    np.testing.assert_allclose([c1.grad.item(), c2.grad.item()], data[f"gc{index}"], rtol=0, atol=1e-11)


def test_two_compartments_by_hand():
    """β = ∓½, γ = ½: dendrite 1.5, soma .75 | 1.5 − .375 + 1.5 = 2.625, 2.0625 ≥ 1 → fires: 2.125, 1.0625."""
    states = TwoCompartmentLIF().states(torch.tensor([[1.5], [1.5]], dtype=torch.float64))
    assert states["v"].flatten().tolist() == [0.75, 1.0625]
    assert states["dendrite"].flatten().tolist() == [1.5, 2.125]


def test_two_compartments_as_operator_and_per_channel():
    per_channel = TwoCompartmentLIF(c1=torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64))
    x = drive(6, 2, 3, 4)
    for c, value in enumerate((0.3, -0.8, 1.1)):
        assert torch.equal(per_channel(x)[:, :, c], TwoCompartmentLIF(c1=value)(x)[:, :, c])
    neuron = TwoCompartmentLIF()
    arguments = (x.requires_grad_(), None, None, *vars(neuron.constants()).values(), [], "", "sigmoid", [4.0], "exact")
    torch.library.opcheck(torch.ops.snnkit.two_compartment_lif.default, (*arguments, True, "reference"))


def test_chain_against_norse():
    """Norse's compartments coupled by our chain's Laplacian. There all can fire, so its threshold is put out of reach,
    and the soma's spike and reset are made by hand."""
    norse_lif = pytest.importorskip("norse.torch.functional.lif")
    norse_chain = pytest.importorskip("norse.torch.functional.lif_mc")
    conductance = torch.tensor([0.3, 0.2, 0.1], dtype=torch.float64)
    neuron = MultiCompartmentLIF(3, tau=4.0, tau_dendrite=4.0, conductance=conductance, v_threshold=0.06, v_reset=-0.05)
    laplacian = torch.zeros(4, 4, dtype=torch.float64)
    for j, g in enumerate(conductance):
        laplacian[j : j + 2, j : j + 2] += g * torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    number = lambda value: torch.tensor(value, dtype=torch.float64)  # noqa: E731
    p = norse_lif.LIFParameters(number(1.0), number(0.25), v_th=number(1e9))
    theirs = norse_lif.LIFFeedForwardState(torch.zeros(1, 4).double(), torch.zeros(1, 4).double())
    ours = (torch.zeros(1, dtype=torch.float64), torch.zeros(3, 1, dtype=torch.float64))
    x, fired = drive(60, 1, seed=3) * 4, []
    for x_t in x:
        current = torch.cat([torch.zeros(3, dtype=torch.float64), x_t]).unsqueeze(0)
        _, theirs = norse_chain.lif_mc_feed_forward_step(current, theirs, laplacian, p, dt=1.0)
        fires = theirs.v[0, 0] >= 0.06
        if fires:
            theirs.v[0, 0] = -0.05
        s, ours = neuron.step(x_t, ours)
        fired.append(s)
        assert bool(s) == bool(fires)
        torch.testing.assert_close(torch.cat([ours[0], ours[1][:, 0]]), theirs.v[0], rtol=0, atol=1e-12)
    assert 5 < sum(fired) < 50
    assert torch.equal(neuron(x), torch.stack(fired))


def test_chain_by_hand():
    """One dendrite, τ = 2, g = ¼, x = 4: dendrite 4/2; then ½ flows to the soma and half of it leaks, dendrite
    1.5/2 + 4/2."""
    neuron = MultiCompartmentLIF(1, tau=2, tau_dendrite=2, conductance=0.25)
    state = (torch.zeros(1), torch.zeros(1, 1))
    for soma, dendrite in ((0.0, 2.0), (0.25, 0.75 + 2.0)):
        _, state = neuron.step(torch.tensor([4.0]), state)
        assert (state[0].item(), state[1].item()) == (soma, dendrite)


def test_a_longer_chain_is_later():
    x = torch.full((30, 1, 1), 40.0, dtype=torch.float64)
    first = [int(MultiCompartmentLIF(k)(x).flatten().argmax()) for k in (1, 2, 4)]
    assert 0 < first[0] < first[1] < first[2]


def test_no_conductance_no_spikes_and_no_gradient():
    x = drive(9, 2, 3).requires_grad_()
    out = MultiCompartmentLIF(2, conductance=0.0)(10 * x)
    out.sum().backward()
    assert out.sum() == 0
    assert x.grad.abs().max() == 0


def test_conductance_learns_as_finite_differences_say():
    """Without spikes the soma is smooth in g: compare autograd with central differences through the step."""

    def soma(g):
        neuron = MultiCompartmentLIF(2, conductance=nn.Parameter(g.clone()), v_threshold=100.0)
        state = (torch.zeros(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64))
        for x_t in drive(6, 2):
            _, state = neuron.step(x_t, state)
        return state[0].sum(), neuron.conductance

    g = torch.tensor([0.2, 0.35], dtype=torch.float64)
    value, parameter = soma(g)
    (gradient,) = torch.autograd.grad(value, parameter)
    for k in range(2):
        e = torch.zeros(2, dtype=torch.float64)
        e[k] = 1e-5
        assert gradient[k].item() == pytest.approx(((soma(g + e)[0] - soma(g - e)[0]) / 2e-5).item(), abs=1e-8)


@pytest.mark.parametrize(
    ("make", "gain"),
    [(TwoCompartmentLIF, 1.0), (lambda: MultiCompartmentLIF(1, conductance=0.4), 4.0)],
    ids=["two", "chain"],
)
@pytest.mark.parametrize("cuts", [(1,) * 8, (3, 4, 1)], ids=str)
def test_chunks_of_a_stream_are_the_sequence(make, gain, cuts):
    neuron, x = make(), drive(8, 2, 5) * gain
    whole, stream = neuron(x), snnkit.Stream(neuron)
    assert 0.05 < whole.mean() < 0.95
    assert torch.equal(torch.cat([stream.run(chunk) for chunk in x.split(cuts)]), whole)
    from_rest = torch.cat([neuron(chunk) for chunk in x.split(cuts)])
    assert not torch.equal(from_rest, whole)


def test_steady_state_of_the_default_chain():
    """What the docstring says a constant current of 1 leaves at the soma: the linear system of the equations."""
    w = torch.eye(3).double() + 0.5 * torch.tensor([[-1.0, 1, 0], [1, -2, 1], [0, 1, -1]]).double()
    steady = torch.linalg.solve(torch.eye(3).double() - 0.75 * w, torch.tensor([0.0, 0, 0.25]).double())
    neuron = MultiCompartmentLIF(v_threshold=9.0)
    state = (torch.zeros(1, dtype=torch.float64), torch.zeros(2, 1, dtype=torch.float64))
    for _ in range(300):
        _, state = neuron.step(torch.ones(1, dtype=torch.float64), state)
    assert state[0].item() == pytest.approx(steady[0].item(), abs=1e-12)
    assert state[0].item() == pytest.approx(0.164, abs=5e-4)


def test_half_precision_is_storage_only():
    x = drive(6, 2, 5).bfloat16()
    for neuron in (TwoCompartmentLIF(), MultiCompartmentLIF(2, conductance=0.5)):
        assert torch.equal(neuron(x), neuron(x.float()).bfloat16())


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: TwoCompartmentLIF(c1=float("inf")), "c1"),
        (lambda: TwoCompartmentLIF(gamma=-0.1), "gamma"),
        (lambda: TwoCompartmentLIF(v_reset=1.0), "v_reset"),
        (lambda: MultiCompartmentLIF(0), "dendrites"),
        (lambda: MultiCompartmentLIF(1.5), "dendrites"),
        (lambda: MultiCompartmentLIF(2, tau_dendrite=1.0), "tau_dendrite"),
        (lambda: MultiCompartmentLIF(2, tau=torch.tensor(2.0)), "must be a number"),
        (lambda: MultiCompartmentLIF(2, conductance=0.6), "conductance"),
        (lambda: MultiCompartmentLIF(2, conductance=-0.1), "conductance"),
        (lambda: MultiCompartmentLIF(2, conductance=float("nan")), "conductance"),
        (lambda: MultiCompartmentLIF(2, conductance=torch.rand(3) / 2), "shape"),
        (lambda: MultiCompartmentLIF(surrogate="atan"), "surrogate"),
        (lambda: MultiCompartmentLIF()(torch.zeros(3)), "sequence"),
    ],
)
def test_bad_arguments_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
