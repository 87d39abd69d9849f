"""The graded neuron: its integer step against whole numbers of any size, and float neurons of every kind against it.

Would break it: halves rounded the other way, a clip that is silent, a soft reset that takes the threshold once where it
was passed twice, values of events (quarters) taken for their levels, a register that ends below what a neuron sends, a
proof that lets a sum leave its range.
"""

import contextlib
import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numba import njit
from numba.extending import register_jitable
from support.chip_runs import eighths, levels, run, same, spikes
from torch import nn

import compiler
from compiler.errors import CompileError
from compiler.graph import is_neuron
from compiler.targets import target_of
from compiler.targets.graded import arithmetic
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.ranges import Dynamics, broken
from hw import get_chip
from hw.quantity import Quantity
from snnkit.encoders import Direct
from snnkit.layers import over_time
from snnkit.neurons import IF, ILIF, LIF, NO_RESET, MultiSpike


def literal(v, a_in, bias, dv, vth, most, mode, reset, limit, bits):
    """The step as its equation says, in Python's own whole numbers."""
    kept = abs(v) * (2**bits - dv) // 2**bits
    x = (kept if v >= 0 else -kept) + a_in * 64 + bias
    x = max(-limit, min(limit, x))
    theta = vth * 64
    if mode == 0:
        sent = min(most, int(x >= theta))
    elif mode == 3:
        sent = x // 64
    else:
        below, rest = divmod(x, theta)
        up = 2 * rest > theta or (2 * rest == theta and (mode == 2 or below % 2 == 1))
        sent = max(0, min(most, below + up))
    after = x if reset == 2 else x - sent * theta if reset == 1 else 0 if sent else x
    return after, sent


def cases(count=6000, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        bits, state = int(rng.choice([4, 12, 14])), int(rng.choice([8, 12, 24, 32, 48]))
        limit = 2 ** (state - 1) - 1
        vth = int(rng.choice([1, 2, 3, 17, 131071]))
        most, mode = int(rng.choice([1, 2, 4, 8, 255])), int(rng.integers(4))
        reset = int(rng.integers(3)) if mode < 3 else 0
        dv = int(rng.choice([0, 1, 2**bits // 2, 2**bits - 1, 2**bits]))
        theta = vth * 64
        near = theta * int(rng.integers(-2, most + 3)) + int(rng.choice([0, theta // 2])) + int(rng.integers(-2, 3))
        v = int(rng.choice([0, limit, -limit, int(rng.integers(-limit, limit + 1))]))
        kept = abs(v) * (2**bits - dv) // 2**bits * (1 if v >= 0 else -1)
        # A bias that brings the membrane close to a threshold, or anything.
        bias = near - kept if rng.random() < 0.6 else int(rng.integers(-(2**20), 2**20))
        a_in = 0 if rng.random() < 0.5 else int(rng.integers(-(2**26), 2**26))
        yield v, a_in, bias, dv, vth, most, mode, reset, limit, bits


def test_the_step_is_its_equation_in_numpy_torch_and_compiled():
    given = list(cases())
    wanted = np.array([literal(*case) for case in given])
    columns = [np.array(column, np.int64) for column in zip(*given, strict=True)]
    np.testing.assert_array_equal(np.stack(arithmetic.graded_step(*columns), 1), wanted)
    tensors = [torch.from_numpy(column) for column in columns]
    np.testing.assert_array_equal(torch.stack(arithmetic.graded_step(*tensors), 1).numpy(), wanted)
    for part in arithmetic.PARTS:
        register_jitable(part)
    row_step = arithmetic.row_step

    @njit
    def compiled(v, a_in, bias, rows):
        found = np.zeros((len(v), 2), np.int64)
        for n in range(len(v)):
            _, found[n, 0], found[n, 1] = row_step(0, v[n], a_in[n], bias[n], rows[n])
        return found

    v, a_in, bias, dv, *others = columns
    rows = np.stack([dv * 0, dv, *others], 1)
    np.testing.assert_array_equal(compiled(v, a_in, bias, rows), wanted)
    assert {0, 1, 2} <= set(wanted[:, 1])
    assert wanted[:, 1].min() < 0, "every mode was met"


class Net(nn.Module):
    """Layer, neuron, layer, neuron, layer."""

    def __init__(self, first, second=None, inputs=6, width=12):
        super().__init__()
        self.a, self.one = nn.Linear(inputs, width, bias=False), first
        self.b, self.two = nn.Linear(width, 5, bias=False), second or copy.deepcopy(first)
        self.c = nn.Linear(5, 3, bias=False)

    def forward(self, x):
        return over_time(self.c, self.two(over_time(self.b, self.one(over_time(self.a, x)))))


EXACT = {
    "hard": IF(),
    "soft": IF(v_reset=None),
    "none": IF(v_reset=NO_RESET),
    "levels": MultiSpike(4),
    "many levels": MultiSpike(8),
    "halves up": MultiSpike(4, half_up=True),
    "levels as they are": MultiSpike(3, divisor=1.0),
    "one level": MultiSpike(1),
}


@pytest.mark.parametrize("chip", ["loihi2"])
@pytest.mark.parametrize("name", EXACT)
def test_every_spike_of_a_neuron_without_leak(name, chip):
    """Weights are multiples of 1/8, so that membranes reach thresholds and halves exactly."""
    model = eighths(Net(EXACT[name]))
    model.b.weight.data *= 2
    _, trace, _ = same(model, spikes(8, 6, 6), chip)
    assert trace.spikes["one"].max() > 1 or getattr(EXACT[name], "levels", 1) == 1


def test_thirds_are_rounded_where_halves_are_met_alone():
    """What one level stands for is no number of either side; levels differ where a float sum misses a half."""
    _, trace, equality = run(eighths(Net(MultiSpike(3))), spikes(8, 6, 6), "mesh")
    assert equality.float_by_layer["one"][0] == 0
    assert equality.float_mismatches <= 0.03 * equality.float_compared
    assert trace.spikes["one"].max() == 3


@pytest.mark.parametrize("half_up", [False, True])
def test_halves_round_as_the_neuron_says(half_up):
    """Currents of ½, 1½, 2½, 3½: to even 0, 2, 2, 4; up 1, 2, 3, 4."""
    model = Net(MultiSpike(4, half_up=half_up), IF(), inputs=4, width=4).double()
    model.a.weight.data = torch.diag(torch.tensor([0.5, 1.5, 2.5, 3.5]).double())
    model.b.weight.data.fill_(0.25)
    model.c.weight.data.fill_(0.5)
    _, trace, _ = same(model, torch.ones(2, 1, 4).double(), "mesh")
    assert trace.spikes["one"][0, 0].tolist() == ([1, 2, 3, 4] if half_up else [0, 2, 2, 4])


@pytest.mark.parametrize("most", [1, 2, 4, 8])
@pytest.mark.parametrize("tau", [2.0, 4 / 3, 4.0])
def test_integer_neurons_with_leak(most, tau):
    """τ of 2, 4/3 and 4 keep 1/2, 1/4 and 3/4: exact in the chip's fractions until bits run out."""
    model = eighths(Net(ILIF(tau=tau, levels=most)), low=-2)
    _, trace, equality = run(model, spikes(6, 6, 6), "mesh")
    assert equality.float_mismatches <= 0.02 * equality.float_compared
    assert trace.spikes["one"].max() == min(most, 8) or most == 8
    assert not equality.float_proven


@pytest.mark.parametrize("reset", [0.0, None])
@pytest.mark.parametrize("tau", [2.0, 4.0])
def test_leaky_neurons(tau, reset):
    model = eighths(Net(LIF(tau=tau, v_reset=reset)), low=0)
    _, _, equality = run(model, spikes(8, 6, 6), "mesh")
    assert equality.float_mismatches <= 0.02 * equality.float_compared


@pytest.mark.parametrize(("low", "high"), [(0, 4), (-3, 3), (0, 255)])
def test_events_come_in_as_numbers(low, high):
    x = torch.randint(low, high + 1, (6, 5, 6), generator=torch.Generator().manual_seed(2)).double()
    model = eighths(Net(IF(v_threshold=float(high) / 2), IF()))
    program, _, _ = same(model, x, "mesh", f"integer[{low},{high}]")
    assert program.mapping.lowered.levels == (low, high)
    with pytest.raises(ValueError, match="values from"):
        program.simulate(x + high)


@pytest.mark.parametrize("neuron", [MultiSpike(8), MultiSpike(8, half_up=True), ILIF(levels=8), ILIF(levels=12)])
def test_the_first_neuron_sends_all_its_levels_of_real_currents(neuron):
    """The host writes what is up to 12 thresholds into the bias register, which ends above the last level."""

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.net = Direct(4), Net(neuron, IF())

        def forward_sequence(self, x):
            return self.net(x)

        def forward(self, x):
            return self.forward_sequence(self.encoder(x)).mean(0)

    model = eighths(First())
    x = torch.linspace(-12, 12, 60).reshape(10, 6).double()
    _, trace, equality = run(model, x, "mesh", "real")
    assert trace.spikes["net.one"].max() == neuron.levels
    assert equality.float_by_layer["net.one"][0] <= 0.02 * equality.float_by_layer["net.one"][1]


def test_the_bound_on_logits_counts_levels():
    """Eight levels of a weight that is rounded are eight times as wrong."""
    model = Net(MultiSpike(8, divisor=1.0), MultiSpike(8, divisor=1.0), inputs=1, width=1).double()
    model.a.weight.data.fill_(8.0)
    model.b.weight.data.fill_(1.0)
    model.c.weight.data = torch.linspace(0.1, 1.0, 15).reshape(3, 5).double()
    _, _, equality = run(model, torch.ones(4, 1, 1).double(), "mesh")
    assert equality.float_mismatches == 0
    assert 0 < equality.float_logit_error <= equality.float_logit_bound


NARROW = [
    "mesh",
    "mesh:state_bits=16",
    "mesh:state_bits=12,threshold_bits=5",
    "mesh:state_bits=10,threshold_bits=3,decay_bits=8",
]
KINDS = [
    lambda: IF(),
    lambda: IF(v_reset=None),
    lambda: IF(v_reset=NO_RESET),
    lambda: LIF(tau=4.0),
    lambda: LIF(tau=4.0, v_reset=None),
    lambda: ILIF(tau=4.0, levels=4),
    lambda: ILIF(tau=64.0, levels=4),
    lambda: MultiSpike(4, divisor=1.0),
]


@pytest.mark.parametrize("chip", NARROW)
@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_what_is_not_refused_is_never_clipped(kind, chip):
    """The same integers with states of 60 bits: no spike and no output differs, whatever comes in."""
    torch.manual_seed(kind)
    steps, tried = 12, 0
    inputs = [
        torch.ones(steps, 1, 6),
        (torch.arange(steps) < 6).double().reshape(-1, 1, 1).expand(steps, 1, 6),
        (torch.arange(steps) >= 6).double().reshape(-1, 1, 1).expand(steps, 1, 6),
        (torch.rand(steps, 8, 6) < 0.5).double(),
    ]
    x = torch.cat([one.double() for one in inputs], 1)
    for shift in (-0.5, 0.5):
        model = Net(KINDS[kind]()).double()
        for layer in (model.a, model.b):
            layer.weight.data.uniform_(-1, 1).add_(shift)
            layer.weight.data[:, 3:].neg_()  # the second half of the inputs pulls the other way
        try:
            program = compiler.compile(model, x, chip, "binary")
        except CompileError:
            continue
        tried += 1
        nodes = tuple(
            replace(node, attributes={**node.attributes, "limit": 2**59}) if is_neuron(node) else node
            for node in program.graph
        )
        wide = replace(program.graph, nodes=nodes)
        names = [node.output for node in program.graph if is_neuron(node) and node.role != "readout"]
        (ours, mine), (theirs, free) = (compiler.interpret(graph, x, probes=names) for graph in (program.graph, wide))
        assert torch.equal(ours, theirs)
        for name in names:
            assert torch.equal(mine[name], free[name]), name
        assert program.verify(x).verdict == "exact"
    assert tried or "state_bits=1" in chip


@pytest.mark.parametrize("bits", [16, 18, 20])
def test_a_threshold_is_no_higher_than_a_state_can_be(bits):
    """A membrane that rises to the threshold in many steps still fires where states are narrow."""
    model = eighths(Net(IF(v_threshold=16.0), IF(), inputs=6, width=8), low=0)
    program, _, _ = same(model, spikes(60, 4, 6), f"mesh:state_bits={bits}", rate=0.01)
    assert Formats.of(program.mapping.chip).threshold == 2 ** (bits - 1 - 6) - 2
    assert all(
        node.attributes["vth"] * 64 <= node.attributes["limit"] for node in program.graph if node.op == "lif_graded"
    )


def test_levels_that_a_chip_cannot_send_are_refused():
    """Eight levels take four bits and a sign."""
    model = eighths(Net(MultiSpike(8)))
    violations = compiler.check(model, "mesh:payload_bits=4", spikes(4, 2, 6), "binary")
    assert violations
    assert "4 bits" in str(violations[0])
    same(model, spikes(8, 6, 6), "mesh:payload_bits=5")


def test_integer_inputs_that_a_chip_cannot_carry_are_refused():
    x = levels(4, 2, 6, most=200)
    assert compiler.check(eighths(Net(IF())), "mesh:payload_bits=8", x, "integer[0,200]")
    assert compiler.check(eighths(Net(IF())), "loihi1", x, "integer[0,200]")


class Chain(nn.Module):
    """Layers of ones with IF neurons between them."""

    def __init__(self, *sizes):
        super().__init__()
        self.first, self.last = (nn.Linear(*pair, bias=False) for pair in pairwise(sizes))
        self.neuron = IF()
        for layer in (self.first, self.last):
            layer.weight.data.fill_(1.0)

    def forward(self, x):
        return over_time(self.last, self.neuron(over_time(self.first, x)))


def test_membranes_of_more_than_32_bits():
    """Sixty-four neurons that fire at each of 100 steps, where an output's unit is as fine as 40 bits allow."""
    chip = "mesh:state_bits=40,threshold_bits=32"
    x = torch.ones(100, 2, 6).double()
    program, _, equality = same(Chain(6, 64, 3).double(), x, chip)
    assert equality.float_verdict == "exact"
    assert (program.image.simulate(x).membrane > 2**31).all()


def test_no_sum_leaves_the_integers_of_the_proof():
    """Levels of 2²⁴, weights of 2²¹ and 4,200 of them: 2⁶³ in units of a membrane, far above its 48 bits."""
    most, chip = 2**24 - 1, "mesh:weight_bits=16,state_bits=48,threshold_bits=32,in_axons=8192,synapse_kib=1024"
    model = Chain(4200, 2, 3).double()
    model.first.weight.data[:, 0] = 0.25
    x = torch.full((2, 1, 4200), float(most)).double()
    with contextlib.suppress(CompileError):  # to refuse it is right as well
        program = compiler.compile(model, x, chip, f"integer[0,{most}]")
        assert program.verify(x).float_verdict == "exact"


BEYOND = {
    "state_bits": 49,
    "bias_mantissa_bits": 32,
    "bias_exponent_bits": 6,
    "decay_bits": 15,
    "payload_bits": 33,
    "weight_exponent": (-8, 9),
    "threshold_shift": 7,
}


@pytest.mark.parametrize("key", BEYOND)
def test_numbers_that_no_integer_of_64_bits_holds_are_refused(key):
    """Each as it is on the widest mesh there may be is fine, one more is not."""
    widest = "mesh:weight_bits=16,state_bits=48,threshold_bits=32,bias_mantissa_bits=24,bias_exponent_bits=5"
    chip = get_chip(widest + ",decay_bits=14")
    assert target_of(chip).semantics == arithmetic.SEMANTICS
    given = BEYOND[key]
    value = given if isinstance(getattr(chip.arithmetic, key), int | tuple) else Quantity(given, "bits", "test")
    changed = replace(chip, build=replace(chip.build, arithmetic=replace(chip.arithmetic, **{key: value})))
    shown = max(given) if isinstance(given, tuple) else 2**given - 1 if key == "bias_exponent_bits" else given
    with pytest.raises(CompileError, match=rf"{shown}\b.*graded LIF"):
        target_of(changed)


def drawn(draw, low, high, steps):
    """Currents that fall as far as they can and then rise, the other way round, or anything."""
    turn, kind = int(draw.integers(0, steps + 1)), int(draw.integers(3))
    if kind == 2:
        return draw.integers(low, high + 1, steps).tolist()
    return ([high] * kind + [low] * turn + [high] * steps)[:steps]


def test_the_proof_holds_for_every_neuron():
    """States of 12 bits, currents at both ends of their range: what is let through, a wider state does alike."""
    formats = Formats.of(get_chip("mesh:state_bits=12,threshold_bits=5,decay_bits=8"))
    draw, kept = np.random.default_rng(0), 0
    for _ in range(3000):
        mode, reset, dv = (int(draw.choice(one)) for one in ([0, 1, 2], [0, 1, 2], [0, 16, 64, 128, 192]))
        dv = 256 if mode and not reset else dv  # several levels and a hard reset: MultiSpike, which keeps nothing
        vth, steps, most = int(draw.integers(1, 31)), int(draw.choice([4, 8, 12])), int(draw.choice([1, 2, 4]))
        low, high = int(-draw.integers(0, 32)), int(draw.integers(0, 32))
        dynamics = Dynamics(formats.forget, dv, vth, steps, True, resets=reset == 0, halves=mode > 0)
        if broken(np.array([low]), np.array([high]), dynamics, formats):
            continue
        kept += 1
        for _ in range(4):
            narrow = wide = 0
            for current in drawn(draw, low, high, steps):
                narrow, ours = literal(narrow, current, 0, dv, vth, most, mode, reset, formats.state, 8)
                wide, theirs = literal(wide, current, 0, dv, vth, most, mode, reset, 2**60, 8)
                assert ours == theirs, (mode, reset, dv, vth, low, high)
    assert kept > 1000


@pytest.mark.parametrize("axons", [12, 16])
@pytest.mark.parametrize("neuron", [IF(), IF(v_reset=None), MultiSpike(4)])
def test_a_current_that_is_too_wide_for_a_core_is_added_up_in_parts(neuron, axons):
    """Forty inputs where a core takes 12 or 16: parts hand on their sums, and no bound is lost on the way."""
    model = eighths(Net(neuron, IF(), width=40))
    program, _, _ = same(model, spikes(8, 5, 6), f"mesh:in_axons={axons}")
    parts = [placed for placed in program.mapping.lowered.placed if placed.kind == "part"]
    assert len(parts) >= 40 // axons
    violations = compiler.check(model, f"mesh:in_axons={axons},payload_bits=8", spikes(8, 5, 6), "binary")
    assert "input axons" in str(violations[0]), "a sum of 18 bits is no event of 8"
