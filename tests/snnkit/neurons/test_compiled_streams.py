"""What torch.compile made, within a stream or under a recording: the states of the network as it is written.

Would break it: a carry that compiled code takes for absent, so that every step starts at rest without a word.
"""

import pytest
import torch
from torch import nn

import snnkit
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import LIF

STEPS = 6
X = torch.full((STEPS, 1, 1), 1.3)  # v = .65, .975, 1.14: every third step fires
SPIKES = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0]


@pytest.fixture
def compiled():
    torch._dynamo.reset()
    return torch.compile(nn.Sequential(LIF()), backend="eager")


@pytest.mark.parametrize("before", [False, True], ids=["not called yet", "compiled before"])
def test_a_compiled_network_keeps_its_states_in_a_stream(compiled, before):
    if before:
        assert compiled(X).flatten().tolist() == SPIKES
        compiled(X[:1])
    stream = snnkit.Stream(compiled)
    assert [stream.step(x).item() for x in X] == SPIKES
    assert compiled(X).flatten().tolist() == SPIKES  # and goes on compiled, from rest
    assert compiled(X[:1]).item() == 0


def test_a_compiled_network_is_recorded(compiled):
    compiled(X)
    with snnkit.record(compiled) as tape:
        compiled(X)
    (name,) = tape
    assert tape[name].spikes.flatten().tolist() == SPIKES


@pytest.mark.skipif(torch.__version__ < "2.14", reason="older versions do not say where they compile")
def test_a_step_inside_of_what_is_compiled_is_refused():
    torch._dynamo.reset()
    stream = snnkit.Stream(nn.Sequential(LIF()))
    step = torch.compile(lambda x: stream.step(x), backend="eager")
    with pytest.raises(InvalidArgumentError, match="leave it outside"):
        step(X[0])


class Trains(nn.Module):
    """An encoder with neurons of its own, which run apart from those behind it."""

    def __init__(self):
        super().__init__()
        self.encoder, self.neuron = snnkit.encoders.Regular(STEPS), LIF()

    def forward(self, x):
        return self.neuron(2 * self.encoder(x))


def test_an_encoder_of_neurons_compiles():
    torch._dynamo.reset()
    net, x = Trains(), torch.tensor([[0.3, 0.9, 0.5]])
    compiled = torch.compile(net, backend="eager")
    for _ in range(2):
        assert torch.equal(compiled(x), net(x))
    assert net(x).sum() > 0
