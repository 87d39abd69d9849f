"""snnTorch's networks with a loop over time in their forward, and sequences with time on either axis.

Would break it: a loop left inside of a step, membranes that the code changes or returns taken as if it did not, an axis
of time mistaken for the batch, spikes other than the network's own.
"""

import pytest
import torch

from compiler.auditing import running
from compiler.auditing.stepped import one_lap
from compiler.auditing.subject import Asked, subject
from compiler.counting import count
from compiler.errors import CaptureError
from snnkit.errors import InvalidArgumentError

snntorch = pytest.importorskip("snntorch")

CODE = """
import torch
from torch import nn
import snntorch as snn
from snntorch import utils

num_steps = 5

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(16, 12), snn.Leaky(beta=0.9, threshold=0.3)
        self.fc2, self.lif2 = nn.Linear(12, 4), snn.Leaky(beta=0.8, threshold=0.1)

    def loop(self, frames, less=1.0):
        mem1, mem2, spikes, membranes = self.lif1.init_leaky(), self.lif2.reset_mem(), [], []
        for frame in frames:
            spk1, mem1 = self.lif1(self.fc1(frame.flatten(1)), mem1)
            mem1 = mem1 * less
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            membranes.append(mem2)
        return spikes, membranes

    def forward(self, x):
        return tuple(map(torch.stack, self.loop([x for _ in range(num_steps)])))

class Summed(Net):
    def forward(self, x):
        return sum(self.loop([x for step in range(5)])[0]) / num_steps

class TimeFirst(Net):
    def forward(self, x):
        return tuple(map(torch.stack, self.loop([x[step] for step in range(x.size(0))])))

class BatchFirst(Net):
    def forward(self, x):
        spikes, membranes = self.loop([x[:, step] for step in range(x.size(1))])
        return torch.stack(spikes, dim=1), torch.stack(membranes, dim=1)

class Fixed(Net):
    def forward(self, x):
        return torch.stack(self.loop([x[step] for step in range(num_steps)])[0])

class Halved(Net):
    def forward(self, x):
        return torch.stack(self.loop([x for step in range(num_steps)], 0.5)[0])

class Membranes(Net):
    def forward(self, x):
        return super().forward(x)[::-1]

class Hidden(nn.Module):
    def __init__(self, T=6):
        super().__init__()
        self.T = T
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3), snn.Leaky(beta=0.9, threshold=0.2, init_hidden=True), nn.Flatten(),
            nn.Linear(16, 3), snn.Synaptic(alpha=0.9, beta=0.8, threshold=0.1, init_hidden=True, output=True),
        )

    def forward(self, x):
        utils.reset(self.net)
        return torch.stack([self.net(x)[0] for _ in range(self.T)])

class Once(Net):
    def __init__(self):
        super().__init__()
        self.lif1, self.lif2 = (snn.Leaky(beta=0.9, threshold=0.2, init_hidden=True) for _ in range(2))

    def forward(self, x):
        return self.lif2(self.fc2(self.lif1(self.fc1(x.flatten(1)))))
"""


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "looping.py").write_text(CODE)
    return lambda factory, **more: Asked(f"{tmp_path / 'looping.py'}:{factory}", sample=(1, 4, 4), **more)


def published(one):
    """The spikes of every neuron of the code itself, on the samples of the audit: sums per sample."""
    module = running.build(running.place_of(one.what, None), {}).eval()
    sums = {}

    def add(name, out):
        sent = out[0] if isinstance(out, tuple) else out
        sums[name] = sums.get(name, 0.0) + sent.sum().item()

    for name, part in module.named_modules():
        if type(part).__module__.startswith("snntorch"):
            part.register_forward_hook(lambda m, i, out, name=name: add(name, out))
    return module, sums


ACCEPTED = {
    "Net": ({}, 5, None),
    "Summed": ({}, 5, None),
    "Hidden": ({}, 6, None),
    "TimeFirst": ({"timesteps": 7}, 7, 0),
    "BatchFirst": ({"timesteps": 7}, 7, 1),
    "Fixed": ({"timesteps": 5}, 5, 0),
}


@pytest.mark.parametrize("axis", [None, "given"])
@pytest.mark.parametrize("factory", ACCEPTED)
def test_spikes_are_those_of_the_code(factory, axis, asked):
    more, steps, where = ACCEPTED[factory]
    one = asked(factory, **more, time_axis=where if axis else None)
    found = subject(one)
    assert (found.graph.timesteps, found.unrolled, found.graph.static_input) == (steps, 1, where is None)
    assert any("(B, T, …)" in note for note in found.notes) == (where == 1 and axis is None)
    counts = count(found.graph, [found.samples])
    module, sums = published(one)
    with torch.no_grad():
        module(found.samples.transpose(0, 1) if where == 1 else found.samples)
    ours = {layer.name: layer.spikes * counts.samples for layer in counts.per_layer if layer.kind == "neuron"}
    assert ours == pytest.approx(sums, abs=1e-6)
    assert all(sums.values())


REFUSED = {
    "Halved": ({}, "first in lif1"),
    "Membranes": ({}, "return spikes first"),
    "Once": ({}, "--timesteps N"),
    "TimeFirst": ({}, r"\(T, B, …\): say how long"),
    "BatchFirst": ({"timesteps": 7, "time_axis": 0}, "time steps"),
    "Fixed": ({"timesteps": 6}, "give --timesteps 5"),
}


@pytest.mark.parametrize("factory", REFUSED)
def test_what_cannot_be_one_step_says_why(factory, asked):
    more, said = REFUSED[factory]
    with pytest.raises(CaptureError, match=said) as caught:
        subject(asked(factory, **more))
    assert "\n" not in str(caught.value)


def test_one_step_a_call_runs_as_often_as_said(asked):
    found = subject(asked("Once", timesteps=3))
    counts = count(found.graph, [found.samples])
    assert counts.total("neuron_updates") == 3 * 16


@pytest.mark.parametrize("axis", [2, -1])
def test_there_are_two_axes(axis, asked):
    with pytest.raises(InvalidArgumentError, match="--time-axis"):
        subject(asked("Net", time_axis=axis))
    with pytest.raises(InvalidArgumentError, match="--time-axis is for what a factory makes"):
        subject(Asked("spiking_cnn_small", time_axis=1))


def test_a_loop_turns_once_only_while_it_is_asked_to(asked):
    module = running.build(running.place_of(asked("TimeFirst").what, None), {})
    names = type(module).forward.__globals__
    with pytest.raises(ValueError, match="inside"), one_lap(module, 5):
        turn = names["range"]
        assert [(i, list(turn(5)), list(turn(4))) for i in turn(5)] == [(0, [0, 1, 2, 3, 4], [0, 1, 2, 3])]
        raise ValueError("inside")
    assert "range" not in names
