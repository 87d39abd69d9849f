"""The host and the chip in one step: biases beside spikes, currents of every step, and what is written of a program.

Would break it: a static current that loses its sign or its place beside spikes, a register that saturates in silence, a
step's current that acts a step later, levels that the host rounds away, options that a file forgets.
"""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.chip_runs import eighths, run, same, spikes
from torch import nn

import compiler
from compiler.errors import CompileError
from compiler.exchange import lava
from compiler.program import Program
from compiler.simulate import replay
from compiler.targets import Options
from snnkit.encoders import Direct
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF, MultiSpike

CHIPS = ("loihi1", "mesh")


class Both(nn.Module):
    """``join`` puts together what spikes bring to the second neuron and what the input does."""

    def __init__(self, join, width=6, spiking=6, static=6, neuron=IF):
        super().__init__()
        self.join = join
        self.a, self.first = nn.Linear(4, 8, bias=False), neuron()
        self.b, self.c = nn.Linear(8, spiking, bias=False), nn.Linear(4, static)
        self.second, self.out = neuron(), nn.Linear(width, 3, bias=False)

    def forward(self, x):
        joined = self.join(over_time(self.b, self.first(over_time(self.a, x))), over_time(self.c, x))
        return over_time(self.out, self.second(joined))


class Images(nn.Module):
    """A network that sees the same image at every step."""

    def __init__(self, net, timesteps=5):
        super().__init__()
        self.encoder, self.net = Direct(timesteps), net

    def forward_sequence(self, x):
        return self.net(x)

    def forward(self, x):
        return self.forward_sequence(self.encoder(x)).mean(0)


JOINS = {
    "sum": (lambda s, i: s + i, {}),
    "difference": (lambda s, i: s - i, {}),
    "the other way round": (lambda s, i: i - s, {}),
    "one for all": (lambda s, i: s + i[..., :1], {}),
    "one for all taken away": (lambda s, i: s - i[..., :1], {}),
    "scaled": (lambda s, i: s - 0.5 * i, {}),
    "halved together": (lambda s, i: (s + i) / 2, {}),
    "side by side": (lambda s, i: torch.cat([s, i], -1), {"width": 12}),
    "side by side, turned": (lambda s, i: torch.cat([i.flip(-1), s], -1), {"width": 12}),
    "beside numbers": (lambda s, i: F.pad(s + i, (1, 2), value=0.5), {"width": 9}),
    "twice": (lambda s, i: s + i + i.flip(-1), {}),
    "of a column": (
        lambda s, i: (s.unflatten(-1, (2, 3)) - i[..., :2].unsqueeze(-1)).flatten(-2),
        {},
    ),
}


def images(count=8):
    return torch.randint(-16, 17, (count, 4), generator=torch.Generator().manual_seed(3)).double() / 16


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("name", JOINS)
def test_a_static_current_beside_spikes(name, chip):
    """Images of sixteenths, weights and biases of eighths: every register holds them exactly."""
    join, sizes = JOINS[name]
    model = eighths(Images(Both(join, **sizes)))
    model.net.c.bias.data = (model.net.c.bias.data * 8).round() / 8
    program, trace, equality = same(model, images(), chip, "real")
    drives = [node.attributes["drive"] for node in program.graph if node.name == "net.second"]
    assert drives == ["both"]
    assert not equality.float_proven
    assert not program.host_operations
    assert not trace.counters


@pytest.mark.parametrize("chip", CHIPS)
def test_a_register_that_would_overflow_says_so(chip):
    """One line with the layer, the numbers and what helps; with more headroom the same image goes through."""
    model = eighths(Images(Both(lambda s, i: s + i)))
    model.net.c.weight.data.fill_(1.0)
    large = images() * 0 + 12.0
    program = compiler.compile(model, images(), chip, "real", headroom=4)
    with pytest.raises(ValueError, match=r"second.*headroom=64"):
        program.simulate(large)
    run(model, large, chip, "real", headroom=64)
    with pytest.raises(ValueError, match="bias register"):
        run(model, large * 30, chip, "real", headroom=64)


@pytest.mark.parametrize(("mantissa", "exponent", "held"), [(1, 1, 0), (2, 1, 2), (6, 2, 248)])
def test_a_register_too_small_for_any_threshold_is_refused(mantissa, exponent, held):
    """Four thresholds of 64 are 256, the least that a register beside spikes spans."""
    chip = f"mesh:bias_mantissa_bits={mantissa},bias_exponent_bits={exponent}"
    with pytest.raises(CompileError) as refused:
        compiler.compile(eighths(Images(Both(lambda s, i: s + i))), images(), chip, "real", headroom=4)
    (second,) = (text for text in map(str, refused.value.violations) if "second" in text)
    assert f"holds {held:,}" in second


@pytest.mark.parametrize("chip", CHIPS)
def test_currents_of_every_step_come_from_the_host(chip):
    """Real frames: the first neurons run on the host, and a current reaches a neuron of the chip at its own step."""
    x = torch.stack([images(6).roll(t, 0) for t in range(5)])
    for join in (lambda s, i: s + i, lambda s, i: torch.cat([s[..., :3], -i[..., 3:]], -1)):
        model = eighths(Both(join))
        model.c.bias.data = (model.c.bias.data * 8).round() / 8
        program, trace, _ = same(model, x, chip, "real", host="auto")
        assert "first" in program.host_operations
        assert trace.counters["biases_from_host"] == 6 * 6 * 5
        assert trace.counters["spikes_from_host"] == int(trace.spikes["first"].sum())
        assert trace.counters["spikes_to_host"] == 0


@pytest.mark.parametrize("given", ["once", "at every step"])
def test_biases_of_more_than_32_bits(given):
    """A threshold of 64 is 2³² membrane units where registers and states are wide, and a bias is as large."""
    chip = "mesh:bias_mantissa_bits=24,bias_exponent_bits=4,state_bits=48,threshold_bits=32,weight_bits=16"
    model, x = eighths(Both(lambda s, i: s + i, neuron=lambda: IF(v_threshold=64.0))), 64 * images()
    model.c.bias.data = (model.c.bias.data * 8).round() / 8
    if given == "once":
        program, trace, equality = run(Images(model), x, chip, "real")
    else:
        program, trace, equality = run(model, torch.stack([x.roll(t, 0) for t in range(5)]), chip, "real", host="auto")
    driven = next(node for node in program.graph if node.attributes.get("drive") == "both")
    assert driven.attributes["vth"] << 6 == 2**32
    assert equality.float_verdict == "exact"
    assert trace.fired > 10


@pytest.mark.parametrize("chip", CHIPS)
def test_a_pool_of_real_currents_behind_spikes(chip):
    """The stem of SDT: a max-pool of currents, which no gate does, runs on the host between two layers of the chip."""

    class Stem(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False), IF()
            self.b, self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False), IF()
            self.c, self.third, self.out = nn.Conv2d(4, 2, 3, bias=False), IF(), nn.Linear(8, 3, bias=False)

        def forward(self, x):
            y = over_time(self.b, self.first(over_time(self.a, x)))
            y = over_time(lambda one: F.max_pool2d(one, 3, 2, 1), y)
            return over_time(lambda one: self.out(one.flatten(1)), self.third(over_time(self.c, self.second(y))))

    model, x = eighths(Stem(), low=-6), spikes(6, 3, 2, 8, 8)
    violations = compiler.check(model, chip, x, "binary")
    assert len(violations) == 1
    assert "max_pool" in str(violations[0])
    program, trace, _ = same(model, x, chip, host="auto")
    assert trace.counters["spikes_to_host"] == int(trace.spikes["first"].sum())
    assert trace.counters["spikes_from_host"] == int(trace.spikes["second"].sum())
    assert trace.counters["biases_from_host"] == 0
    assert "second" in program.host_operations


@pytest.mark.parametrize("neuron", [IF, LIF, lambda: MultiSpike(4, divisor=1.0)])
def test_what_the_host_runs_is_the_float_network(neuron):
    """Everything behind the first layer by name: its own dynamics, leak and levels included."""
    model = eighths(Both(lambda s, i: s + i, neuron=neuron), low=-2)
    x = torch.stack([4 * images(6).roll(t, 0) for t in range(5)])
    _, trace, equality = run(model, x, "mesh", "real", host="auto")
    assert equality.float_by_layer["first"] == (0, 6 * 5 * 8)
    assert trace.spikes["first"].any()


def hybrid():
    return eighths(Both(lambda s, i: s * torch.sigmoid(i)))


def test_a_program_is_read_as_it_was_written(tmp_path):
    x = torch.stack([images(7)] * 4)
    program = compiler.compile(hybrid(), x, "loihi1", "real", host=("*mul*", "a b*")[:1], headroom=48)
    program.save(tmp_path / "one.program")
    again = Program.load(tmp_path / "one.program")
    assert again.options == program.options == Options(("*mul*",), (), 48)
    ours, theirs = program.simulate(x), again.simulate(x)
    for name, sent in ours.spikes.items():
        np.testing.assert_array_equal(sent, theirs.spikes[name])
    assert torch.equal(ours.logits, theirs.logits)
    assert ours.counters == theirs.counters
    twin = copy.deepcopy(program).simulate(x)
    assert torch.equal(ours.logits, twin.logits)


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize("kind", ["static", "sequence", "hybrid", "one step"])
def test_a_batch_is_its_samples(kind, chip):
    """1, 60 and 53 samples (50 run at once): each as if it were alone."""
    count, steps = 60, 1 if kind == "one step" else 4
    generator = torch.Generator().manual_seed(5)
    x = torch.randint(-16, 17, (count, 4), generator=generator).double() / 16
    model, granted, axis = eighths(Both(lambda s, i: s + i)), {}, 0
    if kind in ("sequence", "hybrid"):
        x = torch.stack([x.roll(t, 0) for t in range(steps)])
        granted, axis = {"host": "auto"} if kind == "hybrid" else {}, 1
        x = (x > 0).double() if kind == "sequence" else x
    else:
        model = Images(model, steps)
    program = compiler.compile(model, x.narrow(axis, 0, 2), chip, "binary" if kind == "sequence" else "real", **granted)
    whole = program.simulate(x)
    for first, size in ((0, 1), (59, 1), (7, 53)):
        part = program.simulate(x.narrow(axis, first, size))
        for name, sent in whole.spikes.items():
            np.testing.assert_array_equal(part.spikes[name], sent[:, first : first + size], err_msg=name)
        assert torch.equal(part.logits, whole.logits[first : first + size])
    assert program.verify(x, whole).verdict == "exact"
    assert any(sent.any() for sent in whole.spikes.values())


def test_artifacts_for_lava_hold_what_lava_runs_and_nothing_else(tmp_path):
    """Programs of graded chips, or with the host between the steps, have no such form and say so."""
    x = images(1)
    net = eighths(Both(lambda s, i: s))
    model = Images(net, 4)
    program = compiler.compile(model, x, "loihi1", "real")
    lava.write(program, tmp_path / "a.npz", x)
    assert replay(tmp_path / "a.npz")
    for network, chip, granted, given, kind in (
        (model, "mesh", {}, x, "real"),
        (model, "loihi2", {}, x, "real"),
        (net, "loihi1", {"host": "auto"}, torch.stack([x] * 4), "real"),
        (net, "mesh", {}, torch.full((4, 1, 4), 3.0).double(), "integer[0,9]"),
    ):
        program = compiler.compile(network, given, chip, kind, **granted)
        with pytest.raises(CompileError):
            lava.write(program, tmp_path / "b.npz", given)
    assert not (tmp_path / "b.npz").exists()


class Single(nn.Module):
    """One weight, one neuron, one output."""

    def __init__(self, weight, neuron):
        super().__init__()
        self.a, self.neuron, self.out = nn.Linear(1, 2, bias=False), neuron, nn.Linear(2, 1, bias=False)
        self.a.weight.data.fill_(weight)
        self.out.weight.data.fill_(1.0)

    def forward(self, x):
        return over_time(self.out, self.neuron(over_time(self.a, x)))


@pytest.mark.parametrize("chip", CHIPS)
@pytest.mark.parametrize(
    ("weight", "neuron", "proven"),
    [
        (0.25, IF(), True),
        (0.25, IF(v_threshold=0.75), True),
        (0.1, IF(), False),
        (0.1, IF(v_threshold=0.3), False),
        (1 / 3, IF(), False),
        (0.5, LIF(tau=1e5, decay_input=False), False),
        (0.5, LIF(tau=2.0, decay_input=False), False),
    ],
)
def test_proven_means_that_nothing_was_rounded(weight, neuron, proven, chip):
    """A tenth is no number of the float network's either, and a leak that rounds to none is one all the same."""
    model = Single(weight, neuron).double()
    _, _, equality = run(model, torch.ones(25, 1, 1).double(), chip)
    assert equality.float_proven == proven
    assert not proven or equality.float_verdict == "exact"
    assert ("proven, nothing was rounded" in str(equality)) == proven
    assert "float network → quantised graph" in str(equality)
    assert "quantised graph → integer program" in str(equality)


def test_gates_and_spikes_of_the_host_leave_a_proof_and_real_numbers_of_the_host_do_not():
    class Product(nn.Module):
        def __init__(self, of):
            super().__init__()
            self.of, self.net, self.last = of, Both(lambda s, i: s + i), IF()

        def forward(self, x):
            y = self.net.first(over_time(self.net.a, x))
            return over_time(self.net.out, self.last(self.of(over_time(lambda one: one, y))[..., :6]))

    x = spikes(5, 4, 4)
    for of, host, proven in (
        (lambda y: y * y.flip(-1), (), True),
        (lambda y: (y - y.flip(-1)).abs(), "auto", True),
        (lambda y: y * torch.sigmoid(y.flip(-1)), "auto", False),
    ):
        program, _, equality = run(eighths(Product(of), low=-2), x, "loihi1", host=host)
        assert bool(program.host_operations) == bool(host)
        assert equality.float_proven == proven, str(equality)
