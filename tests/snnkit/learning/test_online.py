"""SLTT and OTTT against SpikingJelly; e-prop against backpropagation with its cuts.

Would break it: a gradient that leaks from step to step, a trace that decays wrongly or acts on the output, an
eligibility that misses the adaptation, errors filtered in the wrong direction.
"""

import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

import snnkit
from snnkit import neurons
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers.sequence import Linear
from snnkit.learning import EProp, Momentary, Traced, online
from snnkit.neurons import LIF, Recurrent
from snnkit.surrogates import ATan, spike

X = torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2


def network():
    torch.manual_seed(1)
    lif = {"decay_input": False, "v_reset": None, "surrogate": ATan(), "v_threshold": 0.8}
    net = nn.Sequential(Linear(5, 7), LIF(tau=2.5, **lif), Linear(7, 6), LIF(tau=1.6, **lif), Linear(6, 3))
    return net.double()


def theirs(kind, net):
    """The same network of SpikingJelly's online neurons, trained step by step."""
    cls = {"sltt": neuron.SLTTLIFNode, "ottt": neuron.OTTTLIFNode}[kind]
    lif = {"decay_input": False, "v_reset": None, "surrogate_function": surrogate.ATan(), "v_threshold": 0.8}
    parts = [layer.Linear(5, 7), cls(tau=2.5, **lif), layer.Linear(7, 6), cls(tau=1.6, **lif), layer.Linear(6, 3)]
    made = (nn.Sequential if kind == "sltt" else layer.OTTTSequential)(*parts).double()
    made.load_state_dict(net.state_dict())
    return made


@pytest.mark.parametrize("method", ["sltt", "ottt"])
def test_gradients_are_spikingjellys(method):
    net = network()
    weight = torch.randn(6, 4, 3, dtype=torch.float64)
    other = theirs(method, net)
    functional.reset_net(other)
    expected_out = []
    for x_t, w_t in zip(X, weight, strict=True):
        out = other(x_t)
        (out * w_t).sum().backward()
        expected_out.append(out.detach())
    expected = [p.grad for p in other.parameters()]
    ours = online(net, method)
    out = ours(X)
    torch.testing.assert_close(out.detach(), torch.stack(expected_out), rtol=1e-12, atol=1e-12)
    (out * weight).sum().backward()
    for p, grad in zip(ours.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-9, atol=1e-12)
    assert expected[0].abs().max() > 1e-3
    net(X).mul(weight).sum().backward()
    assert not torch.allclose(net[0].weight.grad, expected[0]), "these are not the gradients through time"


@pytest.mark.parametrize("method", ["sltt", "ottt"])
def test_step_by_step_in_a_stream_the_gradients_are_the_same(method):
    whole, steps = online(network(), method), online(network(), method)
    weight = torch.randn(6, 4, 3, dtype=torch.float64)
    (whole(X) * weight).sum().backward()
    stream = snnkit.Stream(steps)
    for x_t, w_t in zip(X, weight, strict=True):
        (stream.step(x_t) * w_t).sum().backward()  # frees the graph of this step
    assert not any(state.requires_grad for state in stream.state.values())
    for a, b in zip(whole.parameters(), steps.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-12)


def test_outputs_do_not_change_and_the_model_stays():
    net = network()
    for method in ("sltt", "ottt"):
        torch.testing.assert_close(online(net, method)(X), net(X), rtol=1e-12, atol=1e-12)
    assert [type(part) for part in net] == [Linear, LIF, Linear, LIF, Linear]


def test_what_is_wrapped():
    parts = online(network(), "ottt")
    assert [type(part) for part in parts] == [Linear, Momentary, Traced, Momentary, Traced]
    assert (parts[2].decay, parts[4].decay) == (pytest.approx(0.6), pytest.approx(0.375))
    with pytest.raises(UnknownNameError, match="sltt"):
        online(network(), "slt")
    with pytest.raises(InvalidArgumentError, match=r"nn\.Sequential"):
        online(nn.ModuleList([LIF()]), "ottt")
    with pytest.raises(InvalidArgumentError, match="neuron with a step"):
        Momentary(Recurrent(LIF(), nn.Linear(2, 2)))
    with pytest.raises(InvalidArgumentError, match="decay=1.5"):
        Traced(nn.Linear(2, 2), 1.5)


@pytest.mark.parametrize(
    ("neuron", "kept"),
    [
        (neurons.CuBaLIF(voltage_decay=0.3), 0.7),
        (neurons.DelayedResetLIF(decay=0.9), 0.9),
        (neurons.IF(), 1.0),
        (neurons.ParametricLIF(init_tau=4.0), 0.75),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_trace_decays_as_the_membrane_of_the_sender(neuron, kept):
    assert online(nn.Sequential(neuron, Linear(5, 3)), "ottt")[1].decay == pytest.approx(kept)


@pytest.mark.parametrize(
    "neuron",
    [
        LIF(tau=torch.full((5,), 2.0)),
        neurons.ParametricLIF(channels=5),
        neurons.MultiSpike(),
        neurons.Tracer(0.3, 0, 4),
    ],
    ids=lambda neuron: type(neuron).__name__,
)
def test_a_sender_without_one_decay_is_refused(neuron):
    with pytest.raises(InvalidArgumentError, match=type(neuron).__name__):
        online(nn.Sequential(neuron, Linear(5, 3)), "ottt")
    online(nn.Sequential(Linear(5, 3), neuron), "ottt")  # nothing behind it needs its trace


def test_eprop_takes_its_own_shapes():
    layer = EProp(4, 5, 2)
    with pytest.raises(InvalidArgumentError, match=r"x is \(T, B, 4\)"):
        layer(torch.ones(3, 2, 5))
    with pytest.raises(InvalidArgumentError, match=r"error is \(T, B, 2\)"):
        layer.backward(torch.ones(3, 2, 4), torch.ones(3, 2, 3))
    for bad in ({"v_threshold": float("inf")}, {"tau": "a"}, {"inputs": 0}):
        with pytest.raises(InvalidArgumentError, match=next(iter(bad))):
            EProp(**{"inputs": 4, "neurons": 5, "outputs": 2, **bad})


def cut_bptt(layer, x, weight):
    """Backpropagation through the same layer with the spikes in recurrence and reset taken as constants."""
    parameters = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}
    v = a = z = torch.zeros(x.shape[1], len(layer.weight_in), dtype=x.dtype)
    y, loss = 0.0, 0.0
    for x_t, w_t in zip(x, weight, strict=True):
        before = z.detach()
        v = layer.alpha * v + x_t @ parameters["weight_in"].T - layer.v_threshold * before
        if "weight_rec" in parameters:
            v = v + before @ parameters["weight_rec"].T
        z = spike(v - layer.v_threshold - layer.beta * a, layer.surrogate)
        a = layer.rho * a + z
        y = layer.kappa * y + z @ parameters["weight_out"].T + parameters["bias_out"]
        loss = loss + (y * w_t).sum()
    loss.backward()
    return {name: p.grad for name, p in parameters.items()}


@pytest.mark.parametrize("recurrent", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_eprop_is_backpropagation_with_its_cuts(beta, recurrent):
    torch.manual_seed(2)
    layer = EProp(5, 8, 3, tau=4.0, tau_out=3.0, tau_adaptation=6.0, beta=beta, recurrent=recurrent).double()
    weight = torch.randn(6, 4, 3, dtype=torch.float64)
    _, z = layer(X)
    assert 0.05 < z.mean() < 0.95
    layer.backward(X, weight)
    expected = cut_bptt(layer, X, weight)
    assert set(expected) == {name for name, _ in layer.named_parameters()}
    for name, p in layer.named_parameters():
        assert expected[name].abs().max() > 1e-3
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("feedback", ["symmetric", "random"])
def test_eprop_learns_a_pattern(feedback):
    torch.manual_seed(0)
    layer = EProp(20, 60, 1, beta=0.1, feedback=feedback)
    x = (torch.rand(60, 1, 20) < 0.15).float()
    target = torch.sin(torch.linspace(0, 6.28, 60)).reshape(-1, 1, 1) * 2
    optimizer, losses = torch.optim.Adam(layer.parameters(), 5e-3), []
    for _ in range(60):
        y, _ = layer(x)
        losses.append((y - target).square().mean().item())
        optimizer.zero_grad()
        layer.backward(x, (y - target) / 60)
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]


def test_eprop_bad_arguments():
    with pytest.raises(UnknownNameError, match="symmetric"):
        EProp(2, 2, 2, feedback="symetric")
    with pytest.raises(InvalidArgumentError, match="tau_out=0"):
        EProp(2, 2, 2, tau_out=0)
    with pytest.raises(InvalidArgumentError, match=r"\(3, 4, 2\)"):
        EProp(5, 2, 2).backward(torch.zeros(6, 4, 5), torch.zeros(3, 4, 2))
