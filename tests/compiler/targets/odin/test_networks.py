"""Networks on ODIN and tinyODIN: float network → quantised graph → chip, with the chip's own traces in between."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import compiler
from compiler.errors import CompileError
from compiler.graph import BINARY, GraphBuilder, is_neuron
from compiler.graph.signals import integer
from compiler.program import Program
from compiler.targets import target_of
from compiler.targets.odin import trace
from compiler.targets.target import Options
from hw import get_chip
from hw.quantity import Quantity
from snnkit.errors import InvalidArgumentError
from snnkit.neurons import IF, LIF

from . import plain

CHIPS = ("tinyodin", "odin")


class Dense(nn.Module):
    """Linear layers with a neuron between two each."""

    def __init__(self, sizes, bias=False, neuron=IF, gain=2.0):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(a, b, bias=bias) for a, b in pairwise(sizes)])
        self.neurons = nn.ModuleList([neuron() for _ in sizes[2:]])
        for layer in self.layers:
            layer.weight.data.mul_(gain)

    def forward(self, x):
        for layer, neuron in zip(self.layers, self.neurons, strict=False):
            x = neuron(layer(x))
        return self.layers[-1](x)


class Small(nn.Module):
    """A convolution, a shortcut around a second one, an average pool."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (nn.Conv2d(a, 3, 3, padding=1, bias=False) for a in (2, 3))
        self.one, self.two, self.pool, self.head = IF(), IF(v_threshold=0.7), nn.AvgPool2d(2), nn.Linear(12, 3)

    def forward(self, x):
        t, b = x.shape[:2]
        x = self.one(2 * self.first(x.flatten(0, 1)).unflatten(0, (t, b)))
        x = x + self.second(x.flatten(0, 1)).unflatten(0, (t, b))
        x = self.pool(self.two(x).flatten(0, 1)).unflatten(0, (t, b))
        return self.head(x.flatten(2))


def spikes(*shape, rate=0.4, seed=0):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < rate).float()


def dense(chip, sizes=(20, 16, 12, 4), seed=0, steps=8, images=5, **settings):
    torch.manual_seed(seed)
    x = spikes(steps, images, sizes[0], seed=seed)
    return compiler.compile(Dense(sizes, **settings), x, chip=chip, input_type="binary"), x


def check_states(program, x):
    """Every membrane and every spike of one image, from the chip's own simulator through a file, and of the graph."""
    image = program.image
    v, s, cycles = [], [], 0
    for b in range(x.shape[1]):
        arrays = image.trace(x[:, b : b + 1])
        done = trace.replay(image.format, arrays)
        v.append(done["v"])
        s.append(done["s"])
        cycles += int(done["event_cycles"].sum())
    nodes = [place.node for place in image.places]
    probes = [name for node in nodes for name in node.outputs]
    _, seen = compiler.interpret(program.graph, x.double(), probes=probes)
    for place in image.places:
        here = slice(place.neuron, place.neuron + place.neurons)
        membrane = seen[place.node.outputs[1]].flatten(2).transpose(0, 1)
        assert np.array_equal(np.stack(v)[:, :, here], membrane.numpy())
        fired = seen[place.node.output].flatten(2)
        if place.node.role == "readout":
            fired = seen[place.node.outputs[2]].diff(dim=0, prepend=torch.zeros(1, *membrane.shape[::2]))
        assert np.array_equal(np.stack(s)[:, :, here], fired.transpose(0, 1).numpy())
    activity = image.simulate(x)
    assert activity.counters["cycles"] == cycles
    assert activity.fired == np.stack(s).sum()


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bias", [False, True])
def test_exact_in_every_spike_and_membrane(chip, seed, bias):
    program, x = dense(chip, seed=seed, bias=bias)
    equal = program.verify(x)
    assert equal.verdict == "exact"
    assert equal.spikes > 50
    assert equal.membrane_mismatches == 0
    check_states(program, x)


@pytest.mark.parametrize("chip", CHIPS)
def test_exact_with_convolutions_shortcuts_and_pools(chip):
    torch.manual_seed(0)
    x = spikes(6, 3, 2, 4, 4)
    program = compiler.compile(Small(), x, chip=chip, input_type="binary")
    assert program.verify(x).verdict == "exact"
    check_states(program, x)


def recurrent(recurrence=lambda weight: weight / 4):
    """A layer that reads its own spikes of one and of two steps before."""
    torch.manual_seed(3)
    builder = GraphBuilder("recurrent", timesteps=9)
    x = builder.input("x", (6,), BINARY)
    before, earlier = builder.state("before", (10,)), builder.state("earlier", (10,))
    drive = builder.add("linear", (x,), parameters={"weight": torch.randn(10, 6)})
    for read in (before, earlier):
        again = builder.add("linear", (read,), parameters={"weight": recurrence(torch.randn(10, 10))})
        drive = builder.add("add", (drive, again))
    constants = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}
    layer = builder.neuron("integrate_fire", drive, constants, states=(("v", 0.0),), name="layer")
    builder.carry(before, layer)
    builder.carry(earlier, before)
    return builder.finish((builder.add("linear", (layer,), parameters={"weight": torch.randn(3, 10)}),))


@pytest.mark.parametrize("chip", CHIPS)
def test_exact_with_feedback(chip):
    program, x = compiler.compile(recurrent(), chip=chip), spikes(9, 4, 6)
    equal = program.verify(x)
    assert equal.verdict == "exact"
    assert equal.spikes > 50
    check_states(program, x)
    assert set(program.image.delay.tolist()) == {0, 1, 2}


@pytest.mark.parametrize("chip", CHIPS)
def test_feedback_that_runs_away(chip):
    program, x = compiler.compile(recurrent(torch.abs), chip=chip), spikes(9, 1, 6)
    for run in (program.simulate, lambda x: compiler.interpret(program.graph, x.double())):
        with pytest.raises(InvalidArgumentError, match="spikes make ever more spikes") as caught:
            run(x)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("chip", CHIPS)
def test_events_that_count(chip):
    """An input that fires up to three times in a step."""
    torch.manual_seed(0)
    builder = GraphBuilder("counted", timesteps=5)
    x = builder.input("x", (6,), integer(0, 3))
    drive = builder.add("linear", (x,), parameters={"weight": torch.randn(8, 6) / 3})
    constants = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}
    layer = builder.neuron("integrate_fire", drive, constants, states=(("v", 0.0),), name="layer")
    graph = builder.finish((layer,))
    x = torch.randint(0, 4, (5, 3, 6), generator=torch.Generator().manual_seed(1)).float()
    program = compiler.compile(graph, chip=chip)
    assert program.verify(x).verdict == "exact"
    check_states(program, x)
    with pytest.raises(InvalidArgumentError, match=r"takes 5 steps of integer\[0,3\] events; .* from 4 to 4"):
        program.simulate(torch.full((5, 3, 6), 4.0))


@pytest.mark.parametrize("chip", CHIPS)
def test_through_a_file(chip, tmp_path):
    program, x = dense(chip, (5, 4, 2), steps=6, images=1)
    arrays = program.image.trace(x)
    trace.write(tmp_path / "program.npz", arrays)
    done = compiler.simulate.replay(tmp_path / "program.npz")
    wanted = plain.replay(arrays)
    assert all(np.array_equal(done[key], wanted[key]) for key in wanted)
    assert done["s"].sum() == program.simulate(x).fired > 0
    with pytest.raises(InvalidArgumentError, match="a trace holds the events of one image, got 3"):
        program.image.trace(spikes(6, 3, 5))


def by_hand(chip, weight, threshold, sent):
    """One neuron fed by two inputs; returns its spikes and membrane after each step."""
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.data = torch.tensor([weight])
    model = nn.Sequential(layer, IF(v_threshold=threshold))
    x = torch.tensor(sent).unsqueeze(1)
    program = compiler.compile(model, x, chip=chip, input_type="binary")
    node = next(iter(program.graph))
    _, seen = compiler.interpret(program.graph, x.double(), probes=node.outputs)
    check_states(program, x)
    return [seen[name].flatten().tolist() for name in node.outputs]


SENT = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]


def test_tinyodin_by_hand():
    # Inhibition first: +3, -2 → 1, (-2, +3) → 2, -2 → 0, +3, +3 → 6 ≥ 5: fires.
    assert by_hand("tinyodin", [3.0, -2.0], 5.0, SENT) == [[0, 0, 0, 0, 0, 1], [3, 1, 2, 0, 3, 0]]
    # Below 0: -2, -4, +3 → -1, +3 → 2, …
    sent = [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    assert by_hand("tinyodin", [3.0, -2.0], 5.0, sent) == [[0, 0, 0, 0], [-2, -4, -1, 2]]


def test_odin_by_hand():
    # Excitation first where nothing was sent yet.
    assert by_hand("odin", [3.0, -2.0], 5.0, SENT) == [[0, 0, 0, 0, 0, 1], [3, 1, 2, 0, 3, 0]]
    # Membranes end at 0.
    sent = [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    assert by_hand("odin", [3.0, -2.0], 5.0, sent) == [[0, 0, 0, 1], [0, 0, 3, 0]]


def test_a_neuron_fires_more_than_once_in_a_step():
    # 6, then 6 more: a threshold of 5 is reached by either; what is above it is forgotten.
    found = by_hand("tinyodin", [6.0, 6.0], 5.0, [[1.0, 1.0], [1.0, 0.0]])
    assert found == [[2, 1], [0, 0]]


@pytest.mark.parametrize("seed", range(4))
def test_whole_weights_are_not_rounded_and_fire_as_their_sum_does(seed):
    """With signed membranes, all inhibition comes first: whether a neuron fires is that of the float network."""
    torch.manual_seed(seed)
    model = Dense((24, 30, 5))
    model.layers[0].weight.data = torch.randint(-8, 8, (30, 24)).float() / 4
    model.neurons[0].v_threshold = 3.3
    x = spikes(1, 20, 24, seed=seed)
    program = compiler.compile(model, x, chip="tinyodin", input_type="binary")
    node = next(node for node in program.graph if is_neuron(node))
    assert node.attributes["rounding"] == 0.0
    floating = compiler.interpret(program.source_graph.double(), x.double(), probes=["neurons.0"])[1]["neurons.0"]
    found = compiler.interpret(program.graph, x.double(), probes=[node.output])[1][node.output]
    assert torch.equal(found > 0, floating > 0)
    assert floating.any()
    assert not program.verify(x).float_proven


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("bias", [False, True])
def test_the_output_is_bounded_where_spikes_agree(chip, bias):
    """A network of one layer of neurons that fire once at most: the logits differ by what is said."""
    torch.manual_seed(1)
    model = nn.Sequential(IF(v_threshold=0.9), nn.Linear(30, 4, bias=bias))
    x = spikes(40, 6, 30)
    program = compiler.compile(model, x, chip=chip, input_type="binary")
    equal = program.verify(x)
    assert equal.float_mismatches == 0
    assert 0 < equal.float_logit_error <= equal.float_logit_bound < 1.0


def test_a_readout_that_cannot_leave_its_range_only_integrates():
    short, x = dense("tinyodin", steps=4)
    assert short.readout.parameters["threshold"].tolist() == [4095.0] * 4
    long, y = dense("tinyodin", steps=64)
    assert long.readout.parameters["threshold"].tolist() == [2047.0] * 8
    assert short.verify(x).verdict == long.verify(y).verdict == "exact"
    # At the ends of the proof: as much as comes can come.
    program = compiler.compile(Dense((20, 16, 4), gain=5.0), x := torch.ones(4, 1, 20), "tinyodin", "binary")
    v = program.image.simulate(x).membrane
    assert v.abs().max() < 2048


def test_what_lowers_an_output_fits_the_second_neuron_of_its_pair():
    """That one is raised by it, and tinyODIN has no weight of +8."""
    model = nn.Sequential(IF(v_threshold=0.9), nn.Linear(8, 2, bias=False))
    model[1].weight.data = torch.tensor([[-8.0, 7.0, 3.0, 1.0] * 2, [1.0, -8.0, 2.0, 2.0] * 2])
    program = compiler.compile(model, x := spikes(200, 3, 8), "tinyodin", "binary")
    assert program.readout.parameters["weight"].max() == 7
    equal = program.verify(x)
    assert equal.verdict == "exact"
    assert equal.float_logit_error <= equal.float_logit_bound < 2.0


def test_outputs_that_are_spikes_are_counted_exactly():
    for chip in CHIPS:
        torch.manual_seed(0)
        x = spikes(400, 2, 10, rate=0.9)
        model = nn.Sequential(nn.Linear(10, 5, bias=False), IF(v_threshold=0.1))
        program = compiler.compile(model, x, chip=chip, input_type="binary")
        node = next(iter(program.graph))
        total = compiler.interpret(program.graph, x.double(), probes=[node.output])[1][node.output].sum(0)
        assert torch.equal(program.simulate(x).logits * 400, total)
        assert total.max() > 255


@pytest.mark.parametrize(("steps", "lost"), [(256, False), (257, True)])
def test_a_membrane_that_may_end_below_is_told(steps, lost):
    """Eight sources of −1 each, one of +1: inhibition alone is at −2,048 after 256 steps, and below after one more."""
    model = nn.Sequential(nn.Linear(9, 2, bias=False), IF(v_threshold=5.0), nn.Linear(2, 1, bias=False)).double()
    model[0].weight.data = torch.tensor([[-5.0] * 8 + [5.0]] * 2).double()
    model[2].weight.data.fill_(1.0)
    x = torch.zeros(steps, 1, 9).double()
    program = compiler.compile(model, x, "tinyodin", "binary")
    neuron, readout = program.graph
    assert neuron.parameters["weight"].min() == -1, "the smallest whole numbers are taken"
    assert (neuron.attributes["rounding"], readout.attributes["rounding"]) == (np.inf if lost else 0.0, 0.0)


def test_what_a_membrane_loses_below_is_measured():
    """Thirty steps of inhibition, thirty of excitation: the float network still owes what tinyODIN has forgotten."""
    model = nn.Sequential(nn.Linear(80, 2, bias=False), IF(), nn.Linear(2, 1, bias=False)).double()
    model[0].weight.data[:, :40], model[0].weight.data[:, 40:] = -1.0, 0.875
    model[2].weight.data.fill_(1.0)
    x = torch.zeros(60, 1, 80).double()
    x[:30, :, :40], x[30:, :, 40:] = 1.0, 1.0
    program = compiler.compile(model, x, "tinyodin", "binary")
    equal = program.verify(x)
    assert equal.verdict == "exact", "of the quantised graph, which forgets it too"
    assert equal.float_verdict == "approximate"
    assert not equal.float_proven
    assert next(iter(program.graph)).attributes["rounding"] == np.inf
    sixth = compiler.compile(model, x[:6], "tinyodin", "binary")
    assert next(iter(sixth.graph)).attributes["rounding"] == 0.0


def test_membranes_without_sign_get_excitation_and_inhibition_in_turns():
    """Sums of +7, +5, -6, -4, -1, in the order in which they keep what was sent near to 0."""
    layer = nn.Linear(5, 1, bias=False)
    layer.weight.data = torch.tensor([[-6.0, 7.0, -4.0, 5.0, -1.0]])
    program = compiler.compile(nn.Sequential(layer, IF(v_threshold=20.0)), spikes(2, 1, 5), "odin", "binary")
    assert next(iter(program.graph)).parameters["weight"].tolist() == [[7.0, -6.0, -4.0, 5.0, -1.0]]
    program = compiler.compile(nn.Sequential(layer, IF(v_threshold=20.0)), spikes(2, 1, 5), "tinyodin", "binary")
    assert next(iter(program.graph)).parameters["weight"].tolist() == [[-6.0, -4.0, -1.0, 7.0, 5.0]]


@pytest.mark.parametrize("chip", CHIPS)
def test_a_threshold_for_each_neuron(chip):
    torch.manual_seed(0)
    model = Dense((12, 9, 3))
    model.neurons[0] = IF(v_threshold=torch.linspace(0.3, 1.5, 9))
    x = spikes(6, 4, 12)
    program = compiler.compile(model, x, chip=chip, input_type="binary")
    node = next(iter(program.graph))
    assert len(node.parameters["threshold"].unique()) > 4
    assert program.verify(x).verdict == "exact"


@pytest.mark.parametrize("chip", CHIPS)
def test_inputs(chip):
    program, x = dense(chip, (5, 4, 2), steps=6, images=2)
    assert torch.equal(program.simulate(x.bool()).logits, program.simulate(x).logits)
    still = x[0]
    assert torch.equal(program.simulate(still).logits, program.simulate(still.expand(6, *still.shape)).logits)
    for wrong, said in [
        (x[:, :0], "the input is empty"),
        (x[:5], "takes 6 steps of binary events; got 5 steps"),
        (x / 2, "with values from 0 to 0.5"),
        (x * float("nan"), "with values from nan"),
        (x[..., :4], r"takes \(B, 5\) or \(T, B, 5\), got \(6, 2, 4\)"),
    ]:
        with pytest.raises(InvalidArgumentError, match=said):
            program.simulate(wrong)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("which", [0, 1])
def test_layers_without_weights(chip, which):
    torch.manual_seed(0)
    model, x = Dense((6, 5, 3)), spikes(4, 2, 6)
    model.layers[which].weight.data.zero_()
    program = compiler.compile(model, x, chip=chip, input_type="binary")
    equal = program.verify(x)
    assert equal.verdict == "exact"
    assert float(equal.quantised_logits.abs().max()) == 0.0
    assert program.readout.attributes["scale"] > 1e-3


def test_rows_are_shared_where_there_are_too_few():
    program, x = dense("tinyodin", (140, 20, 4))
    assert len(program.image.source) == 160
    weight = next(iter(program.graph)).parameters["weight"]
    sums = weight.sum(0)
    assert bool((weight.amin(0) < 0).all())
    assert torch.equal(sums, sums.sort().values)
    assert program.verify(x).verdict == "exact"
    with pytest.raises(CompileError, match=r"3\d\d rows of synapses .*odin has 256; 1\d\d sources that raise some"):
        dense("odin", (140, 20, 4))


def test_work_and_its_price():
    program, x = dense("odin", (20, 16, 4), images=3)
    done = program.simulate(x)
    rows = int(sum(len(program.image.trace(x[:, b : b + 1])["cfg_events"]) for b in range(3)))
    assert done.counters["host_events"] == rows
    assert done.counters["synaptic_operations"] == 256 * rows == int(done.synaptic_events.sum())
    assert done.counters["energy_pj"] == pytest.approx(12.7 * 256 * rows)
    assert done.counters["cycles"] == 523 * rows + 6 * done.fired
    assert done.packets.tolist() == [[0], [rows]]
    # Fewer neurons than there are take less time on tinyODIN, and nobody has measured what they cost.
    program, x = dense("tinyodin", (20, 16, 4), images=3)
    done = program.simulate(x)
    assert done.counters["synaptic_operations"] == 20 * done.counters["host_events"]
    assert done.counters["cycles"] == (2 * 20 + 12) * done.counters["host_events"] + 6 * done.fired
    assert "energy_pj" not in done.counters


@pytest.mark.parametrize("chip", CHIPS)
def test_saved_and_described(chip, tmp_path):
    program, x = dense(chip)
    program.save(tmp_path / "net.program")
    again = Program.load(tmp_path / "net.program")
    assert torch.equal(again.simulate(x).logits, program.simulate(x).logits)
    said = json.loads(json.dumps(again.to_dict()))
    assert said["chip"] == chip
    assert said["cores"][0]["neurons"] == 28 + (4 if chip == "tinyodin" else 8)
    assert said["limits"]["neurons"] == 256


REFUSED = [
    (lambda: Dense((8, 6, 3), neuron=LIF), "a membrane that decays by a factor at each step"),
    (lambda: Dense((8, 6, 3), neuron=lambda: IF(v_reset=None)), r"a soft reset \(v_reset=None\), .* resets to 0"),
    (lambda: Dense((8, 6, 3), neuron=lambda: IF(v_reset=-1.0)), "a reset to -1"),
    (lambda: Dense((8, 200, 100, 3)), "303 neurons .*has 256"),
    (lambda: Dense((8, 6, 3), gain=100.0), "times its threshold, a weight of"),
    (lambda: nn.Sequential(nn.Linear(8, 6), IF(), nn.Linear(6, 5), nn.ReLU()), "relu"),
]


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_refused(chip, make, said):
    torch.manual_seed(0)
    with pytest.raises(CompileError, match=said) as caught:
        compiler.compile(make(), spikes(4, 2, 8), chip=chip, input_type="binary")
    assert "\n" not in str(caught.value)


def test_real_input_is_refused():
    with pytest.raises(CompileError, match="real input, odin takes events") as caught:
        compiler.compile(Dense((8, 6, 3)), torch.rand(4, 2, 8), chip="odin")
    assert caught.value.violations[0].rewrite


def test_size_is_refused_before_weights_are_unrolled(monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["compiler.targets.odin.quantise"], "through", None)
    found = compiler.check(Dense((300, 400, 3)), "tinyodin", spikes(2, 1, 300), "binary")
    assert [(v.kind, v.need_value, v.limit_value) for v in found] == [("neurons", 403.0, 256.0), ("rows", 700.0, 256.0)]


@pytest.mark.parametrize("chip", CHIPS)
def test_numbers_that_the_chip_cannot_hold(chip):
    program, _ = dense(chip)
    target, silicon = target_of(get_chip(chip)), get_chip(chip)

    def built(**changes):
        first, *others = program.graph
        nodes = [replace(first, parameters={**first.parameters, **changes}), *others]
        return target.build(program.graph.with_nodes(nodes, program.graph.signals), silicon, Options())

    weight = next(iter(program.graph)).parameters["weight"]
    with pytest.raises(CompileError, match="weights from"):
        built(weight=weight + 9)
    with pytest.raises(CompileError, match="thresholds from 0"):
        built(threshold=torch.zeros(len(weight)))
    if chip == "odin":
        with pytest.raises(CompileError, match="a row of both signs"):
            built(weight=torch.cat([-weight[:1], weight[1:]]))
    with pytest.raises(CompileError, match="sources from -2"):
        built(source=torch.full((weight.shape[1],), -2.0))


@pytest.mark.parametrize("name", CHIPS)
def test_a_chip_that_contradicts_its_arithmetic(name):
    chip = get_chip(name)
    assert target_of(chip).disagreement(chip) is None
    for key in ("state_bits", "weight_bits", "threshold_bits", "leak_bits"):
        wrong = replace(chip, numbers={**chip.numbers, key: Quantity(16, "bits", "a guess")})
        with pytest.raises(CompileError, match=f"{key} is 16"):
            target_of(wrong)
