"""From a module to the memories of a Catalyst N1: every spike and membrane is the quantised graph's.

Would break it: a relay one step early or late, a bias that acts before its layer's first step, a synapse on the wrong
core, two packets for one neuron, an offset membrane that starts at 0, a current forgotten a step too soon.
"""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from support import n1
from support.nets import Chain, SpikesIn, lively
from torch import nn

import compiler
import compiler.simulate
from compiler.errors import CompileError
from compiler.interpreting import interpret
from compiler.program import Program
from compiler.targets.catalyst_n1.trace import replay
from snnkit.encoders import Direct
from snnkit.errors import InvalidArgumentError
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF, Recurrent
from snnkit.readouts import Mean

CHIP = "catalyst_n1"
EAGER = partial(LIF, v_threshold=0.25)


class Images(nn.Module):
    """A small convolutional network on images, its first layer on the host."""

    def __init__(self, neuron, timesteps=5):
        super().__init__()
        self.in_chans, self.img_size = 1, 11
        self.encoder, self.readout = Direct(timesteps), Mean()
        self.a, self.b, self.c = nn.Conv2d(1, 3, 3, stride=2), nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.lif1, self.lif2, self.lif3 = neuron(), neuron(), neuron()
        self.head = nn.Linear(36, 5)

    def forward_sequence(self, x):
        fired = self.lif2(over_time(self.b, self.lif1(over_time(self.a, x))))
        top = self.lif3(over_time(self.c, fired) + fired)
        return over_time(lambda y: self.head(y.flatten(1)), top)

    def forward(self, x):
        return self.readout(self.forward_sequence(x if x.ndim == 5 else self.encoder(x)))


def spikes(*shape, rate=0.4):
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(3)) < rate).double()


def images(count):
    return 3 * torch.rand(count, 1, 11, 11, generator=torch.Generator().manual_seed(1)).double()


def dense(neuron, *sizes, bias=True):
    layers = []
    for inside, outside in pairwise(sizes):
        layers += [nn.Linear(inside, outside, bias=bias), neuron()]
    return Chain(*layers[:-1]).double()


CASES = {
    "IF on one core": (lambda: dense(IF, 12, 20, 10, 4), lambda: spikes(6, 8, 12), "binary"),
    "LIF on one core": (lambda: dense(LIF, 12, 20, 10, 4), lambda: spikes(6, 8, 12), "binary"),
    "IF with a shortcut": (lambda: SpikesIn(IF), lambda: spikes(5, 8, 20), "binary"),
    "LIF with a shortcut": (lambda: SpikesIn(LIF), lambda: spikes(5, 8, 20), "binary"),
    "IF on several cores": (lambda: dense(IF, 24, 40, 45, 30, 4), lambda: spikes(5, 8, 24), "binary"),
    "LIF on several cores": (lambda: dense(EAGER, 24, 40, 45, 30, 4), lambda: spikes(5, 8, 24), "binary"),
    "a wide readout": (lambda: dense(IF, 16, 150, 4), lambda: spikes(5, 8, 16), "binary"),
    "IF images": (lambda: Images(IF), lambda: images(8), "real"),
    "LIF images": (lambda: Images(EAGER), lambda: images(8), "real"),
}


def made(case):
    torch.manual_seed(0)
    model, x, input_type = CASES[case][0](), CASES[case][1](), CASES[case][2]
    model = lively(model)
    example = x[:1] if input_type == "real" else x[:, :1]
    return compiler.compile(model, example, CHIP, input_type), x


@pytest.fixture(params=CASES, scope="module")
def case(request):
    return request.param, *made(request.param)


def test_every_spike_and_output_is_the_quantised_graph_s(case):
    _, program, x = case
    trace = program.simulate(x)
    equality = program.verify(x, trace)
    assert (equality.mismatches, equality.membrane_mismatches) == (0, 0)
    assert equality.spikes > 40
    rates = {name: float(fired.mean()) for name, fired in trace.spikes.items()}
    assert all(0.01 < rate < 0.99 for rate in rates.values()), rates
    assert trace.counters["dropped_spikes"] == trace.counters["dropped_packets"] == 0
    # What rounding changes stays small.
    assert equality.float_mismatches < 0.02 * equality.float_compared


def test_every_membrane_and_current_of_a_trace_is_the_quantised_graph_s(case, tmp_path):
    """The program written as a trace, run by ``replay``."""
    name, program, x = case
    one = x[:1] if program.graph.static_input else x[:, :1]
    program.image.save_trace(tmp_path / "program.npz", one)
    out = compiler.simulate.replay(tmp_path / "program.npz")
    steps, checked = program.graph.timesteps, 0
    for p, place in zip(program.image.populations, program.image.places, strict=True):
        core, neuron = place.T
        if p.readout:
            continue
        spikes, u, v = p.node.outputs
        _, wanted = interpret(program.graph, one, probes=[spikes, u, v])
        for array, signal, first in (("s", spikes, p.fires), ("u", u, p.gathers), ("v", v, p.fires)):
            ours = out[array][first : first + steps, core, neuron]
            np.testing.assert_array_equal(ours, wanted[signal][:, 0].flatten(1).numpy(), f"{name} {array}")
            checked += ours.size
    assert checked > 300


def test_where_things_lie():
    alone, split = (made(name)[0].image for name in ("IF on one core", "a wide readout"))
    assert len(alone.loads) == 1
    assert not len(alone.tables["cfg_routes"])
    several = made("IF on several cores")[0].image
    assert len(several.loads) > 3
    routes = several.tables["cfg_routes"]
    assert len(np.unique(routes[:, 3])) > 1
    # One packet for one neuron: each relay has one source.
    assert len(np.unique(routes[:, 3:5], axis=0)) == len(routes)
    assert all(load["spikes_per_step"] <= 64 for load in several.loads)
    assert sum(p.readout for p in split.populations) == 3


class Loop(nn.Module):
    """Spikes that come back one step later."""

    def __init__(self, neuron):
        super().__init__()
        self.a, self.b = nn.Linear(10, 12), nn.Linear(12, 3)
        self.loop = Recurrent(neuron(), nn.Linear(12, 12))

    def forward(self, x):
        return self.b(self.loop(self.a(x)))


def test_a_loop_runs_where_it_has_the_steps_it_takes():
    torch.manual_seed(0)
    x = spikes(6, 4, 10)
    program = compiler.compile(lively(Loop(IF)), x[:, :1], CHIP, "binary")
    equality = program.verify(x)
    assert (equality.mismatches, equality.membrane_mismatches, equality.float_mismatches) == (0, 0, 0)
    assert equality.spikes > 40
    with pytest.raises(CompileError, match="a loop that is shorter than its layers, .* and one more with leak"):
        compiler.compile(lively(Loop(LIF)), x[:, :1], CHIP, "binary")


def test_a_membrane_that_leaves_its_range_does_so_in_both():
    """Inhibition of hundreds of thresholds: the chip sets such a membrane back to 0, and so does the graph."""
    model = dense(IF, 8, 6, 2, bias=False)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([-12.3, -12.3, 1.27, 1.27, 1.27, 1.27, 1.27, 1.27]).expand(6, 8))
    x = torch.zeros(12, 1, 8).double()
    x[:6, :, :2] = 1
    x[6:, :, 2:] = 1
    program = compiler.compile(model, x, CHIP, "binary")
    node = program.image.populations[0].node
    assert node.attributes["rounding"] == float("inf")
    equality = program.verify(x)
    assert (equality.mismatches, equality.membrane_mismatches) == (0, 0)
    assert equality.float_mismatches > 0
    assert not equality.float_proven


def test_weights_that_fit_exactly_are_proven_to():
    torch.manual_seed(1)
    model = dense(IF, 12, 16, 4)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_((p * 16).round() / 16)
    x = spikes(4, 10, 12)
    equality = compiler.compile(model, x[:, :1], CHIP, "binary").verify(x)
    assert equality.float_verdict == "exact"
    assert equality.float_proven
    assert equality.spikes > 40


def test_losses_are_refused_or_counted():
    torch.manual_seed(0)
    model, x = lively(dense(IF, 90, 30, 4)), spikes(5, 6, 90, rate=0.9)
    with pytest.raises(CompileError, match="up to 92 spikes in a step .* 64 reach synapses") as caught:
        compiler.compile(model, x[:, :1], CHIP, "binary")
    assert "\n" not in str(caught.value)
    program = compiler.compile(model, x[:, :1], CHIP, "binary", allow="drops")
    trace = program.simulate(x)
    assert trace.counters["dropped_spikes"] > 100
    assert program.verify(x, trace).mismatches > 0
    quiet = spikes(5, 6, 90, rate=0.3)
    trace = program.simulate(quiet)
    assert trace.counters["dropped_spikes"] == 0
    assert program.verify(quiet, trace).mismatches == 0


def firing(*sizes):
    """Dense layers of weights of 1: one spike raises all that are behind it."""
    model = dense(IF, *sizes, bias=False)
    for weight in model.parameters():
        weight.data.fill_(1.0)
    return model


def test_packets_are_refused_or_counted():
    model, x = firing(40, *8 * [45], 4), torch.ones(12, 1, 40).double()
    with pytest.raises(CompileError, match="packets in a step, catalyst_n1 delivers 512"):
        compiler.compile(model, x, CHIP, "binary")
    program = compiler.compile(model, x, CHIP, "binary", allow="drops")
    trace = program.simulate(x)
    assert trace.counters["dropped_packets"] > 100
    assert trace.counters["dropped_spikes"] == 0
    assert program.verify(x, trace).mismatches > 0
    once = x.clone()
    once[1:] = 0  # a wave that is in one layer at a time
    trace = program.simulate(once)
    assert trace.fired > 8 * 45
    assert trace.counters["dropped_packets"] == 0
    assert program.verify(once, trace).verdict == "exact"


@pytest.mark.parametrize(
    ("sizes", "steps", "lost", "kept"),
    [
        ((90, 30, 4), 2, "dropped_spikes", "dropped_packets"),
        ((40, *7 * [45], 4), 9, "dropped_packets", "dropped_spikes"),
    ],
)
def test_what_is_lost_is_what_the_chip_loses(sizes, steps, lost, kept):
    """The plain model, run on the program's memories: which spikes and packets, and all that comes of it."""
    x = torch.ones(steps, 1, sizes[0]).double()
    program = compiler.compile(firing(*sizes), x, CHIP, "binary", allow="drops")
    trace, arrays = program.simulate(x), program.image.trace(x)
    slow = {key: np.array(rows) for key, rows in n1.simulate(arrays).items()}
    counted = {"dropped_spikes": slow["fifo_drops"].sum(), "dropped_packets": slow["inject_drops"].sum()}
    assert {key: trace.counters[key] for key in counted} == counted
    assert trace.counters[lost] > 0 == trace.counters[kept]
    assert trace.fired == slow["s"].sum()
    ours = replay(arrays, "program")
    for key in ("s", "v", "u"):
        np.testing.assert_array_equal(ours[key], slow[key], key)
    for p, place in zip(program.image.populations, program.image.places, strict=True):
        if p.node.attributes.get("layer"):
            core, neuron = place.T
            wanted = slow["s"][p.fires : p.fires + steps, core, neuron]
            np.testing.assert_array_equal(trace.spikes[p.node.attributes["layer"]][:, 0], wanted)
    equality = program.verify(x, trace)
    assert equality.mismatches + equality.membrane_mismatches > 0, "the quantised graph loses nothing"


REFUSED = {
    "a soft reset": (lambda: Chain(nn.Linear(8, 8), IF(v_reset=None), nn.Linear(8, 2)), {}, "soft reset"),
    "a reset to 0.5": (lambda: Chain(nn.Linear(8, 8), LIF(v_reset=0.5), nn.Linear(8, 2)), {}, "a reset to 0.5"),
    "hardly a leak": (lambda: Chain(nn.Linear(8, 8), LIF(tau=9e4), nn.Linear(8, 2)), {}, "below 8,192"),
    "two layers": (lambda: Chain(nn.Linear(8, 8), nn.Softmax(-1), nn.Linear(8, 2)), {}, "spiking networks"),
    "too many cores": (lambda: Chain(nn.Linear(60, 900), IF(), nn.Linear(900, 2)), {"chip": "catalyst_n1_f2"}, "16"),
    "not a number": (lambda: _spoiled(), {}, "not finite"),
}


def _spoiled():
    model = dense(IF, 8, 8, 2)
    model.layers[0].weight.data[0, 0] = float("nan")
    return model


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_line(name):
    model, options, text = REFUSED[name]
    options = {"chip": CHIP, **options}
    torch.manual_seed(0)
    built = model().double()
    x = spikes(3, 1, built.layers[0].in_features)
    with pytest.raises(CompileError, match=text) as caught:
        compiler.compile(built, x, input_type="binary", **options)
    assert "\n" not in str(caught.value)


def test_words_of_a_core_are_a_limit():
    """The F2 build has 4,096 words a core: 60 × 150 weights fill as many cores as they need, and none too full."""
    torch.manual_seed(0)
    x = torch.ones(3, 1, 60).double()
    program = compiler.compile(lively(dense(IF, 60, 150, 4)), x, "catalyst_n1_f2", "binary", allow="drops")
    words = [load["synapse_words"] for load in program.image.loads]
    assert 3500 < max(words) <= 4096
    assert sum(words) > 60 * 150 > 2 * 4096
    _, held = np.unique(program.image.tables["cfg_pool"][:, 0], return_counts=True)
    assert held.max() <= 4096, "what is loaded is what was counted"


def test_a_program_is_written_and_read(tmp_path):
    program, x = made("IF on several cores")
    program.save(tmp_path / "net.program")
    again = Program.load(tmp_path / "net.program")
    for one, other in zip(program.image.tables.values(), again.image.tables.values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.simulate(x).counters == program.simulate(x).counters
    mapping = program.to_dict()
    assert mapping["chip"] == CHIP
    assert sum(load["neurons"] for load in mapping["cores"]) >= sum(p["neurons"] for p in mapping["populations"])


def test_inputs_that_do_not_fit():
    program, x = made("IF on one core")
    for wrong in (x[:, :, :5], x[:4], x + 0.5):
        with pytest.raises(InvalidArgumentError):
            program.simulate(wrong)
    with pytest.raises(InvalidArgumentError, match="one image"):
        program.image.trace(x)


def test_what_is_counted():
    """Two neurons that each spike of one line raises: what the chip counts, by hand."""
    model = Chain(nn.Linear(1, 2, bias=False), IF(), nn.Linear(2, 1, bias=False)).double()
    with torch.no_grad():
        model.layers[0].weight.fill_(1.0)
        model.layers[2].weight.fill_(1.0)
    x = torch.ones(3, 1, 1).double()
    program = compiler.compile(model, x, CHIP, "binary")
    trace = program.simulate(x)
    assert trace.counters["host_currents"] == 3
    assert int(trace.synaptic_events.sum()) == 3 * 2 + 3 * 2
    assert trace.fired == 3 + 3 * 2
    assert float(trace.logits) == 2.0
    # Per step 128 cores + 7, 3 + 4·1024 of the core; per spike 37 and 3, per event 6; the last spikes reach nothing.
    assert trace.counters["cycles"] == program.image.steps * (135 + 4099) + 37 * 9 + 3 * 9 + 6 * 12
