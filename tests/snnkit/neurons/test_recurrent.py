"""Recurrent neurons: the loop written out, SpikingJelly's container, snnTorch's shape of it, streams.

Would break it: feedback of the current step instead of the last, a first step that sees feedback, feedback added after
the neuron, an output forgotten between the chunks of a stream, gradients that do not pass through the feedback.
"""

import pytest
import torch
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import nn

import compiler
import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import IF, LIF, Noisy, Recurrent, SelfFeedback, TwoCompartmentLIF
from snnkit.surrogates import ATan


def drive(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3.0 - 0.4


def feedback(kind):
    torch.manual_seed(1)
    made = {
        "one weight": lambda: SelfFeedback(value=-0.7),
        "per channel": lambda: SelfFeedback(6),
        "linear": lambda: nn.Linear(6, 6),
    }[kind]().double()
    if kind != "one weight":
        nn.init.normal_(made.weight)  # strong enough to be seen in the spikes
    return made


@pytest.mark.parametrize("kind", ["one weight", "per channel", "linear"])
@pytest.mark.parametrize("make", [LIF, lambda: IF(v_reset=None), TwoCompartmentLIF], ids=["lif", "if", "two"])
def test_the_loop_written_out(make, kind):
    point, back, x = make(), feedback(kind), drive(9, 4, 6)
    out, outs, state = torch.zeros(4, 6, dtype=torch.float64), [], point.rest(x)
    for x_t in x:
        out, state = point.step(x_t + back(out), state)
        outs.append(out)
    whole = Recurrent(point, back)(x)
    assert torch.equal(whole, torch.stack(outs))
    assert not torch.equal(whole, point(x))


def test_against_spikingjelly():
    """Its element-wise container with the function x + w·y; outputs and the gradients to x and w."""
    x, w = drive(8, 3, 5).requires_grad_(), torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    theirs = layer.ElementWiseRecurrentContainer(
        neuron.LIFNode(surrogate_function=surrogate.ATan(2.0), detach_reset=True), lambda y, x_t: x_t + w * y, "m"
    )
    expected, weight = theirs(x), drive(8, 3, 5, seed=4)
    (expected * weight).sum().backward()
    gradient, x.grad = x.grad, None
    ours = Recurrent(LIF(surrogate=ATan(2.0)), SelfFeedback().double())
    nn.init.constant_(ours.feedback.weight, 0.6)  # in float64
    got = ours(x)
    (got * weight).sum().backward()
    assert torch.equal(got, expected)
    torch.testing.assert_close(x.grad, gradient, rtol=0, atol=1e-12)
    torch.testing.assert_close(ours.feedback.weight.grad, w.grad, rtol=0, atol=1e-12)


def test_inhibition_by_hand():
    """IF, x = 1, w = −1: fires, is silenced by its own spike, fires again."""
    net = Recurrent(IF(), SelfFeedback(value=-1.0))
    assert net(torch.ones(6, 1, 1)).flatten().tolist() == [1, 0, 1, 0, 1, 0]


def test_no_feedback_at_the_start_is_the_neuron():
    x = drive(7, 2, 5)
    assert torch.equal(Recurrent(LIF())(x), LIF()(x))


def test_a_convolution_feeds_back():
    torch.manual_seed(0)
    net, x = Recurrent(LIF(), nn.Conv2d(3, 3, 3, padding=1).double()), drive(5, 2, 3, 6, 6)
    out = net(x)
    # At t = 0 the convolution sees silence: only its bias arrives.
    first = LIF()(x[:1] + net.feedback.bias.view(1, 1, 3, 1, 1))
    assert torch.equal(out[:1], first)
    out.sum().backward()
    assert net.feedback.weight.grad.abs().min() > 0


@pytest.mark.parametrize("cuts", [(1,) * 9, (4, 5)], ids=str)
def test_chunks_of_a_stream_are_the_sequence(cuts):
    net, x = Recurrent(LIF(v_reset=None), feedback("linear")), drive(9, 4, 6)
    whole, stream = net(x), snnkit.Stream(net)
    with torch.no_grad():
        assert torch.equal(torch.cat([stream.run(chunk) for chunk in x.split(cuts)]), whole)
    # What the last output adds matters at the cut: a stream that kept the membrane alone would differ.
    membrane_only = Recurrent(LIF(v_reset=None), net.feedback)
    other = snnkit.Stream(membrane_only)
    with torch.no_grad():
        parts = []
        for chunk in x.split(cuts):
            parts.append(other.run(chunk))
            key, (last, *state) = next(iter(other._carry.states.items()))
            other._carry.states[key] = (torch.zeros_like(last), *state)
    assert not torch.equal(torch.cat(parts), whole)


def test_gradients_cross_the_chunks():
    net, x = Recurrent(LIF(), feedback("linear")), drive(6, 2, 6)
    net(x).sum().backward()
    expected = net.feedback.weight.grad.clone()
    net.zero_grad()
    stream = snnkit.Stream(net)
    (stream.run(x[:3]).sum() + stream.run(x[3:]).sum()).backward()
    torch.testing.assert_close(net.feedback.weight.grad, expected, rtol=0, atol=1e-12)


def test_half_precision():
    x, net = drive(6, 2, 6).bfloat16(), Recurrent(LIF(), SelfFeedback(value=-0.5))
    assert net(x).dtype == torch.bfloat16
    assert torch.equal(net(x), net(x.float()).bfloat16())


@pytest.mark.parametrize("v_reset", [0.0, -0.3, None])
def test_a_graph_carries_the_feedback(v_reset):
    """A graph of one step that starts at rest would lose the feedback, or a membrane that rests elsewhere than at 0."""
    x = torch.rand(6, 2, 6, dtype=torch.float64) * 2
    net = nn.Sequential(Recurrent(LIF(v_reset=v_reset), nn.Linear(6, 6))).double()
    spikes, _ = compiler.interpret(compiler.capture(net, x[:, :1]), x)
    assert torch.equal(spikes, net(x))
    assert not torch.equal(spikes, net[0].neuron(x))  # the feedback matters


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Recurrent(nn.ReLU()), "point neuron"),
        (lambda: Recurrent(Noisy(LIF(), 0.1)), "point neuron"),
        (lambda: Recurrent(LIF(), 0.5), "feedback"),
        (lambda: SelfFeedback(0), "channels"),
        (lambda: SelfFeedback(2.5), "channels"),
        (lambda: Recurrent(LIF(), nn.Linear(6, 5))(torch.rand(3, 2, 6)), r"\(2, 6\) into \(2, 5\)"),
        (lambda: Recurrent(LIF())(torch.rand(3)), "sequence"),
        (lambda: Recurrent(LIF())(torch.zeros(3, 2, dtype=torch.long)), "floating"),
    ],
)
def test_bad_arguments_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()
