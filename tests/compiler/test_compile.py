"""From a module to integers on cores, and back to spikes that must all agree.

Would break it: a shortcut one step early or late, a bias that acts before its layer's first step, a convolution
unrolled with wrong borders, strides or groups, a synapse on the wrong core, a wrong shift, a threshold off by one.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.nets import Residual, SpikesIn, lively
from torch import nn

import compiler
from compiler.errors import CompileError
from compiler.passes import simplify
from compiler.program import Program
from compiler.simulate import artifact, reference
from compiler.simulate.lava_bridge import LavaNotFound, compare, find_lava_python, run_lava
from compiler.targets.loihi.arithmetic import effective_weights
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.lower import lower
from compiler.targets.loihi.quantise import quantise
from compiler.targets.loihi.scale import split_bias
from hw import get_chip
from hw.quantity import Quantity
from snnkit.encoders import Direct
from snnkit.errors import CorruptFileError, InvalidArgumentError
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF

CASES = {
    "LIF": lambda: lively(Residual()),
    "LIF tau 3": lambda: lively(Residual(tau=3.0)),
    "LIF undivided input": lambda: lively(Residual(decay_input=False)),
    "LIF threshold 0.7": lambda: lively(Residual(v_threshold=0.7)),
    "IF": lambda: lively(Residual(neuron=IF)),
    "one step": lambda: lively(Residual(timesteps=1, v_threshold=0.3)),
    "seven steps": lambda: lively(Residual(timesteps=7)),
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def images(count: int = 16) -> torch.Tensor:
    return 3 * torch.rand(count, 1, 12, 12, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture(params=CASES, scope="module")
def program(request) -> Program:
    torch.manual_seed(0)
    return compiler.compile(CASES[request.param](), images(1))


def test_program_equals_quantised_graph(program):
    equality = program.verify(images())
    assert equality.mismatches == 0
    assert equality.membrane_mismatches == 0
    assert equality.verdict == "exact"
    assert equality.spikes > 100
    layers = program.simulate(images()).spikes
    rates = {name: spikes.mean() for name, spikes in layers.items()}
    assert all(0.001 < rate < 0.999 for rate in rates.values()), rates


def test_engine_equals_reference(program):
    """Core by core with axons, and population by population with matrices: the same spikes and voltages."""
    x = images(3)
    trace = program.simulate(x)
    for b in range(len(x)):
        plain = reference.run(program.network(x[b : b + 1]))
        for index, placed in enumerate(program.mapping.lowered.placed):
            if placed.kind == "neuron":
                window = slice(placed.depth, placed.depth + program.mapping.lowered.timesteps)
                np.testing.assert_array_equal(plain[f"s{index}"][:, window].T, trace.spikes[placed.signal][:, b])
        voltage = sum(plain[f"v{index}"][:, -1].astype(np.int64) for index in program.mapping.lowered.readouts)
        assert torch.equal(program.logits(torch.from_numpy(voltage).double()), trace.logits[b])


def test_quantised_is_close_to_float(program):
    """8-bit weights: few spikes differ, and logits stay close to the float network's."""
    x = images(64)
    names = list(program.simulate(x[:1]).spikes)
    outputs, ours = compiler.interpret(program.source_graph, x, probes=names)
    last, theirs = compiler.interpret(program.graph, x, probes=names)
    for name in names:
        assert (ours[name] != theirs[name]).double().mean() < 0.08, name
    error = (outputs.mean(0) - program.logits(last[-1])).abs().max()
    assert error < 0.5 * outputs.mean(0).std()


def test_nothing_fires_or_accumulates_before_its_first_step(program):
    plain = reference.run(program.network(images(1)))
    for index, placed in enumerate(program.mapping.lowered.placed):
        assert not plain[f"u{index}"][:, : placed.depth].any()
        assert not plain[f"v{index}"][:, : placed.depth].any()


@pytest.mark.parametrize("neuron", [IF, LIF])
def test_spikes_as_input(neuron):
    torch.manual_seed(3)
    x = (torch.rand(6, 9, 20) < 0.4).double()
    model = lively(SpikesIn(neuron))
    program = compiler.compile(model, x, input_type="binary")
    # The graph was captured from one step; T comes with the input.
    assert program.mapping.lowered.timesteps == 6
    equality = program.verify(x)
    assert (equality.mismatches, equality.membrane_mismatches) == (0, 0)
    assert equality.spikes > 50
    assert sum(p.kind == "relay" for p in program.mapping.lowered.placed) == 2
    with pytest.raises(InvalidArgumentError, match="spikes"):
        program.simulate(0.5 * x)


def test_lava_agrees_in_every_current_voltage_and_spike(tmp_path):
    """A compiled residual network with a depthwise convolution, in lava-nc itself."""
    try:
        python = find_lava_python()
    except LavaNotFound as error:
        pytest.skip(str(error))
    program = compiler.compile(CASES["LIF"](), images(1))
    network = program.network(images(1))
    artifact.save(tmp_path / "net.npz", network)
    comparison = compare(compiler.simulate.replay(tmp_path / "net.npz"), run_lava(tmp_path / "net.npz", python))
    assert comparison.exact, str(comparison)
    assert comparison.entries > 3 * network.steps * 100


def test_artifact_replays_the_program(tmp_path):
    program = compiler.compile(CASES["LIF"](), images(1))
    artifact.save(tmp_path / "net.npz", program.network(images(1)))
    replayed = compiler.simulate.replay(tmp_path / "net.npz")
    trace = program.simulate(images(1))
    for index, placed in enumerate(program.mapping.lowered.placed):
        if placed.kind == "neuron":
            window = slice(placed.depth, placed.depth + 4)
            np.testing.assert_array_equal(replayed[f"s{index}"][:, window].T, trace.spikes[placed.signal][:, 0])


def test_save_and_load(program, tmp_path):
    program.save(tmp_path / "p.program")
    again = Program.load(tmp_path / "p.program")
    assert torch.equal(again.simulate(images()).logits, program.simulate(images()).logits)
    assert again.mapping.cores == program.mapping.cores
    (tmp_path / "p.program").write_bytes(b"no program")
    with pytest.raises(CorruptFileError, match="not a graph file"):
        Program.load(tmp_path / "p.program")
    program.graph.save(tmp_path / "g.graph")
    with pytest.raises(CorruptFileError, match="no compiled program"):
        Program.load(tmp_path / "g.graph")


def test_a_program_of_the_version_before_still_runs():
    """Written before graphs had roles and layers had names in them; spikes and logits as they were then."""
    golden = Path(__file__).parents[1] / "golden"
    program = Program.load(golden / "program_1.program")
    with np.load(golden / "program_1.npz", allow_pickle=False) as then:
        x = torch.from_numpy(then["x"]).double()
        trace = program.simulate(x)
        assert torch.equal(trace.logits, torch.from_numpy(then["logits"]))
        assert set(trace.spikes) == {"lif1", "lif2", "lif3"}
        for name, spikes in trace.spikes.items():
            np.testing.assert_array_equal(spikes, then[name])
    assert program.verify(x, trace).verdict == "exact"


@pytest.mark.parametrize("largest", [1.0, 254.0, 255.0, 700.0, 5000.0, 32000.0])
def test_bias_parts_add_up_and_fit(largest):
    bias = torch.linspace(-largest, largest, 41, dtype=torch.float64)
    parts, total = split_bias(bias, Formats.of(get_chip("loihi1")))
    assert torch.equal(sum(m * 2**e for m, e in parts), total)
    for mantissa, exponent in parts:
        assert mantissa.abs().max() <= 254
        assert torch.equal(mantissa % 2, torch.zeros_like(mantissa))
        assert 0 <= exponent <= 7
    assert (total - bias).abs().max() <= 2.0


def test_first_layer_runs_on_the_host(program):
    assert program.host_layers == ("stem.conv",)
    first = program.mapping.lowered.placed[0]
    assert first.host_driven
    assert first.depth == 0


def test_residual_is_balanced_by_relays():
    program = compiler.compile(CASES["LIF"](), images(1))
    placed = {p.population.name: p for p in program.mapping.lowered.placed}
    assert {name: p.depth for name, p in placed.items()} == {
        "stem_lif": 0,
        "first_lif": 1,
        "stem_lif.relay1": 1,
        "second_lif": 2,
        "third_lif": 3,
        "readout": 4,
    }


class Wide(nn.Module):
    """A stem of 64 × 12 × 12 neurons, read out directly."""

    def __init__(self):
        super().__init__()
        self.encoder = Direct(4)
        self.stem, self.lif, self.head = nn.Conv2d(1, 64, 3, padding=1), LIF(), nn.Linear(9216, 3)

    def forward_sequence(self, x):
        return over_time(lambda y: self.head(y.flatten(1)), self.lif(over_time(self.stem, x)))


class NoNeuronBetween(nn.Module):
    """Two convolutions in a row on the way to a neuron."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.lif1, self.lif2 = LIF(), LIF()

    def forward(self, x):
        spikes = self.lif1(self.a(x))
        return self.c(self.lif2(self.b(spikes) + spikes + self.b(x)))


VIOLATIONS = {
    "soft reset": (lambda: Residual(v_reset=None), (1, 1, 12, 12), ["stem_lif", "soft reset", "use v_reset=0"]),
    "other reset": (lambda: Residual(v_reset=-0.1), (1, 1, 12, 12), ["stem_lif", "-0.1", "use v_reset=0"]),
    "ordinary": (lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)), (1, 8), ["without spikes"]),
    "ReLU inside": (
        lambda: nn.Sequential(nn.Linear(8, 8), LIF(), nn.Linear(8, 8), nn.ReLU(), LIF(), nn.Linear(8, 3)),
        (4, 1, 8),
        ["relu", "which synapses cannot do"],
    ),
    "changing real input": (NoNeuronBetween, (4, 1, 8), ["real input", "lif1"]),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_violations_name_layer_need_and_limit(case):
    make, shape, words = VIOLATIONS[case]
    model = make()
    real = isinstance(model, (Residual, NoNeuronBetween)) or len(shape) == 2
    graph = compiler.capture(model, torch.zeros(shape), "real" if real else "binary")
    found = compiler.check(graph, "loihi1")
    assert found
    for word in words:
        assert word in str(found[0])
    with pytest.raises(CompileError):
        compiler.compile(graph)


def test_a_network_that_is_too_large_names_its_layers():
    program = compiler.compile(CASES["LIF"](), images(1))
    chip = get_chip("loihi1")
    with pytest.raises(CompileError, match=r"needs 6 cores, loihi1 has 2; the largest layers: \w+ \d"):
        compiler.mapping.place(
            program.mapping.lowered, chip.rebuilt(cores=Quantity(2, "cores", "test")), effective_weights
        )


def test_a_neuron_that_fits_no_core_is_named():
    first = nn.Linear(5_000, 2, bias=False)
    first.weight.data.fill_(0.01)
    model = nn.Sequential(first, LIF(), nn.Linear(2, 2))
    (violation,) = compiler.check(compiler.capture(model, torch.zeros(1, 1, 5_000), "binary"), "loihi1")
    assert violation.layer == "1"
    assert "5,000 input axons" in violation.need
    assert "4,096" in str(violation)


def test_a_wide_readout_is_split_without_error():
    """9,216 inputs to each output, more than the 4,096 axons of a core: three populations, the same logits."""
    model = lively(Wide())
    x = images(4)
    program = compiler.compile(model, x[:1])
    parts = program.mapping.lowered.readouts
    assert len(parts) == 3
    assert max(core.in_axons for core in program.mapping.cores) <= 4096
    equality = program.verify(x)
    assert (equality.mismatches, equality.membrane_mismatches) == (0, 0)
    shares = [p.weights.nnz for p in program.mapping.lowered.projections if p.target in parts and p.source != -1]
    whole = next(n for n in program.graph if n.name == "head").parameters["weight"]
    assert sum(shares) == int((whole != 0).sum())


def test_quantised_weights_fit_the_arithmetic():
    graph = simplify(compiler.capture(CASES["LIF"](), images(1)))
    lowered = lower(quantise(graph, get_chip("loihi1")), get_chip("loihi1"))
    for projection in lowered.projections:
        assert np.abs(projection.weights.data).max() <= 254
        assert not (projection.weights.data % 2).any()
        assert 0 <= projection.weight_exp <= 7
    reach = {}
    for projection in lowered.projections:
        total = np.abs(projection.weights).sum(1) * 2**projection.weight_exp
        reach[projection.target] = reach.get(projection.target, 0) + total
    assert all(np.max(total) * 64 < 2**23 for total in reach.values())  # no 24-bit wrap is possible


def test_wrong_inputs_are_explained():
    program = compiler.compile(CASES["LIF"](), images(1))
    with pytest.raises(InvalidArgumentError, match=r"\(B, 1, 12, 12\)"):
        program.simulate(torch.zeros(2, 1, 10, 10))
    with pytest.raises(InvalidArgumentError, match="not a sequence"):
        program.simulate(torch.zeros(4, 2, 1, 12, 12))
    with pytest.raises(InvalidArgumentError, match="one image"):
        program.network(images(2))
    with pytest.raises(InvalidArgumentError, match="example"):
        compiler.compile(CASES["LIF"]())
    with pytest.raises(LookupError, match="'loihi1'"):
        compiler.compile(CASES["LIF"](), images(1), chip="loihi")
