"""States: whatever carries over from step to step is in the graph, and starts where the model starts.

Would break it: one state taken for another, a rest that is 0 where the module says otherwise, a neuron that is called
twice with one state, a delay that is a step short, a module that keeps its state where a graph cannot see it.
"""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from support.captured import OverTime, assert_firing, check_spiking, noise, operations_of, randomise
from support.captured import assert_runs_as as assert_equal_runs
from support.neurons import examples
from support.own_operator import Leaky, LeakyParameters
from torch import nn

import snnkit
from compiler.capturing import capture
from compiler.errors import CaptureError
from compiler.graph import Graph, is_neuron
from compiler.interpreting import interpret, runs_at_once
from snnkit import neurons
from snnkit.errors import SnnkitError
from snnkit.kernels import Operator
from snnkit.neurons import IF, LIF, NO_RESET, AxonalDelay, MultiSpike, Neuron, PointNeuron, Recurrent, SelfFeedback
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import Sigmoid, spike

WHOLE_SEQUENCES = ("PSN", "MaskedPSN", "GatedLIF", "FewSpikes")


@pytest.mark.parametrize("name", [n for n in examples() if n.split("-")[0] not in WHOLE_SEQUENCES])
def test_every_neuron_equals_its_graph(name):
    """Alone, with one value per channel where it has such, over eight steps and other batches than the example's."""
    model = examples()[name]().double().eval()
    graph = capture(model, noise(1, 1, 5, 3))
    assert_equal_runs(model, graph, noise(8, 3, 5, 3))


class Between(nn.Module):
    """Linear, the neuron in question, linear, and a neuron that reads what it sends."""

    def __init__(self, neuron):
        super().__init__()
        self.fc1, self.neuron, self.fc2, self.last = nn.Linear(6, 5), neuron, nn.Linear(5, 5), LIF(v_threshold=0.2)

    def forward(self, x):
        return self.last(2 * self.fc2(self.neuron(2 * self.fc1(x))))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Recurrent(LIF(v_threshold=0.4), SelfFeedback(5, 0.4)),
        lambda: Recurrent(LIF(v_threshold=0.4, v_reset=-0.3), nn.Linear(5, 5)),
        lambda: Recurrent(IF(v_reset=None), nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 5))),
        lambda: Recurrent(neurons.CuBaLIF(), SelfFeedback(5, -0.5)),
        lambda: Recurrent(LIF(tau=nn.Parameter(torch.linspace(1.5, 3, 5)), v_threshold=0.5)),
        lambda: neurons.SlidingPSN(1),
        lambda: neurons.SlidingPSN(3),
        lambda: neurons.SlidingPSN(4, exp_init=False),
        lambda: neurons.CuBaLIF(),
        lambda: neurons.MultiCompartmentLIF(v_threshold=0.05),
        lambda: MultiSpike(4),
        lambda: IF(v_reset=None, v_threshold=0.7),
        lambda: IF(v_reset=NO_RESET, v_threshold=0.7),
        lambda: LIF(v_reset=-0.4),
        lambda: LIF(v_reset=0.3, v_threshold=0.9),
        lambda: LIF(tau=nn.Parameter(torch.linspace(1.5, 3, 5)), v_threshold=torch.linspace(0.3, 0.6, 5)),
        lambda: neurons.ParametricLIF(v_threshold=0.4, v_reset=None, channels=5),
        lambda: neurons.TernaryLIF(v_threshold=0.5),
        lambda: nn.Sequential(LIF(v_threshold=0.4), AxonalDelay(5, 3, delay=torch.tensor([0.0, 1.0, 3.0, 2.0, 0.0]))),
        lambda: nn.Sequential(LIF(v_threshold=0.4), AxonalDelay(5, 3, True, torch.tensor([0.0, 1.25, 3.0, 2.5, 0.75]))),
        lambda: nn.Sequential(LIF(v_threshold=0.4), AxonalDelay(5, 2, delay=torch.tensor([2.0] * 5))),
        lambda: nn.Sequential(LIF(v_threshold=0.4), AxonalDelay(5, 2, delay=torch.tensor([0.0] * 5))),
    ],
    ids=[
        *("feedback", "linear feedback", "deep feedback", "feedback of two states", "feedback and channels"),
        *("SlidingPSN(1)", "SlidingPSN(3)", "SlidingPSN at random", "CuBaLIF", "MultiCompartmentLIF", "MultiSpike"),
        *("soft reset", "no reset", "low reset", "high reset", "channels", "trained", "ternary"),
        *("delays", "delays between steps", "equal delays", "no delay"),
    ],
)
def test_a_neuron_between_layers_equals_its_graph(make):
    torch.manual_seed(0)
    model = randomise(Between(make()))
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, neurons.SlidingPSN):
                part.bias.fill_(-0.3)
    check_spiking(model, 6, steps=7, exact=False)


@pytest.mark.parametrize("steps", [[2.0, 0, 1, 2, 1], [0.0] * 5, [2.0] * 5], ids=str)
def test_a_delay_alone_is_what_it_says(steps):
    """Also before its first spike arrives, and where no channel waits."""
    model, x = AxonalDelay(5, 2, delay=torch.tensor(steps)).double(), noise(6, 2, 5)
    graph = capture(model, noise(1, 1, 5))
    for stepwise in (True, False):
        assert torch.equal(interpret(graph, x, stepwise=stepwise)[0], model(x))


def test_a_recurrent_convolution_equals_its_graph():
    model = randomise(Recurrent(LIF(v_threshold=0.8), nn.Conv2d(3, 3, 3, padding=1)))
    graph = check_spiking(model, 3, 6, 6, steps=6)
    assert not runs_at_once(graph)


class Twice(nn.Module):
    """One neuron with two states, called at two places of other shapes, and a third one in between."""

    def __init__(self):
        super().__init__()
        self.fc, self.lif, self.other = nn.Linear(6, 4), neurons.CuBaLIF(v_threshold=0.3), LIF(v_threshold=0.3)

    def forward(self, x):
        return self.other(self.lif(3 * self.fc(self.lif(x) + self.other(x)[..., :1])))


def test_every_call_of_a_neuron_has_a_state_of_its_own():
    graph = check_spiking(randomise(Twice()), 6, steps=6)
    assert len(graph.states) == 2 * 2 + 2
    assert {graph.shape(state.read) for state in graph.states} == {(6,), (4,)}
    assert len({state.read for state in graph.states}) == len(graph.states)


def test_a_neuron_called_once_for_each_part_of_its_input():
    class Parts(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = LIF(v_threshold=0.4)

        def forward(self, x):
            return torch.cat([self.lif(part) for part in x.split([1, 2, 3], -1)], -1)

    graph = check_spiking(Parts().double(), 6)
    assert sorted(graph.shape(state.read) for state in graph.states) == [(1,), (2,), (3,)]


@pytest.mark.parametrize("v_reset", [-0.1, 0.3, -2.0])
def test_a_start_is_the_reset_to_the_last_bit(v_reset):
    for neuron in (LIF(v_reset=v_reset), IF(v_reset=v_reset)):
        for dtype in (torch.float32, torch.float64):
            graph = capture(neuron.to(dtype), torch.zeros(1, 1, 3, dtype=dtype))
            assert graph.states[0].initial == v_reset == graph.nodes[-1].attributes["v_reset"]


def test_a_start_that_differs_by_channel_is_a_tensor():
    neuron = LIF(v_reset=torch.tensor([-0.5, 0.0, 0.25]), v_threshold=0.6) if _takes_tensors() else None
    if neuron is None:
        pytest.skip("resets are numbers")
    graph = check_spiking(neuron.double(), 3)
    assert torch.equal(graph.states[0].initial, torch.tensor([-0.5, 0.0, 0.25]).double())


def _takes_tensors():
    try:
        LIF(v_reset=torch.tensor([-0.5, 0.0, 0.25]))
    except SnnkitError:
        return False
    return True


def test_constants_that_training_changed_are_those_of_the_graph():
    model = LIF(tau=nn.Parameter(torch.tensor(2.0)), v_threshold=0.5).double()
    with torch.no_grad():
        model.tau.fill_(1.2)
    graph = check_spiking(model, 3)
    assert float(graph.nodes[-1].parameters["tau"]) == pytest.approx(1.2)


# A module that keeps state in the active carry.


class Average(nn.Module):
    """A leaky average of its input, (T, B, …), that starts at ``start`` and does not say so."""

    def __init__(self, start=0.0):
        super().__init__()
        self.start, self.leak = start, nn.Parameter(torch.tensor(0.6))

    def forward(self, x):
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        v = torch.full_like(x[0], self.start) if state is None else state[0]
        outs = []
        for x_t in x:
            v = self.leak * v + x_t
            outs.append(v)
        if carry is not None:
            carry.leave(key, (v,))
        return torch.stack(outs)


class AverageThatSays(Average):
    """The same with a ``rest``."""

    def rest(self, x):
        return (torch.full_like(x[0], self.start),)


class TwoMemories(nn.Module):
    """Two states of other shapes: the last input, and its sum over features."""

    def forward(self, x):
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        last, total = (torch.zeros_like(x[0]), torch.zeros_like(x[0, :, :1])) if state is None else state
        outs = []
        for x_t in x:
            total = total + x_t.sum(-1, keepdim=True)
            outs.append(x_t - last + 0.1 * total)
            last = x_t
        if carry is not None:
            carry.leave(key, (last, total))
        return torch.stack(outs)


@pytest.mark.parametrize(
    "memory",
    [Average(), AverageThatSays(), AverageThatSays(0.75), TwoMemories()],
    ids=["at 0", "said", "at 3/4", "two"],
)
def test_a_module_with_a_memory_of_its_own_equals_its_graph(memory):
    model = nn.Sequential(memory, LIF(v_threshold=0.8)).double()
    graph = check_spiking(model, 5, steps=6)
    if isinstance(memory, AverageThatSays):
        assert graph.states[0].initial == memory.start
    assert not runs_at_once(graph)


def test_a_memory_that_does_not_say_where_it_starts_is_refused():
    """From 0 it would differ in the first step."""
    with pytest.raises(CaptureError, match=r"0 \(Average\) does not start at 0.*rest\(x\)"):
        capture(nn.Sequential(Average(0.75), LIF()).double(), noise(1, 1, 5))


def test_a_memory_without_any_neuron_is_captured_or_refused():
    """A model without neurons is taken for one without time: its state must not be lost in silence."""
    model = nn.Sequential(Average()).double()
    try:
        graph = capture(model, noise(4, 1, 5))
    except SnnkitError:
        return
    x = noise(4, 3, 5)
    got = interpret(graph, x)[0]
    assert got.shape == x.shape
    assert torch.equal(got, model(x))


# Neurons of the user's own.


class Stateless(PointNeuron):
    """An operator without state."""

    operator: ClassVar[Operator] = Operator(
        "test_states_fires",
        LeakyParameters,
        lambda x, state, p, surrogate: (spike(x - p.v_threshold, surrogate), ()),
        operations=(0, 0, 1),
        state=(),
    )

    def __init__(self):
        super().__init__(Sigmoid(4.0), "auto")

    def constants(self):
        return LeakyParameters(0.0, 0.6)


class Stepped(Neuron):
    """``step`` and ``rest`` only the forward knows of the carry."""

    def __init__(self, carries=True):
        super().__init__()
        self.weight, self.carries = nn.Parameter(torch.linspace(0.5, 0.9, 5)), carries

    def rest(self, x):
        return (torch.full_like(x[0], -0.2),)

    def step(self, x, state):
        v = self.weight * state[0] + x
        out = (v >= 0.7).to(x.dtype)
        return out, (v * (1.0 - out),)

    def forward(self, x):
        carry = active_carry() if self.carries else None
        key, state = (None, None) if carry is None else carry.start(self, x)
        state, outs = self.rest(x) if state is None else state, []
        for x_t in x:
            out, state = self.step(x_t, state)
            outs.append(out)
        if carry is not None:
            carry.leave(key, state)
        return torch.stack(outs)


class Loop(Neuron):
    """A forward that loops over T and forgets: no step, no rest, no carry."""

    def forward(self, x):
        v, outs = torch.zeros_like(x[0]), []
        for x_t in x:
            v = 0.8 * v + x_t
            out = (v >= 1.0).to(x.dtype)
            v = v * (1.0 - out)
            outs.append(out)
        return torch.stack(outs)


class Memoryless(Neuron):
    """A neuron that has no memory at all needs none."""

    def forward(self, x):
        return (x > 0.3).to(x.dtype)


class Liar(Stepped):
    """Its ``step`` is not what its forward does."""

    def forward(self, x):
        return super().forward(x) * (x > 1.0).to(x.dtype)


class Remembers(Neuron):
    """It keeps its membrane in itself from call to call."""

    def __init__(self):
        super().__init__()
        self.v = None

    def forward(self, x):
        outs = []
        for x_t in x:
            self.v = x_t if self.v is None else 0.8 * self.v + x_t
            outs.append((self.v >= 1.0).to(x.dtype))
        return torch.stack(outs)


@pytest.mark.parametrize(
    "make",
    [Leaky, Stateless, Stepped, lambda: Stepped(False), Memoryless],
    ids=["operator", "no state", "steps", "forgets but says", "no memory"],
)
@pytest.mark.parametrize("wrap", [lambda n: n, Between], ids=["alone", "between layers"])
def test_an_own_neuron_equals_its_graph(make, wrap):
    model = randomise(wrap(make()))
    features = 6 if wrap is Between else 5
    graph = capture(model, noise(1, 1, features))
    x = noise(6, 3, features)
    wanted = model(x).detach()
    assert 0.02 < wanted.mean() < 0.98
    for stepwise in (True, False):
        torch.testing.assert_close(interpret(graph, x, stepwise=stepwise)[0], wanted, rtol=0, atol=1e-12)
    if make is Leaky:
        rests = {
            state.read.rsplit(".", 1)[-1]: state.initial
            for state in graph.states
            if "neuron" in state.read or wrap is not Between
        }
        assert rests == {"current": 0.0, "v": -0.5}


@pytest.mark.parametrize("make", [Loop, Liar, Remembers])
@pytest.mark.parametrize("wrap", [lambda n: n, Between], ids=["alone", "between layers"])
def test_an_own_neuron_that_is_no_step_is_refused_by_name(make, wrap):
    model = randomise(wrap(make()))
    name = "neuron" if wrap is Between else "the model"
    with pytest.raises(CaptureError, match=rf"{name}.*({make.__name__}|stored operand)") as caught:
        capture(model, noise(4, 1, 6 if wrap is Between else 5))
    assert "\n" not in str(caught.value)


def test_a_refused_neuron_leaves_no_trace():
    """Neither the module's forward nor its mode is another afterwards."""
    model = nn.Sequential(Loop(), Leaky()).train()
    with pytest.raises(CaptureError):
        capture(model, torch.zeros(1, 1, 5))
    assert all("forward" not in part.__dict__ for part in model.modules())
    assert model.training
    capture(nn.Sequential(Leaky()), torch.zeros(1, 1, 5))
    assert all("forward" not in part.__dict__ for part in model.modules())


def test_an_own_neuron_inside_recurrent():
    model = randomise(Recurrent(Leaky(), SelfFeedback(5, 0.3)))
    check_spiking(model, 5, steps=6, exact=False)


def test_two_own_neurons_of_one_class_have_their_own_constants():
    model = nn.Sequential(Leaky(0.2, 0.5), Leaky(0.9, 1.5)).double()
    check_spiking(model, 5, steps=6, exact=False)


def test_a_graph_with_states_survives_a_file(tmp_path):
    """Whatever kind of state: numbers, tensors, chains of a delay."""
    torch.manual_seed(0)
    model = nn.Sequential(
        Recurrent(LIF(v_threshold=0.4), SelfFeedback(5, 0.4)),
        AxonalDelay(5, 2, delay=torch.tensor([2.0, 0, 1, 2, 1])),
        neurons.SlidingPSN(3),
        AverageThatSays(0.5),
        Leaky(),
    ).double()
    graph, x = capture(model, noise(1, 1, 5)), noise(6, 2, 5)
    graph.save(tmp_path / "a.graph")
    loaded = Graph.load(tmp_path / "a.graph")
    assert torch.equal(interpret(loaded, x)[0], interpret(graph, x)[0])
    torch.testing.assert_close(interpret(graph, x)[0], snnkit.Stream(model).run(x).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_sizes_of_one_are_no_batch(size):
    """Layers with one channel, one pixel: nothing but the batch is left out."""
    model = randomise(
        nn.Sequential(OverTime(nn.Conv2d(1, size, 1)), LIF(v_threshold=0.3), OverTime(nn.Conv2d(size, 1, 1)), IF(0.4))
    )
    for parameter in model.parameters():
        parameter.data.abs_()
    graph = capture(model, noise(1, 1, 1, size, 1))
    assert graph.shape("input") == (1, size, 1)
    x = noise(5, 4, 1, size, 1)
    assert_equal_runs(model, graph, x)
    assert sum(map(is_neuron, graph)) == 2
    assert operations_of(graph) == ["conv", "lif", "conv", "integrate_fire"]
    assert_firing(graph, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_keeps_its_states_as_a_stream_does(dtype):
    """A stream holds the states of half precision in float32; so does a graph, and it gives the same every time."""
    model = nn.Sequential(LIF(v_threshold=0.3), IF(0.3)).to(dtype)
    graph, x = capture(model, torch.zeros(1, 1, 500, dtype=dtype)), noise(6, 3, 500).to(dtype)
    wanted = snnkit.Stream(model).run(x)
    for stepwise in (True, False, True, False):
        got, _ = interpret(graph, x, stepwise=stepwise)
        assert got.dtype == dtype
        assert torch.equal(got, wanted)
