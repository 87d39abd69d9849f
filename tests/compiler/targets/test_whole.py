"""Whole networks of the published families, small: the integer program against its graph, every spike of every layer.

Would break it: any layer a step late in a network of dozens of depths, a shortcut that loses its relay, an attention
whose products or gates differ from the host's, a part of a network that silently stays on the host.
"""

import random

import pytest
import torch
import torch.nn.functional as F
from support.chip_runs import eighths, run, same, spikes
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import compiler
import snnkit
from compiler.errors import CompileError
from compiler.graph import BINARY, GraphBuilder
from snnkit.layers import over_time
from snnkit.models import families
from snnkit.neurons import IF

LARGE = "mesh:width=24,height=24,synapse_kib=1024,neurons=8192,in_axons=65536,out_axons=65536"
TINY = {family.name: family.tiny for family in families()}

# family, chip, whether the host may help, and the share of spikes by which rounding moves the float network
NETWORKS = [
    ("sew_resnet", "loihi1", False, 0.03),
    ("ms_resnet", "mesh", False, 0.03),
    ("spiking_vgg", "loihi1", False, 0.03),
    ("spikformer", LARGE, False, 0.03),
    ("spikformer", "loihi1", True, 0.06),
    ("spikformer_v2", LARGE, False, 0.06),
    ("meta_spikeformer", LARGE, False, 0.03),
    ("spike_driven_transformer", "loihi1", False, 0.03),
    ("qkformer", "loihi1", True, 0.03),
    ("e_spikeformer_large", LARGE, False, 0.08),
]


def settled(family, timesteps=2, **changes):
    """A network whose norms have seen data and which fires, and two images for it."""
    torch.manual_seed(0)
    sizes = {**TINY[family], "timesteps": timesteps, **changes}
    shape = sizes["in_chans"], sizes["img_size"], sizes["img_size"]
    return fired(snnkit.create_model(**sizes), shape), torch.randn(2, *shape)


def fired(model, shape):
    """A network whose norms have seen data and which fires."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None:
            module.weight.data.fill_(2.0)
            module.bias.data.fill_(1.5)
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(4, *shape))
    return model.eval()


@pytest.mark.parametrize(("family", "chip", "helped", "apart"), NETWORKS)
def test_every_spike_of_a_family(family, chip, helped, apart):
    model, x = settled(family)
    program, trace, equality = run(model, x, chip, "real", host="auto" if helped else ())
    assert bool(program.host_operations) == helped
    assert equality.float_mismatches <= apart * equality.float_compared
    silent = [name for name, sent in trace.spikes.items() if not sent.any()]
    assert len(silent) <= 0.15 * len(trace.spikes), silent
    if helped:
        assert trace.counters["spikes_to_host"] > 0
        assert trace.counters["spikes_from_host"] > 0


def test_every_spike_of_a_network_that_segments():
    """Backbone, pyramid and head on the chip: maps at four scales, enlarged between them, meet in one readout."""
    torch.manual_seed(0)
    narrow = {"widths": (4, 8, 8, 16), "depths": (1, 1, 1, 1), "fpn_channels": 8, "head_channels": 8}
    model = fired(snnkit.create_model("semantic_fpn:ms_resnet18", num_classes=5, timesteps=2, **narrow), (3, 32, 32))
    program, trace, equality = run(model, torch.randn(2, 3, 32, 32), "loihi2", "real")
    heads = [name for name, sent in trace.spikes.items() if name.startswith("head.") and sent.any()]
    assert len(heads) >= 6
    assert not program.host_operations, "what hangs on real pixels is computed once, before the first step"
    assert equality.float_mismatches <= 0.03 * equality.float_compared


@pytest.mark.parametrize("connect", ["and", "iand"])
def test_shortcuts_that_are_gates(connect):
    """SEW-ResNet joins block and shortcut by AND, or AND NOT."""
    model, x = settled("sew_resnet", connect=connect)
    program, _, equality = run(model, x, "loihi1", "real")
    assert sum(placed.kind == "gate" for placed in program.mapping.lowered.placed) == 2
    assert equality.float_mismatches <= 0.03 * equality.float_compared


@pytest.mark.parametrize(("family", "needs"), [("spikformer", "matmul")])
def test_what_loihi1_lacks_is_named_with_what_would_do(family, needs):
    model, x = settled(family, timesteps=1)
    violations = compiler.check(model, "loihi1", x)
    assert violations
    assert all(needs in violation.layer for violation in violations)
    assert all("AND gates" in violation.need and "mesh" in violation.limit for violation in violations)


PARTS = {
    "side by side": lambda net, x: torch.cat([net.one(x), net.two(x)], -3),
    "nearest upsampling": lambda net, x: F.interpolate(net.one(x), scale_factor=2, mode="nearest"),
    "average pool": lambda net, x: F.avg_pool2d(net.one(x), 2),
    "padded average pool": lambda net, x: F.avg_pool2d(net.one(x), 3, 2, 1),
    "adaptive average pool": lambda net, x: F.adaptive_avg_pool2d(net.one(x), 2),
    "depthwise": lambda net, x: net.depthwise(net.one(x)),
    "transposed": lambda net, x: net.transposed(net.one(x)),
    "dilated": lambda net, x: net.dilated(net.one(x)),
    "flipped and padded": lambda net, x: F.pad(net.one(x).flip(-1), (1, 0, 2, 1)),
    "pixel shuffle": lambda net, x: F.pixel_shuffle(net.one(x), 2),
    "added": lambda net, x: net.one(x) + net.two(x) - 0.5 * net.one(x),
    "upsampled and added": lambda net, x: F.interpolate(F.avg_pool2d(net.one(x), 2), scale_factor=2) + net.two(x),
}


class Part(nn.Module):
    """Two convolutions of spikes, what a part makes of them, a neuron, and a readout."""

    def __init__(self, part):
        super().__init__()
        self.part = part
        self.a, self.first = nn.Conv2d(2, 4, 3, padding=1, bias=False), IF()
        self.one, self.two = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.Conv2d(4, 4, 1, bias=False)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.transposed = nn.ConvTranspose2d(4, 3, 3, 2, 1, output_padding=1, bias=False)
        self.dilated = nn.Conv2d(4, 2, 3, padding=2, dilation=2, bias=False)
        self.second, self.third = IF(), IF()
        with torch.no_grad():
            channels = part(self, torch.zeros(1, 4, 6, 6)).shape[1]
        self.last, self.out = nn.Conv2d(channels, 2, 1, bias=False), nn.Linear(2, 3, bias=False)

    def forward(self, x):
        y = self.first(over_time(self.a, x))
        y = self.second(over_time(lambda one: self.part(self, one), y))
        y = self.third(over_time(self.last, y))
        return over_time(lambda one: self.out(one.mean((-2, -1))), y)


@pytest.mark.parametrize("chip", ["loihi1", "mesh"])
@pytest.mark.parametrize("name", PARTS)
def test_what_stands_between_two_neurons(name, chip):
    """Weights of eighths, averages over powers of two or nine places: the float network's spikes, but for ninths."""
    model = eighths(Part(PARTS[name]), low=-6)
    x = spikes(5, 3, 2, 6, 6)
    if name in ("padded average pool", "adaptive average pool", "depthwise", "transposed", "dilated"):
        # Two layers in a row are one with weights of their own, which are rounded.
        _, trace, equality = run(model, x, chip)
        assert equality.float_mismatches <= 0.03 * equality.float_compared
        assert trace.spikes["second"].any()
    else:
        same(model, x, chip)


def drawn(seed):
    """A graph of neurons, gates, sums, stored numbers, delays and loops, drawn at random, with weights of eighths."""
    draw = random.Random(seed)
    steps, size = draw.choice([1, 2, 5, 9]), 6
    net = GraphBuilder("drawn", timesteps=steps)
    made, late = [net.input("x", (size,), BINARY)], []

    def layer(signal):
        generator = torch.Generator().manual_seed(draw.randrange(10**6))
        weight = torch.randint(-4, 9, (size, size), generator=generator) / 8
        return net.add("linear", (signal,), {}, {"weight": weight.double()})

    def any_of():
        return draw.choice([*made, *late])

    def neuron(name, *further):
        current = layer(any_of())
        for signal in further:
            current = net.add("add", (current, signal))
        settings = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True}
        return net.neuron("integrate_fire", current, settings, states=(("v", 0.0),), name=name)

    for index in range(draw.randint(3, 9)):
        kind = draw.randrange(6)
        if kind < 2:
            made.append(
                neuron(f"n{index}", *(layer(any_of()) if draw.random() < 0.6 else any_of() for _ in range(kind)))
            )
        elif kind < 4:
            made.append(net.add(("mul", "maximum")[kind - 2], (any_of(), any_of())))
        elif kind == 4:
            late.append(net.state(f"d{index}", (size,)))
        else:
            one = net.constant(torch.ones(size).double())
            made.append(net.add("mul", (any_of(), net.add("sub", (one, any_of())))))
    for state in late:
        net.carry(state, draw.choice(made))
    last = neuron("last", net.constant(torch.linspace(-0.5, 0.5, size).double().mul(8).round() / 8))
    return net.finish((net.add("add", (layer(last), layer(any_of()))),)), steps


@pytest.mark.parametrize("chip", ["loihi1", "mesh"])
@pytest.mark.parametrize("host", [(), "auto"])
def test_graphs_drawn_at_random_are_exact_or_refused(chip, host):
    """Twenty graphs, every spike of each."""
    done = 0
    for seed in range(20):
        graph, steps = drawn(seed)
        x = spikes(steps, 4, 6, seed=seed, rate=0.6)
        try:
            program = compiler.compile(graph, x, chip, "binary", host=host)
        except CompileError:
            continue
        equality = program.verify(x)
        assert (equality.verdict, equality.float_mismatches) == ("exact", 0), (seed, str(equality))
        done += 1
    assert done >= 14
