"""Float networks and what a chip makes of them: biases, ties at the threshold, names, averages, the chip's own formats.

Every right value is the float network's own, or worked out by hand. Would break it: a bias cut off where its axons end,
a membrane at the threshold that fires here and not there, a dictionary keyed by a name that a user's layer may have, a
sum pool taken for an average, a broadcast difference that became a sum, a limit written down in the code instead of in
the chip.
"""

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.chip_runs import eighths, same, spikes
from support.nets import constant_linear
from torch import nn

import compiler
import hw
import hw.chips
from compiler.errors import CompileError
from compiler.graph import is_neuron
from compiler.network import INPUT
from compiler.simulate import reference
from compiler.targets import TARGETS, target_of
from compiler.targets.loihi.arithmetic import effective_weights
from compiler.targets.loihi.formats import Formats
from hw import get_chip
from hw.quantity import Quantity
from snnkit.encoders import Direct
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF, MultiSpike


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Images(nn.Module):
    """Real images, the same at every step: a layer, a neuron, a layer, under names of the caller's choice."""

    def __init__(self, timesteps, **layers):
        super().__init__()
        self.encoder = Direct(timesteps)
        self.order = tuple(layers)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward_sequence(self, x):
        for name in self.order:
            layer = getattr(self, name)
            x = layer(x) if isinstance(layer, (IF, LIF, MultiSpike)) else over_time(layer, x)
        return x

    def forward(self, x):
        return self.forward_sequence(self.encoder(x)).mean(0)


def run(model, x, input_type="binary", chip="loihi1"):
    """Compile, run and verify; returns program, trace, equality and the float network's spikes by layer."""
    program = compiler.compile(model, x, chip, input_type)
    trace = program.simulate(x)
    equality = program.verify(x, trace)
    assert equality.verdict == "exact", str(equality)
    _, floating = compiler.interpret(program.source_graph.double(), x, probes=list(trace.spikes))
    return program, trace, equality, floating


def counts(trace):
    return {name: int(spikes.sum()) for name, spikes in trace.spikes.items()}


# Biases.


def test_a_bias_larger_than_an_axon_can_bring_is_brought_by_several():
    """w = .003, b = .55, threshold 1: every second step fires, 24 spikes, with no spike coming in at all."""
    x = torch.zeros(8, 1, 4).double()
    program, trace, equality, _ = run(
        nn.Sequential(constant_linear(4, 6, 0.003, 0.55), IF(), constant_linear(6, 3, 0.5, 0.1)), x
    )
    assert counts(trace) == {"1": 24}
    assert equality.float_mismatches == 0
    lowered = program.mapping.lowered
    index = next(i for i, p in enumerate(lowered.placed) if p.layer == "1")
    brought = sum(
        p.weights.toarray()[:, lowered.external :].sum(1) * 2.0**p.weight_exp
        for p in lowered.projections
        if p.target == index and p.source == INPUT
    )
    scale = next(n for n in program.graph if n.name == "1").attributes["scale"]
    np.testing.assert_allclose(brought, 0.55 * scale, atol=1.0)
    assert 0.55 * scale > 254 * 2**7, "more than one axon brings"


def test_a_readout_keeps_its_bias():
    """b = .5 with w = .002: .5 + 6 · .002 at every step of six firing neurons."""
    x = torch.ones(2, 1, 4).double()
    _, trace, equality, _ = run(
        nn.Sequential(constant_linear(4, 6, 0.5, 0.5), IF(), constant_linear(6, 3, 0.002, 0.5)), x
    )
    torch.testing.assert_close(trace.logits, torch.full((1, 3), 0.512).double(), rtol=0, atol=1e-4)
    assert equality.float_verdict in ("exact", "bounded")


@pytest.mark.parametrize("bias", [0.3, 1.7, -2.5, 40.0])
@pytest.mark.parametrize("weight", [1e-4, 0.02, 3.0])
@pytest.mark.parametrize("neuron", [IF, LIF])
def test_any_bias_is_kept_or_refused(weight, bias, neuron):
    """Random weights of one size and a bias of another: spikes as in the float network, but for rounded ties."""
    torch.manual_seed(1)
    first = constant_linear(5, 20, 0.0, bias)
    first.weight.data.uniform_(-weight, weight)
    first.bias.data.mul_(torch.rand(20).double() + 0.5)
    x = (torch.rand(10, 4, 5) < 0.5).double()
    _, trace, equality, floating = run(nn.Sequential(first, neuron(), constant_linear(20, 2, 0.1, 0.0)), x)
    assert abs(int(trace.spikes["1"].sum()) - int(floating["1"].sum())) <= 0.02 * trace.spikes["1"].size
    assert equality.float_mismatches <= 0.03 * equality.float_compared


def test_a_bias_beyond_every_accumulator_is_refused():
    """50,000 times the threshold: the state holds no threshold beside it. Layer, need and limit are said."""
    model = nn.Sequential(constant_linear(4, 6, 0.5, 5e4), IF(v_threshold=0.1), constant_linear(6, 3, 0.5))
    (violation,) = compiler.check(model, "loihi1", torch.zeros(40, 1, 4).double(), "binary")
    assert violation.layer == "1"
    assert "5e+05 times its threshold" in violation.need
    assert "131,071 units" in violation.limit


def test_a_saturated_host_bias_changes_no_spike():
    """The register spans four thresholds; ±100 and 1e300 saturate, ±3.85 does not: all fire always or never."""
    model = Images(5, a=constant_linear(4, 6, 1.0, 0.0), lif=LIF(), b=constant_linear(6, 3, 0.25, 0.5)).double()
    firsts = [100, -100, 7.7, -7.7, 1e300]
    x = torch.tensor([[first, 0, 0, 0] for first in firsts], dtype=torch.float64)
    program, trace, equality, _ = run(model, x, "real")
    limit = next(n for n in program.graph if n.op == "bias_current").attributes["mantissa_limit"] * 2**7
    _, biases = program.inputs(x)
    assert np.abs(biases[0, 0, :6]).tolist() == [limit] * 6
    assert np.abs(biases[2, 0, :6]).max() < limit
    assert trace.spikes["lif"].mean((0, 2)).tolist() == [1, 0, 1, 0, 1]
    assert equality.float_verdict == "exact"


def test_an_input_that_is_not_finite_is_refused():
    model = Images(2, a=constant_linear(4, 6, 1.0, 0.0), lif=LIF(), b=constant_linear(6, 3, 0.25, 0.5)).double()
    program = compiler.compile(model, torch.zeros(1, 4).double())
    with pytest.raises(ValueError, match="NaN or infinity"):
        program.simulate(torch.tensor([[0, torch.nan, 0, 0]]).double())


# Ties.


@pytest.mark.parametrize("weight", [0.5, 0.25, 0.1, 1 / 3])
def test_a_membrane_exactly_at_the_threshold_fires(weight):
    """One input a step and a bias that together are the threshold: 24 spikes of 6 neurons in 4 steps."""
    x = torch.ones(4, 1, 1).double()
    threshold = 2 * weight
    _, trace, equality, floating = run(
        nn.Sequential(constant_linear(1, 6, weight, weight), IF(v_threshold=threshold), constant_linear(6, 3, 0.25)), x
    )
    assert int(floating["1"].sum()) == 24
    assert counts(trace) == {"1": 24}
    assert equality.float_mismatches == 0


@pytest.mark.parametrize("neuron", [IF, LIF])
def test_ties_of_the_host_fire_too(neuron):
    """τ = 2 halves the input: 2 in (1 without leak) is exactly the threshold, at every step again after the reset."""
    model = Images(4, a=constant_linear(1, 6, 0.5, 0.5), lif=neuron(), b=constant_linear(6, 3, 0.25)).double()
    x = torch.tensor([[3.0 if neuron is LIF else 1.0]]).double()
    _, trace, _, floating = run(model, x, "real")
    assert int(floating["lif"].sum()) == 24
    assert counts(trace) == {"lif": 24}


def test_with_leak_a_tie_fires_and_the_threshold_is_almost_whole():
    """An input of exactly τ·θ fires from rest; below it by more than one unit nothing ever does."""
    x = torch.ones(12, 1, 1).double()
    program, trace, _, floating = run(nn.Sequential(constant_linear(1, 6, 2.0), LIF(), constant_linear(6, 3, 0.25)), x)
    assert counts(trace) == {"1": 72} == {"1": int(floating["1"].sum())}
    units = next(n for n in program.graph if n.name == "1").attributes["vth"] + 1
    assert units > 10_000, "one unit is a small part of the threshold"
    # v rises to w/τ · τ = w·(1 − 2^−t), here 0.999 of the threshold.
    below = nn.Sequential(constant_linear(1, 6, 0.999), LIF(), constant_linear(6, 3, 0.25))
    _, trace, _, floating = run(below, x)
    assert counts(trace) == {"1": 0} == {"1": int(floating["1"].sum())}


# Verdicts.


def test_what_rounds_nothing_is_proven_exact():
    """Weights that are multiples of 1/8, thresholds too, no leak: the float network itself, on every input."""
    torch.manual_seed(2)
    first, second = constant_linear(8, 12, 0.0, 0.0), constant_linear(12, 4, 0.0, 0.0)
    for layer in (first, second):
        layer.weight.data = torch.randint(-8, 9, layer.weight.shape).double() / 8
        layer.bias.data = torch.randint(-1, 4, layer.bias.shape).double() / 8
    x = (torch.rand(6, 9, 8) < 0.5).double()
    _, trace, equality, floating = run(nn.Sequential(first, IF(v_threshold=0.75), second), x)
    assert int(floating["1"].sum()) > 50
    assert (equality.float_verdict, equality.float_mismatches, equality.float_logit_error) == ("exact", 0, 0.0)
    assert equality.float_proven
    assert "float network → quantised graph: exact (proven" in str(equality)
    assert "quantised graph → integer program: exact: 0 of 648 spikes" in str(equality)
    assert trace.logits.std() > 0


def test_equal_spikes_bound_the_logits():
    """Weights that do not come out even: the readout's rounding bounds what is measured."""
    torch.manual_seed(3)
    head = nn.Linear(6, 3).double()
    x = (torch.rand(6, 9, 4) < 0.5).double()
    _, _, equality, _ = run(nn.Sequential(constant_linear(4, 6, 0.5, 0.25), IF(), head), x)
    assert (equality.float_verdict, equality.float_mismatches, equality.float_proven) == ("bounded", 0, False)
    assert 0 < equality.float_logit_error <= equality.float_logit_bound < 0.05
    assert "proven to be at most" in str(equality)


def test_differences_are_counted_by_layer():
    """A network close to its thresholds: what is measured is said, with the layer where most differs."""
    torch.manual_seed(4)
    x = (torch.rand(10, 30, 16) < 0.4).double()
    model = nn.Sequential(nn.Linear(16, 40), LIF(), nn.Linear(40, 40), LIF(), nn.Linear(40, 3)).double()
    for layer in (model[0], model[2]):
        layer.weight.data.mul_(3)
    program, trace, equality, floating = run(model, x)
    differing = {name: int((torch.from_numpy(s) != floating[name]).sum()) for name, s in trace.spikes.items()}
    assert {name: pair[0] for name, pair in equality.float_by_layer.items()} == differing
    assert equality.float_mismatches == sum(differing.values()) > 0
    assert equality.float_compared == 2 * 10 * 30 * 40
    outputs, _ = compiler.interpret(program.source_graph, x)
    assert equality.float_logit_error == pytest.approx(float((outputs.mean(0) - trace.logits).abs().max()))
    assert equality.float_verdict == "approximate"
    assert f"most in {max(differing, key=differing.get)}" in str(equality)


# Names.


@pytest.mark.parametrize("names", [("readout", "input", "add"), ("input", "readout", "head"), ("a", "lif", "readout")])
@pytest.mark.parametrize("kind", ["real", "binary"])
def test_layers_may_have_any_name(names, kind, tmp_path):
    """The same network under plain names gives the same numbers."""

    def make(names):
        torch.manual_seed(5)
        layers = OrderedDict(zip(names, (nn.Linear(6, 8), LIF(), nn.Linear(8, 3)), strict=True))
        layers[names[0]].weight.data.mul_(3)
        return (Images(5, **layers) if kind == "real" else nn.Sequential(layers)).double()

    x = 2 * torch.rand(7, 6).double() if kind == "real" else (torch.rand(5, 7, 6) < 0.6).double()
    program, trace, _, _ = run(make(names), x, kind)
    _, plain, _, _ = run(make(("first", "second", "third")), x, kind)
    assert torch.equal(trace.logits, plain.logits)
    assert sum(counts(trace).values()) > 20
    program.save(tmp_path / "p.program")
    assert torch.equal(compiler.Program.load(tmp_path / "p.program").simulate(x).logits, trace.logits)


class Inner(nn.Module):
    """A block whose parts are called like states and made-up signals."""

    def __init__(self):
        super().__init__()
        self.v, self.u, self.bias, self.relay1, self.sum0 = (nn.Linear(6, 6) for _ in range(5))


class Nested(nn.Module):
    """Names with dots that look like what the compiler makes: lif.v, lif.bias, lif.relay1, lif.sum0, lif.shortcut."""

    def __init__(self):
        super().__init__()
        self.encoder = Direct(4)
        self.stem = nn.Linear(6, 6)
        self.lif = Inner()
        self.lif.neuron, self.lif.shortcut, self.readout = IF(), IF(), LIF()
        self.out = nn.Linear(6, 3)

    def forward_sequence(self, x):
        one = self.lif.neuron(over_time(self.stem, x))
        two = self.lif.shortcut(over_time(self.lif.v, one) + over_time(self.lif.relay1, one))
        three = self.readout(over_time(self.lif.u, two) + one + over_time(self.lif.bias, two))
        return over_time(self.out, over_time(self.lif.sum0, three) if False else three)

    def forward(self, x):
        return self.forward_sequence(self.encoder(x)).mean(0)


def test_names_with_dots_do_not_collide():
    model = Nested().double()
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data.mul_(3)
    program, trace, equality, _ = run(model, 3 * torch.rand(9, 6).double(), "real")
    assert set(trace.spikes) == {n.output for n in program.source_graph if is_neuron(n)}
    assert all(0.02 < s.mean() < 0.98 for s in trace.spikes.values())
    assert equality.float_mismatches < 0.05 * equality.float_compared


def test_a_layer_that_two_neurons_read_has_weights_for_each():
    """One linear layer, two thresholds: each population has its own scale."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.out = nn.Linear(6, 8), nn.Linear(8, 3)
            self.a, self.b = IF(v_threshold=0.6), IF(v_threshold=3.0)

        def forward(self, x):
            current = self.fc(x)
            return self.out(self.a(current) + self.b(current))

    model = Shared().double()
    model.fc.weight.data.abs_()
    x = (torch.rand(12, 5, 6) < 0.6).double()
    _, trace, equality, floating = run(model, x)
    assert all(0.05 < s.mean() < 0.95 for s in trace.spikes.values())
    assert equality.float_mismatches <= 0.02 * equality.float_compared
    assert {name: int(s.sum()) for name, s in floating.items()} == pytest.approx(counts(trace), abs=3)


# Zeros and stored numbers.


def test_weights_of_zero_are_no_defect():
    """Only a bias drives the first layer (12 spikes of 24), nothing at all the second, which stays silent."""
    x = torch.ones(4, 1, 4).double()
    model = nn.Sequential(
        constant_linear(4, 6, 0.0, 0.5), IF(), constant_linear(6, 5, 0.0), IF(), constant_linear(5, 3, 0.5, 0.25)
    )
    _, trace, equality, _ = run(model, x)
    assert counts(trace) == {"1": 12, "3": 0}
    assert equality.float_verdict == "exact"


def test_numbers_added_to_a_current_are_a_bias_of_each_neuron():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.lif, self.out = nn.Linear(6, 8), IF(), nn.Linear(8, 3)
            self.position = nn.Parameter(torch.linspace(-0.5, 0.9, 8))

        def forward(self, x):
            return self.out(self.lif(self.fc(x) + self.position))

    x = (torch.rand(8, 5, 6) < 0.5).double()
    _, trace, equality, floating = run(Positions().double(), x)
    assert 0.05 < trace.spikes["lif"].mean() < 0.95
    assert int(floating["lif"].sum()) == pytest.approx(int(trace.spikes["lif"].sum()), abs=3)
    assert equality.float_mismatches <= 4


# The chip's own formats.


class Less(nn.Module):
    """A layer, a neuron, then what ``less`` makes of another layer of its spikes and of the spikes themselves."""

    def __init__(self, less):
        super().__init__()
        self.less = less
        self.a, self.first = nn.Linear(6, 8, bias=False), IF()
        self.b, self.second = nn.Linear(8, 8, bias=False), IF()
        self.out = nn.Linear(8, 3, bias=False)

    def forward(self, x):
        h = self.first(over_time(self.a, x))
        return over_time(self.out, self.second(self.less(over_time(self.b, h), h)))


DIFFERENCES = {
    "one for all": lambda y, h: y - h[..., :1],
    "half of one for all": lambda y, h: y - h[..., 1:2] / 2,
    "a row for all": lambda y, h: (y.unflatten(-1, (2, 4)) - h[..., :4].unsqueeze(-2)).flatten(-2),
    "a column for all": lambda y, h: (y.unflatten(-1, (4, 2)) - h[..., :4].unsqueeze(-1)).flatten(-2),
}


@pytest.mark.parametrize("chip", ["loihi1", "mesh", "catalyst_n1"])
@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_is_broadcast_is_taken_away(name, chip):
    _, _, equality = same(eighths(Less(DIFFERENCES[name])), spikes(8, 8, 6), chip)
    assert equality.float_proven


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_is_broadcast_is_taken_away_event_by_event(name):
    """Such a chip has the spikes of one layer with the same matrix: 0 to 7 eighths, less 8 or 4 where both are."""
    model, merged = (eighths(Less(less), low=0, high=8) for less in (DIFFERENCES[name], lambda y, h: y))
    one_each = torch.eye(8).double()[None]
    merged.b.weight.data = model.less(over_time(model.b, one_each), one_each)[0].detach().T.contiguous()
    assert (merged.b.weight < 0).any()
    x = spikes(8, 8, 6)
    found, wanted = (compiler.compile(net, x, "tinyodin", "binary").simulate(x) for net in (model, merged))
    np.testing.assert_array_equal(found.spikes["second"], wanted.spikes["second"])
    assert found.spikes["second"].any()
    assert torch.equal(found.logits, wanted.logits)


@pytest.mark.parametrize("half_up", [False, True])
def test_a_neuron_of_one_level_rounds_where_events_are_single_spikes(half_up):
    """Half a level is what counts: membranes of eighths, halves among them, at most one spike."""
    model = eighths(Less(lambda y, h: y)).eval()
    model.first, model.second = MultiSpike(1, half_up=half_up), IF()
    x = spikes(1, 64, 6)  # one step: a membrane that did not fire would leave a little to the next
    _, trace, _ = same(model, x, "loihi1")
    current = over_time(model.a, x)
    assert ((current == 0.5).any(), trace.spikes["first"].max()) == (True, 1)
    np.testing.assert_array_equal(trace.spikes["first"], (current >= 0.5) if half_up else (current > 0.5))


@pytest.mark.parametrize("weight", [0.25, 0.625, 1.5])
def test_a_neuron_of_one_level_rounds_what_the_host_gives(weight):
    """Inputs of 1, 2 and 0 times the weight, against ½."""
    model = Images(3, a=nn.Linear(1, 2, bias=False), neuron=MultiSpike(1), out=nn.Linear(2, 1, bias=False)).double()
    model.a.weight.data.fill_(weight)
    x = torch.tensor([[1.0], [3.0], [0.0]]).double()
    _, trace, _ = same(model, x, "loihi1", "real")
    assert trace.spikes["neuron"][:, :, 0].tolist() == [[int(weight > 0.5), 1, 0]] * 3


def narrow(**changes):
    chip = get_chip("loihi1")
    return replace(chip.rebuilt(arithmetic=replace(chip.arithmetic, **changes)), name="narrow")


@pytest.fixture
def described(monkeypatch):
    """Describe another chip for one test."""
    return lambda chip: monkeypatch.setitem(hw.chips.CHIPS, chip.name, chip)


FORMATS = {
    "weights of 5 bits": {"weight_bits": (1, 5)},
    "weights of 3 bits": {"weight_bits": (3,)},
    "no exponents": {"weight_exponent": (0, 0)},
    "thresholds of 9 bits": {"threshold_bits": Quantity(9, "bits", "test")},
    "states of 18 bits": {"state_bits": Quantity(18, "bits", "test")},
    "short biases": {
        "bias_mantissa_bits": Quantity(8, "bits", "test"),
        "bias_exponent_bits": Quantity(2, "bits", "test"),
    },
}


@pytest.mark.parametrize("case", FORMATS)
def test_formats_are_the_chips(case, described):
    """A chip with narrower numbers gets narrower programs, still equal in every spike to their quantised graph."""
    chip = narrow(**FORMATS[case])
    described(chip)
    torch.manual_seed(7)
    model = Images(4, a=nn.Linear(6, 12), one=LIF(), b=nn.Linear(12, 12), two=IF(), c=nn.Linear(12, 3)).double()
    for layer in (model.a, model.b):
        layer.weight.data.mul_(4)
    program, trace, _, _ = run(model, 3 * torch.rand(20, 6).double(), "real", "narrow")
    assert all(0.02 < s.mean() < 0.98 for s in trace.spikes.values())
    formats = Formats.of(chip)
    for projection in program.mapping.lowered.projections:
        stored = effective_weights(projection.weights, projection.weight_bits)
        assert (stored != projection.weights).nnz == 0, "nothing is lost when weights are stored"
        assert projection.weight_bits == max(chip.arithmetic.weight_bits)
        assert np.abs(projection.weights.data).max() <= formats.weight_limit
        assert 0 <= projection.weight_exp <= chip.arithmetic.weight_exponent[1]
    for placed in program.mapping.lowered.placed:
        assert placed.population.vth < 2**chip.arithmetic.threshold_bits.value
    state = 2 ** (chip.arithmetic.state_bits.value - 1)
    plain = reference.run(program.network(3 * torch.rand(1, 6).double()))
    assert all(np.abs(values).max() < state for key, values in plain.items() if key[0] in "uv")
    for node in program.graph:
        if node.op == "bias_current":
            assert node.attributes["mantissa_limit"] < 2 ** (chip.arithmetic.bias_mantissa_bits.value - 1)
            assert node.attributes["exponent"] < 2**chip.arithmetic.bias_exponent_bits.value


@pytest.mark.parametrize("name", [name for name in hw.list_chips() if get_chip(name).semantics in TARGETS])
def test_every_chip_has_a_target_that_can_hold_its_numbers(name):
    chip = get_chip(name)
    assert target_of(chip).semantics == chip.semantics
    assert set(chip.resets) <= {"hard", "soft", "none"}
    assert chip.reset_value is None or "hard" in chip.resets


def test_a_chip_that_contradicts_its_semantics_is_refused():
    """Decays of another width are another arithmetic; the numbers that disagree are named."""
    with pytest.raises(CompileError, match=r"narrow has decays of 10 bits"):
        target_of(narrow(decay_bits=Quantity(10, "bits", "test")))
    with pytest.raises(CompileError, match=r"states of 32 bits"):
        target_of(narrow(state_bits=Quantity(32, "bits", "test")))
    with pytest.raises(CompileError, match=r"the arithmetic 'other', there is lava-nc"):
        target_of(replace(narrow(), semantics="other"))


def test_resets_are_the_chips(described):
    chip = get_chip("loihi1")
    x = torch.zeros(4, 1, 4).double()
    soft = nn.Sequential(constant_linear(4, 6, 0.5), IF(v_reset=None), constant_linear(6, 3, 0.5))
    (violation,) = compiler.check(soft, "loihi1", x, "binary")
    assert (violation.layer, violation.need) == ("1", "a soft reset (v_reset=None)")
    assert violation.limit == "loihi1 resets hard, to 0: use v_reset=0"
    described(replace(chip, name="other", reset_value=-0.5))
    zero = nn.Sequential(constant_linear(4, 6, 0.5), IF(), constant_linear(6, 3, 0.5))
    (violation,) = compiler.check(zero, "other", x, "binary")
    assert "a reset to 0" in violation.need
    assert "use v_reset=-0.5" in violation.limit


def test_all_violations_are_found_at_once():
    """One wrong reset, one value a channel, one ordinary activation: three lines, each with its own layer."""
    model = nn.Sequential(
        nn.Linear(4, 6), IF(v_reset=None), nn.Linear(6, 6), nn.Tanh(), IF(), nn.Linear(6, 6), nn.ReLU(), LIF(),
        nn.Linear(6, 3),
    )  # fmt: skip
    found = compiler.check(model, "loihi1", torch.zeros(4, 1, 4), "binary")
    assert [v.layer for v in found] == ["1", "4", "7"]
    assert all(v.need and v.limit for v in found)
    with pytest.raises(CompileError, match=r"\(and 2 more; `snnkit check` lists them\)") as caught:
        compiler.compile(model, torch.zeros(4, 1, 4), input_type="binary")
    assert list(caught.value.violations) == found
