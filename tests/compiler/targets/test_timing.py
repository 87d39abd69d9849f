"""Loops and delays: every set of synapses costs the chip one step, and the graph none.

Would break it: a loop whose spikes come a step early or late, a delay that is lost or counted twice, a readout that
goes on adding after its own T steps, a loop that is too short and compiled all the same.
"""

import pytest
import torch
from support.chip_runs import run, same, spikes

import compiler
from compiler.errors import CompileError
from compiler.graph import BINARY, GraphBuilder

CHIPS = ("loihi1", "mesh")
FIRE = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}


class Net:
    """A graph of integrate-and-fire neurons under construction, with weights that are multiples of 1/8."""

    def __init__(self, timesteps=8, inputs=6):
        self.builder = GraphBuilder("loop", timesteps=timesteps)
        self.input = self.builder.input("x", (inputs,), BINARY)
        self.seeds = iter(range(1, 100))

    def layer(self, source, outputs=8, low=-4, high=9):
        shape = (outputs, *self.builder.signals[source].shape[-1:])
        weight = torch.randint(low, high, shape, generator=torch.Generator().manual_seed(next(self.seeds))) / 8
        return self.builder.add("linear", (source,), {}, {"weight": weight.double()})

    def add(self, *signals):
        first, *rest = signals
        for signal in rest:
            first = self.builder.add("add", (first, signal))
        return first

    def neuron(self, current, name, op="integrate_fire", **constants):
        return self.builder.neuron(op, current, {**FIRE, **constants}, states=(("v", 0.0),), name=name)

    def ago(self, steps, size=8, name="d"):
        """Return a signal of so many steps ago and how to say which."""
        reads = [self.builder.state(f"{name}{k}", (size,)) for k in range(1, steps + 1)]

        def carry(signal):
            for read, written in zip(reads, [signal, *reads], strict=False):
                self.builder.carry(read, written)

        return reads[-1], carry

    def done(self, *sources):
        out = self.add(*(self.layer(source, 3) for source in sources))
        return self.builder.finish((out,))


def loop(layers, delay, out=0, op="integrate_fire", **constants):
    """Layers in a row, the last of which feeds the first after ``delay`` steps; layer ``out`` is read out."""
    net = Net()
    earlier, carry = net.ago(delay)
    made = [net.neuron(net.add(net.layer(net.input, low=-1), net.layer(earlier)), "n0", op, **constants)]
    for index in range(1, layers):
        made.append(net.neuron(net.layer(made[-1], low=-1), f"n{index}", op, **constants))
    carry(made[-1])
    return net.done(made[out])


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(("layers", "delay"), [(1, 1), (1, 2), (1, 5), (2, 2), (2, 4), (3, 3), (3, 7)])
@pytest.mark.parametrize("out", [0, -1])
def test_a_loop_is_exact(layers, delay, out, chip):
    program, _, equality = same(loop(layers, delay, out), spikes(8, 5, 6), chip)
    assert equality.float_proven
    if (layers, delay) == (1, 1):
        placed, projections = program.mapping.lowered.placed, program.mapping.lowered.projections
        assert len(placed) == 2, "no relay"
        assert any(p.source == p.target for p in projections)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(("layers", "delay"), [(2, 1), (3, 1), (3, 2), (5, 4)])
def test_a_loop_that_is_too_short_is_refused(layers, delay, chip):
    """The layers of the loop are named, and what it takes."""
    violations = compiler.check(loop(layers, delay), chip, spikes(8, 5, 6), "binary")
    (violation,) = violations
    assert set(violation.layer.split(", ")) == {f"n{index}" for index in range(layers)}
    assert "delay" in violation.limit


def test_a_loop_of_leaky_neurons_runs_as_its_quantised_graph_says():
    graph = loop(2, 2, op="lif", tau=2.0, decay_input=False)
    _, trace, equality = run(graph, spikes(8, 5, 6, rate=0.8), "loihi1")
    assert trace.fired > 50
    assert not equality.float_proven


@pytest.mark.parametrize("constants", [{"v_reset": None}, {"op": "multilevel_lif", "levels": 4, "tau": 2.0}])
def test_graded_chips_have_loops_of_their_own_neurons(constants):
    if "levels" in constants:
        net = Net()
        earlier, carry = net.ago(2)
        settings = {"tau": 2.0, "levels": 4, "v_threshold": 1.0, "detach_reset": True}
        current = net.add(net.layer(net.input, low=0), net.layer(earlier, low=-4, high=2))
        made = net.builder.neuron("multilevel_lif", current, settings, states=(("v", 0.0),), name="n0")
        carry(made)
        graph = net.done(made)
    else:
        graph = loop(2, 3, **constants)
    _, trace, _ = same(graph, spikes(8, 5, 6), "mesh")
    assert trace.spikes["n0"].max() > ("levels" in constants)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_a_delay_of_spikes_on_their_way(steps, chip):
    """Of a neuron and of the input, beside the same spikes without a delay; more steps than a run has lose all."""
    net = Net(timesteps=5)
    first = net.neuron(net.layer(net.input, low=-1), "n0")
    late, carry = net.ago(steps)
    carry(first)
    late_input, carry = net.ago(steps, 6, "i")
    carry(net.input)
    second = net.neuron(net.add(net.layer(first), net.layer(late), net.layer(late_input)), "n1")
    same(net.done(second, late), spikes(5, 4, 6), chip)


@pytest.mark.parametrize("chip", CHIPS)
def test_gates_of_spikes_from_two_steps(chip):
    """A spike and the one before: an edge detector, and a loop through a gate."""
    net = Net()
    first = net.neuron(net.layer(net.input, low=-1), "n0")
    late, carry = net.ago(2)
    carry(first)
    both = net.builder.add("mul", (first, late), name="both")
    net_late, carry = net.ago(3, name="e")
    either = net.builder.add("maximum", (both, net_late), name="either")
    second = net.neuron(net.layer(either), "n1")
    carry(second)
    _, trace, _ = same(net.done(second, first), spikes(8, 4, 6), chip)
    assert trace.spikes["both"].any()


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("initial", [1.0, torch.ones(8)])
def test_a_state_that_starts_elsewhere_is_refused(initial, chip):
    net = Net()
    read = net.builder.state("d", (8,), initial)
    made = net.neuron(net.add(net.layer(net.input), net.layer(read)), "n0")
    net.builder.carry(read, made)
    with pytest.raises(CompileError, match="starts at another value than 0"):
        compiler.compile(net.done(made), spikes(8, 4, 6), chip, "binary")


@pytest.mark.parametrize("chip", [*CHIPS, "odin", "tinyodin", "catalyst_n1"])
@pytest.mark.parametrize("initial", [0.5, -1.0])
def test_a_membrane_that_starts_elsewhere_is_refused(initial, chip):
    """A neuron's own state is no edge of the graph, and the chip's starts at 0 all the same."""
    net = Net()
    current = net.layer(net.input)
    made = net.builder.neuron("integrate_fire", current, FIRE, states=(("v", initial),), name="n0")
    with pytest.raises(CompileError, match="n0"):
        compiler.compile(net.done(made), spikes(8, 4, 6), chip, "binary")


@pytest.mark.parametrize("chip", CHIPS)
def test_a_sum_that_feeds_itself_is_refused(chip):
    net = Net()
    earlier, carry = net.ago(1)
    total = net.add(net.layer(net.input), earlier)
    carry(total)
    made = net.neuron(total, "n0")
    with pytest.raises(CompileError, match="feeds itself"):
        compiler.compile(net.done(made), spikes(8, 4, 6), chip, "binary")


@pytest.mark.parametrize("chip", CHIPS)
def test_a_bias_in_a_loop_acts_for_the_run_alone(chip):
    """Currents of stored numbers begin and end with each population's own steps."""
    net = Net(timesteps=6)
    earlier, carry = net.ago(3)
    bias = net.builder.constant(torch.linspace(-1, 1, 8).double().mul(8).round() / 8)
    first = net.neuron(net.add(net.layer(net.input), net.layer(earlier), bias), "n0")
    second = net.neuron(net.add(net.layer(first), bias), "n1")
    carry(second)
    same(net.done(first), spikes(6, 4, 6, rate=0.1), chip)


@pytest.mark.parametrize("chip", CHIPS)
def test_what_the_host_computed_a_step_ago_is_refused(chip):
    """A loop through an OR that is left to the host: its current of the step before has nobody who keeps it."""
    net = Net()
    earlier, carry = net.ago(1)
    first = net.neuron(net.layer(net.input), "n0")
    both = net.builder.add("maximum", (first, earlier), name="both")
    carry(both)
    second = net.neuron(net.add(net.layer(earlier), net.layer(net.input)), "n1")
    graph = net.done(second)
    with pytest.raises(CompileError, match="step before"):
        compiler.compile(graph, spikes(8, 4, 6), chip, "binary", host="both")
