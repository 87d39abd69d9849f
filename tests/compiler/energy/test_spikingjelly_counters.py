"""SpikingJelly's op_counter and ours on the same networks: equal where every signal is 0 or 1, and where not, why.

SpikingJelly looks at values while they pass, and calls a tensor spikes where all of it is 0 or 1; ours knows types.
Would break it: borders, strides or groups counted otherwise, a layer missed, events of several levels counted once.
"""

import pytest
import torch
from torch import nn

import compiler
from compiler.analysis.types import infer_signals
from compiler.counting import Tally
from snnkit.importers import from_spikingjelly
from snnkit.layers import over_time
from snnkit.neurons import IF, ILIF, LIF, MultiSpike, TernaryIF

sj = pytest.importorskip("spikingjelly.activation_based.op_counter")
from spikingjelly.activation_based import layer, neuron  # noqa: E402

STEPS, BATCH = 4, 3


def theirs(model, x):
    """(MAC, AC, SynOp) of the layers with weights and products, summed over samples and steps."""
    counters = [sj.MACCounter(), sj.ACCounter(), sj.SynOpCounter()]
    with torch.no_grad(), sj.DispatchCounterMode(counters):
        model(x)
    weighted = ("mm", "addmm", "bmm", "baddbmm", "convolution")
    return tuple(
        sum(
            made
            for what, made in counter.get_counts()["Global"].items()
            if what._schema.name.split("::")[1] in weighted
        )
        for counter in counters
    )


def ours(model, x, input_type="binary"):
    """The same three of ours, in the same unit."""
    counts = compiler.count(model, [x], input_type=input_type)
    assert counts.complete
    samples = x.shape[1]
    return tuple(round(counts.total(what) * samples, 6) for what in ("mac", "ac", "synaptic_events"))


def frames(*shape, rate=0.3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(STEPS, BATCH, *shape, generator=generator) < rate).float()


class Convolutions(nn.Module):
    """Stride, groups, padding, dilation, biases: five layers on 8×8."""

    def __init__(self, make):
        super().__init__()
        self.net = nn.Sequential(
            layer.Conv2d(2, 6, 3, padding=1, stride=2, bias=False, step_mode="m"),
            make(0.3),
            layer.Conv2d(6, 8, 3, padding=1, groups=2, step_mode="m"),
            make(0.1),
            layer.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8, step_mode="m"),
            make(0.05),
            layer.Conv2d(8, 4, 2, step_mode="m"),
            make(0.02),
            layer.Flatten(step_mode="m"),
            layer.Linear(36, 10, step_mode="m"),
        )

    def forward(self, x):
        return self.net(x)


class Attention(nn.Module):
    """Spikformer's: spikes times spikes, and spikes times counts of spikes."""

    def __init__(self, make):
        super().__init__()
        self.q, self.k, self.v, self.proj = (layer.Linear(12, 12, step_mode="m") for _ in range(4))
        self.q_spikes, self.k_spikes, self.v_spikes, self.out = (make(0.1) for _ in range(4))

    def forward(self, x):
        q, k = self.q_spikes(self.q(x)), self.k_spikes(self.k(x))
        met = self.out(q @ k.transpose(-2, -1) * 0.25)
        return self.proj(met @ self.v_spikes(self.v(x)))


class Pooled(nn.Module):
    """Largest values of spikes are spikes; two paths that meet nowhere."""

    def __init__(self, make):
        super().__init__()
        self.conv, self.spikes = layer.Conv2d(2, 6, 5, padding=2, step_mode="m"), make(0.2)
        self.pool, self.flat = layer.MaxPool2d(2, step_mode="m"), layer.Flatten(step_mode="m")
        self.hidden, self.more, self.head = (
            layer.Linear(96, 20, step_mode="m"),
            make(0.1),
            layer.Linear(20, 5, step_mode="m"),
        )

    def forward(self, x):
        return self.head(self.more(self.hidden(self.flat(self.pool(self.spikes(self.conv(x)))))))


NETWORKS = {"convolutions": (Convolutions, (2, 8, 8)), "pooled": (Pooled, (2, 8, 8)), "tokens": (None, (5, 12))}
NEURONS = {
    "IF": lambda threshold: neuron.IFNode(v_threshold=threshold, step_mode="m"),
    "LIF": lambda threshold: neuron.LIFNode(v_threshold=threshold, step_mode="m"),
    "LIF, soft reset": lambda threshold: neuron.LIFNode(v_threshold=threshold, v_reset=None, step_mode="m"),
}


class Tokens(nn.Module):
    """Linear layers on tokens, and the first product of attention alone: both operands are spikes."""

    def __init__(self, make):
        super().__init__()
        self.q, self.k = layer.Linear(12, 12, step_mode="m"), layer.Linear(12, 12, bias=False, step_mode="m")
        self.q_spikes, self.k_spikes = make(0.1), make(0.1)

    def forward(self, x):
        return self.q_spikes(self.q(x)) @ self.k_spikes(self.k(x)).transpose(-2, -1)


@pytest.mark.parametrize("spiking", NEURONS)
@pytest.mark.parametrize("name", NETWORKS)
def test_equal_where_all_signals_are_spikes(name, spiking):
    kind, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = (kind or Tokens)(NEURONS[spiking]).eval()
    x = frames(*shape)
    found = theirs(model, x)
    assert found == ours(from_spikingjelly(model), x)
    assert found[0] == 0
    assert found[1] == found[2] > 1000


@pytest.mark.parametrize("name", ["convolutions", "pooled"])
def test_equal_where_the_first_layer_reads_real_numbers(name):
    """All of its multiply-accumulates, padding included, at every step; everything behind is spikes."""
    kind, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = kind(NEURONS["LIF"]).eval()
    x = torch.rand(STEPS, BATCH, *shape, generator=torch.Generator().manual_seed(2))
    found = theirs(model, x)
    assert found == ours(from_spikingjelly(model), x, "real")
    assert found[0] > 10_000
    assert found[1] == found[2] > 100


def test_attention_with_counts_of_spikes():
    """met @ v is spikes × spikes; q @ kᵀ · ¼ goes into neurons. Equal once more, layer for layer and in all."""
    torch.manual_seed(0)
    model = Attention(NEURONS["IF"]).eval()
    x = frames(5, 12)
    mac, ac, synaptic = theirs(model, x)
    # The last layer reads counts of spikes: theirs are multiply-accumulates, ours accumulates.
    assert mac == STEPS * BATCH * 5 * 12 * 12
    assert ours(from_spikingjelly(model), x)[0] == 0
    assert ours(from_spikingjelly(model), x)[1] > ac == synaptic


def test_spikes_that_meet_counts_of_spikes():
    """q (kᵀ v): a spike of q adds d numbers that are counts themselves. Theirs: d each, zeros too. Ours: their units.

    Neither is wrong: an adder of many bits adds a count at once, a machine of events gets it as so many spikes.
    """

    class Linear(nn.Module):
        def forward(self, q, k, v):
            return q @ (k.transpose(-2, -1) @ v)

    q, k, v = (frames(6, 10, rate=0.3, seed=seed) for seed in range(3))
    counters = [sj.MACCounter(), sj.SynOpCounter()]
    with torch.no_grad(), sj.DispatchCounterMode(counters):
        Linear()(q, k, v)
    met = k.transpose(-2, -1) @ v
    first = float(met.sum())
    assert counters[0].get_total() == 0
    assert counters[1].get_total() == first + 10 * float(q.sum())
    given = tuple(x.flatten(0, 1) for x in (q, k, v))
    graph = compiler.capture(Linear(), tuple(x[:1] for x in given), input_type="binary")
    tally = Tally(infer_signals(graph))
    tally.add(given)
    assert tally.counts().total("ac") * STEPS * BATCH == first + float((q @ met).sum())


# Where a tensor holds other values than 0 and 1. In each case: what it should be, by hand.


class Reads(nn.Module):
    """A layer of ``fan_out`` outputs behind what ``between`` makes of neurons' output."""

    def __init__(self, spiking, between=lambda s: s, fan_out=7):
        super().__init__()
        self.spiking, self.between, self.read = spiking, between, nn.Linear(12, fan_out, bias=False)

    def forward(self, x):
        return over_time(self.read, self.between(self.spiking(x)))


GRADED = {
    # spikes of the neuron → what the layer reads, and how often a value of it adds each weight
    "sums of two spikes": (lambda: IF(0.5), lambda s: s + torch.roll(s, 1, -1), lambda y: y.sum()),
    "halves": (lambda: IF(0.5), lambda s: s * 0.5, lambda y: (y != 0).sum()),
    "three values": (lambda: TernaryIF(0.5), lambda s: s, lambda y: (y != 0).sum()),
    "counts up to 4": (lambda: ILIF(4), lambda s: s, lambda y: y.sum()),
    "quarters": (lambda: MultiSpike(), lambda s: s, lambda y: (y * 4).sum()),
}


@pytest.mark.parametrize("case", GRADED)
def test_graded_spikes(case):
    """Theirs: every multiply-accumulate, as if zeros were numbers, and no accumulate. Ours: one a level and weight."""
    make, between, units = GRADED[case]
    model = Reads(make(), between).eval()
    x = 2 * torch.randn(STEPS, BATCH, 12, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        read = between(model.spiking(x))
    right = 7 * float(units(read))
    assert not torch.equal(read, (read != 0).float())
    assert right > 0
    assert ours(model, x, "real") == (0, right, right)
    dense = STEPS * BATCH * 12 * 7
    assert theirs(model, x) == (dense, 0, 0)


def test_zeros_are_no_spikes():
    """An all-zero real tensor is spikes to them: a layer that multiplies, and by chance with zeros, is said to add."""
    model = nn.Linear(12, 7, bias=False)
    silent = torch.zeros(STEPS, BATCH, 12)
    assert theirs(model, silent) == (0, 0, 0)
    counts = compiler.count(nn.Linear(12, 7, bias=False), [silent[0]])
    assert (counts.total("mac"), counts.total("effective_macs"), counts.total("ac")) == (84, 0, 0)


def test_one_value_in_a_batch_decides_for_all_of_it():
    """One value of 2 among spikes: theirs goes from none to all multiply-accumulates; ours adds one weight more."""
    sums = nn.Linear(12, 7, bias=False)
    once = torch.ones(STEPS, BATCH, 12)
    twice = once.clone()
    twice[0, 0, 0] = 2
    assert theirs(sums, once) == (0, 7 * 144, 7 * 144)
    assert theirs(sums, twice) == (7 * 144, 0, 0)
    for values, expected in ((once, 7 * 144), (twice, 7 * 145)):
        assert compiler.count(sums, [values.flatten(0, 1)], input_type="integer[0,2]").total("ac") * 12 == expected


def rate_coded(x):
    """A ReLU network, and what their recipe for rate coding makes of it."""
    from spikingjelly.activation_based import ann2snn

    torch.manual_seed(0)
    ann = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 6), nn.ReLU(), nn.Linear(6, 3)
    )
    calibration = [(x, torch.zeros(len(x), dtype=torch.long))]
    recipe = ann2snn.RateCodingRecipe(calibration, mode="Max")
    return ann.eval(), ann2snn.Converter(recipe=recipe).convert(ann).eval()


def test_the_output_of_rate_coding():
    """Scaled spikes: theirs are T times the ordinary network's multiply-accumulates and not one synaptic operation."""
    x = torch.rand(BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(4))
    ann, snn = rate_coded(x)
    dense = theirs(ann, x)[0]
    read = {}
    for name, part in snn.named_modules():
        if isinstance(part, (nn.Linear, nn.Conv2d)):
            part.register_forward_hook(lambda m, given, out, name=name: read.setdefault(name, []).append(given[0]))

    class Steps(nn.Module):
        def forward(self, x):
            return [snn(x) for _ in range(STEPS)]

    mac, ac, synaptic = theirs(Steps(), x)
    # T times the ordinary network, but for steps at which a layer's input is all zero, which is spikes to them.
    silent = sum(
        fan_out * values.numel()
        for fan_out, steps in zip((6, 3), list(read.values())[1:], strict=True)
        for values in steps
        if not values.any()
    )
    assert (mac + silent, ac, synaptic) == (STEPS * dense, 0, 0)
    assert mac > 3 * dense
    # By hand: the first layer multiplies at every step (once, if its result is kept); the others add.
    first, *others = [torch.stack(values) for values in read.values()]
    fan_outs = [6, 3]
    right = sum(fan_out * int((values != 0).sum()) for fan_out, values in zip(fan_outs, others, strict=True))
    assert 0 < right < 0.7 * STEPS * BATCH * (256 * 6 + 6 * 3)
    for part in snn.modules():
        part._forward_hooks.clear()
    counts = compiler.count(from_spikingjelly(snn), [x.expand(STEPS, *x.shape).contiguous()])
    assert counts.total("mac") * BATCH == STEPS * BATCH * 64 * 4 * 9
    assert counts.total("ac") * BATCH == right
    assert first.shape[0] == STEPS


def test_a_sewn_residual_has_no_more_operations_than_the_network_without_spikes():
    """Spikes + spikes into a convolution: to them all of it multiplies, at every step, as in no ordinary network."""

    class Sewn(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(3))
            self.spikes = nn.ModuleList(LIF(v_threshold=0.2) for _ in range(3))

        def forward(self, x):
            one = self.spikes[0](over_time(self.a, x))
            two = self.spikes[1](over_time(self.b, one))
            return self.spikes[2](over_time(self.c, one + two))

    torch.manual_seed(0)
    model, x = Sewn().eval(), frames(4, 6, 6)
    mac, ac, _ = theirs(model, x)
    assert mac == STEPS * BATCH * 36 * 4 * 36  # the layer behind the sum, dense
    right = ours(model, x)
    assert right[0] == 0
    assert ac < right[1] < ac + mac
