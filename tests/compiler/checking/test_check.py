"""What check finds, for every chip: each limit with layer, need and what would fit, and what would fit does.

Would break it: a limit that no rule reads, a number of the chip that is not known taken for no limit, a rewrite with
numbers that do not fit, an unrolled network, a second text of the same violation, a chip that is compiled and checked
by other rules than it compiles by.
"""

import itertools
import math
import re
from dataclasses import replace

import pytest
import torch
from support.clock import timed
from support.nets import Residual, SpikesIn, lively
from torch import nn

import compiler
from compiler.checking import described, examine
from compiler.checking.findings import Findings
from compiler.checking.rewrites import largest
from compiler.commands.show_check import grouped
from compiler.errors import CompileError, Violation
from compiler.exchange import speck
from compiler.graph import BINARY, REAL, GraphBuilder, integer
from compiler.passes import simplify
from compiler.targets import TARGETS
from hw import get_chip, list_chips
from hw.chip import Chip
from hw.layers import LayerLimits
from hw.quantity import Quantity
from snnkit.encoders import Direct
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF, NO_RESET, CuBaLIF, Izhikevich, Recurrent
from snnkit.readouts import Mean

SOURCE = "made up for a test"


def number(value, unit="synapses", confirmed=True, low=None):
    return Quantity(value, unit, SOURCE, low=low, confirmed=confirmed)


def chip(**given):
    """A chip that is described only."""
    settings = {"neurons": ("integrate_fire",), "resets": ("hard", "soft"), "reset_value": 0.0, "numbers": {}} | given
    return Chip(name="slate", title="a chip for tests", notes="", **settings)


def net(sizes=(20, 16, 4), kind=BINARY, neuron=None, timesteps=4, zeros=False):
    """Linear layers with integrate-and-fire neurons behind each."""
    builder = GraphBuilder("net", timesteps=timesteps)
    signal = builder.input("x", (sizes[0],), kind)
    generator = torch.Generator().manual_seed(0)
    constants = {"v_threshold": 1.0, "v_reset": 0.0, "detach_reset": True} | (neuron or {})
    for index, (before, after) in enumerate(itertools.pairwise(sizes)):
        weight = torch.zeros(after, before) if zeros else torch.rand(after, before, generator=generator) + 0.1
        signal = builder.add("linear", (signal,), {}, {"weight": weight}, name=f"fc{index}")
        signal = builder.neuron("integrate_fire", signal, constants, states=[("v", 0.0)], name=f"lif{index}")
    return builder.finish([signal])


def maps(*layers, side=16, channels=2, kind=BINARY, **settings):
    """Convolutions with neurons behind each; a layer is (channels, kernel, settings)."""
    builder = GraphBuilder("maps", timesteps=4)
    signal = builder.input("x", (channels, side, side), kind)
    generator = torch.Generator().manual_seed(0)
    for index, (width, kernel, own) in enumerate(layers):
        a = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1} | own
        weight = torch.rand(width, channels // a["groups"], kernel, kernel, generator=generator) + 0.1
        signal = builder.add("conv", (signal,), a, {"weight": weight}, name=f"conv{index}")
        constants = {"v_threshold": 1.0, "v_reset": None, "detach_reset": True}
        signal = builder.neuron("integrate_fire", signal, constants, states=[("v", 0.0)], name=f"lif{index}")
        channels = width
    return builder.finish([signal])


NUMBERS = {
    "neurons": (net(), {"neurons": number(19, "neurons")}, "the network", "20 neurons", "19"),
    "neurons of cores": (
        net(),
        {"cores": number(2, "cores"), "neurons_per_core": number(8, "neurons")},
        "the network",
        "20 neurons",
        "16",
    ),
    "synapses": (net(), {"synapses": number(383)}, "the network", "384 synapses", "383"),
    "fan-in": (net(), {"fan_in": number(19)}, "lif0", "20 synapses onto one neuron", "19"),
    "axons": (net(), {"in_axons": number(10, "axons")}, "lif0", "20 synapses onto one neuron", "10"),
    "fan-out": (net((20, 4, 16)), {"fan_out": number(15)}, "lif0", "16 synapses from one neuron", "15"),
    "inputs": (net(), {"input_lines": number(16, "inputs")}, "the network", "20 inputs", "16"),
    "outputs": (net(), {"output_neurons": number(3, "neurons")}, "the network", "4 outputs", "3"),
    "weights": (net(), {"distinct_weights": number(4, "weights")}, "lif0", "different weights onto one neuron", "4"),
}


@pytest.mark.parametrize("case", NUMBERS)
def test_every_number_of_a_chip_is_a_limit(case):
    graph, numbers, layer, need, limit = NUMBERS[case]
    report = described(graph, chip(numbers=numbers))
    found = [v for v in report.violations if v.layer == layer and need in v.need]
    assert found, report.violations
    assert found[0].limit == f"slate has {limit}"
    assert found[0].limit_value == float(limit)
    assert found[0].need_value > found[0].limit_value
    assert found[0].rewrite
    # One more and it fits: the limit is the number itself.
    enough = {key: replace(q, value=float(found[0].need_value)) for key, q in numbers.items()}
    if len(numbers) == 1:
        assert not described(graph, chip(numbers=enough)).violations


LIMITS = {
    "kernel": (((4, 5, {}),), {"kernel": number(4, "pixels")}, "conv0", "5 pixels of kernel", "kernel 5 → 4"),
    "dilated kernel": (
        ((4, 3, {"dilation": (2, 2)}),),
        {"kernel": number(4, "pixels")},
        "conv0",
        "5 pixels of kernel",
        "two layers of 3×3 with a neuron between",
    ),
    "stride": (
        ((4, 3, {"stride": (3, 3)}),),
        {"kernel": number(7, "pixels"), "strides": (1, 2, 4)},
        "conv0",
        "a stride of 3",
        "stride 2 or 4",
    ),
    "stride with a kernel": (
        ((4, 5, {"stride": (2, 2)}),),
        {"kernel": number(7, "pixels"), "strides": (1, 2), "stride_kernels": {2: (3,)}},
        "conv0",
        "a stride of 2 with a kernel of 5",
        "kernel 5 → 3",
    ),
    "padding": (
        ((4, 5, {"padding": (2, 2)}),),
        {"kernel": number(7, "pixels"), "padding": number(1, "pixels")},
        "conv0",
        "2 pixels of padding",
        "2 → 1 pixels",
    ),
    "channels": (
        ((40, 3, {}),),
        {"kernel": number(7, "pixels"), "channels": number(32, "channels")},
        "conv0",
        "40 output channels",
        "40 → 32 output channels",
    ),
    "input map": (
        ((4, 3, {}),),
        {"kernel": number(7, "pixels"), "input_map": number(12, "pixels")},
        "conv0",
        "16 pixels of input map",
        "16 → 12 pixels",
    ),
    "output map": (
        ((4, 3, {"padding": (1, 1)}),),
        {"kernel": number(7, "pixels"), "output_map": number(8, "pixels"), "strides": (1, 2, 4)},
        "conv0",
        "16 pixels of output map",
        "stride 1 → 2",
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_every_limit_of_a_layer_is_compared(case):
    layers, limits, layer, need, rewrite = LIMITS[case]
    report = described(maps(*layers), chip(layers=LayerLimits(source=SOURCE, **limits)))
    found = [v for v in report.violations if v.layer == layer and need in v.need]
    assert len(found) == 1, report.violations
    assert rewrite in found[0].rewrite
    loose = {key: replace(q, value=100.0) if isinstance(q, Quantity) else () for key, q in limits.items()}
    loose |= {"stride_kernels": {}} if "stride_kernels" in limits else {}
    assert not described(maps(*layers), chip(layers=LayerLimits(source=SOURCE, **loose))).violations


def branching(readers):
    """One layer that several read."""
    builder = GraphBuilder("branching", timesteps=4)
    x = builder.input("x", (1, 8, 8), BINARY)
    constants = {"v_threshold": 1.0, "v_reset": None, "detach_reset": True}
    a = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}

    def layer(signal, name):
        made = builder.add("conv", (signal,), a, {"weight": torch.ones(1, 1, 3, 3)}, name=f"{name}.conv")
        return builder.neuron("integrate_fire", made, constants, states=[("v", 0.0)], name=name)

    stem = layer(x, "stem")
    return builder.finish([layer(stem, f"reader{i}") for i in range(readers)])


def test_destinations_are_counted():
    limits = LayerLimits(source=SOURCE, kernel=number(7, "pixels"), destinations=number(2, "layers"))
    assert not described(branching(2), chip(layers=limits)).violations
    (violation,) = described(branching(5), chip(layers=limits)).violations
    assert (violation.layer, violation.need) == ("stem", "5 destinations")
    assert "3 copies of the layer" in violation.rewrite


def captured(model, x, kind="binary"):
    return simplify(compiler.capture(model, x, kind))


class Pooled(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.a, self.b, self.pool = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), pool
        self.one, self.two = IF(v_reset=None), IF(v_reset=None)

    def forward(self, x):
        return self.two(over_time(lambda y: self.b(self.pool(y)), self.one(over_time(self.a, x))))


@pytest.mark.parametrize(
    ("pool", "need", "rewrite"),
    [
        (nn.AvgPool2d(3), "a pool of 3×3", "a pool of 4"),
        (nn.AvgPool2d(8), "a pool of 8×8", "a stride of 8 in the layer before it"),
        (nn.AvgPool2d(2, stride=1), "windows of", "stride 2 and padding 0"),
        (nn.MaxPool2d(2), "(max_pool) before it", "an average pool of the same windows"),
    ],
)
def test_pools_are_compared(pool, need, rewrite):
    graph = captured(Pooled(pool), torch.zeros(2, 1, 1, 16, 16))
    found = [v for v in examine(graph, "speck").violations if need in v.need]
    assert len(found) == 1
    assert rewrite in found[0].rewrite


def simple(neuron):
    model = nn.Sequential(nn.Linear(6, 5), neuron, nn.Linear(5, 3), IF())
    return captured(model, torch.zeros(4, 1, 6))


DYNAMICS = {
    "soft reset": (simple(IF(v_reset=None)), {"resets": ("hard",)}, "1", "a soft reset", "v_reset=0"),
    "hard reset": (simple(IF()), {"resets": ("soft",), "reset_value": None}, "1", "a reset", "v_reset=None"),
    "no reset": (simple(IF(v_reset=NO_RESET)), {}, "1", "spikes leave as it is", "v_reset=0"),
    "other reset": (simple(IF(v_reset=-0.5)), {}, "1", "a reset to -0.5", "v_reset=0"),
    "neuron": (simple(Izhikevich()), {}, "1", "the neuron izhikevich", "snnkit.neurons.IF"),
    "synaptic current": (simple(CuBaLIF()), {"neurons": ("lif", "integrate_fire")}, "1", "cuba_lif", "neurons.LIF"),
    "constants": (
        simple(IF(v_threshold=torch.linspace(0.5, 1, 5))),
        {"layers": LayerLimits(source=SOURCE)},
        "1",
        "v_threshold for each channel",
        "v_threshold=0.75 (the mean of 0.5 to 1)",
    ),
    "loop": (
        simple(Recurrent(IF(), nn.Linear(5, 5))),
        {"layers": LayerLimits(source=SOURCE, loops=False)},
        "1",
        "the step before",
        "without feedback",
    ),
    "real input": (net(kind=REAL), {}, "lif0", "the real input 'x'", "an encoder that sends spikes"),
    "signed input": (net(kind=integer(-1, 1)), {}, "lif0", "events integer[-1,1]", "two channels"),
    "activation": (
        captured(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), IF()), torch.zeros(4, 1, 6)),
        {},
        "2",
        "(relu) before it",
        "a neuron instead of the ReLU",
    ),
    "norm": (
        captured(nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), IF()), torch.zeros(4, 1, 6)),
        {},
        "2",
        "(layer_norm) before it",
        "a batch norm",
    ),
    "ordinary": (
        captured(nn.Sequential(nn.Linear(6, 5), nn.ReLU()), torch.zeros(1, 6), "real"),
        {},
        "Sequential",
        "to run without spikes",
        "snnkit convert",
    ),
}


@pytest.mark.parametrize("case", DYNAMICS)
def test_dynamics_have_a_way_out(case):
    graph, settings, layer, need, rewrite = DYNAMICS[case]
    found = [v for v in described(graph, chip(**settings)).violations if need in v.need]
    assert found
    assert found[0].layer == layer
    assert rewrite in found[0].rewrite


def test_numbers_that_are_not_finite_are_named():
    graph = net()
    graph.node("fc1").parameters["weight"][0, 0] = torch.nan
    (violation,) = described(graph, chip()).violations
    assert violation.layer == "fc1.weight"


@pytest.mark.parametrize("name", [name for name in list_chips() if get_chip(name).semantics not in TARGETS])
@pytest.mark.parametrize("start", [0.5, torch.tensor([0.0, 0.5])])
def test_membranes_that_start_elsewhere_are_refused(name, start):
    """No file and no number of a described chip holds where a membrane starts."""
    builder = GraphBuilder("start", timesteps=4)
    x = builder.input("x", (2, 4, 4), BINARY)
    a = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    y = builder.add("conv", (x,), a, {"weight": torch.ones(2, 2, 4, 4)}, name="conv")
    start = start if isinstance(start, float) else start.reshape(2, 1, 1)
    constants = {"v_threshold": 1.0, "v_reset": None, "detach_reset": True}
    graph = builder.finish([builder.neuron("integrate_fire", y, constants, states=[("v", start)], name="lif")])
    (found,) = [v for v in compiler.check(graph, name) if "starts at another value" in v.need]
    assert found.layer == "lif"
    with pytest.raises(CompileError):
        speck.configure(graph)


def test_the_largest_need_is_kept_under_its_own_name():
    found = Findings(net(), (), chip())
    for what, need in (("synapses (of a core)", 9), ("synapses", 3), ("synapses", 7), ("synapses", 5), ("loops", None)):
        found.unknown(what, need)
    assert found.unchecked == {"synapses (of a core)": 9, "synapses": 7, "loops": None}


def test_different_weights_are_counted_in_every_neuron():
    """5,000 neurons with one weight each but for the last one's eight; a weight of 0 is none."""
    weight = torch.ones(5000, 9)
    weight[-1] = torch.arange(9.0)
    graph = net((9, 5000))
    graph.node("fc0").parameters["weight"].copy_(weight)
    for limit, refused in ((7, True), (8, False)):
        found = described(graph, chip(numbers={"distinct_weights": number(limit, "weights")})).violations
        assert [v.need for v in found] == ["8 different weights onto one neuron"] * refused


def test_what_a_chip_does_not_say_is_said():
    """No number, no verdict: the need is there, with the largest of all layers."""
    unknown = described(net(), chip(neurons=(), resets=(), reset_value=None)).unchecked
    for text in (
        "which neurons slate runs",
        "which resets slate has",
        "neurons (here up to 20)",
        "synapses (here up to 384)",
        "synapses onto one neuron (here up to 20)",
        "synapses from one neuron (here up to 4)",
    ):
        assert text in unknown
    numbers = {"neurons": number(99, "neurons"), "fan_in": number(99)}
    known = described(net(), chip(numbers=numbers)).unchecked
    assert not any(one.startswith(("neurons", "synapses onto", "which")) for one in known)
    assert any(one.startswith("synapses from one neuron") for one in known)


def test_a_limit_that_nobody_checked_is_marked():
    doubtful = {"fan_in": number(10, confirmed=False)}
    found = described(net(), chip(numbers=doubtful)).violations
    assert [v.confirmed for v in found] == [False, False]
    assert "that number was not checked against its source" in " ".join(" ".join(grouped(found)[0]).split())
    between = {"fan_in": number(30, low=10)}
    report = described(net(), chip(numbers=between))
    assert not report.violations
    assert report.doubtful[0].startswith("lif0: 20 synapses onto one neuron fit the 30 of slate, not the 10")


# Numbers of the rewrites.


@pytest.mark.parametrize("top", [1, 2, 7, 100])
def test_the_largest_that_fits(top):
    for limit in range(top + 2):
        assert largest(lambda n, limit=limit: n <= limit, top) == min(limit, top - 1)


def test_narrower_layers_fit():
    """Both ways that are offered for too many neurons do hold."""
    limit = {"neurons": number(1000, "neurons")}
    graph = maps((8, 3, {"padding": (1, 1)}), (8, 3, {"padding": (1, 1)}))
    (violation,) = described(graph, chip(numbers=limit)).violations
    assert violation.need == "4,096 neurons"
    width = int(re.search(r"lif0: 8 → (\d+) channels", violation.rewrite)[1])
    side = int(re.search(r"images of 16×16 → (\d+)×", violation.rewrite)[1])
    layers = [(width, 3, {"padding": (1, 1)})] * 2
    assert not described(maps(*layers), chip(numbers=limit)).violations
    layers = [(8, 3, {"padding": (1, 1)})] * 2
    assert not described(maps(*layers, side=side), chip(numbers=limit)).violations


def test_fewer_synapses_fit():
    """Synapses grow with the square of the widths and the area of the maps, and what is offered takes both right."""
    layers = [(8, 3, {"padding": (1, 1)}), (8, 3, {"padding": (1, 1)})]
    total = sum(layer.synapses for layer in described(maps(*layers, channels=8), chip()).layers)
    limit = {"synapses": number(total // 5)}
    found = described(maps(*layers, channels=8), chip(numbers=limit)).violations
    width = int(re.search(r"lif0: 8 → (\d+) channels", found[0].rewrite)[1])
    side = int(re.search(r"images of 16×16 → (\d+)×", found[0].rewrite)[1])
    assert (width, side) == (3, 7)
    narrow = [(width, 3, {"padding": (1, 1)})] * 2
    assert not described(maps(*narrow, channels=width), chip(numbers=limit)).violations
    assert not described(maps(*layers, channels=8, side=side), chip(numbers=limit)).violations


def test_a_fan_in_is_brought_down_in_three_ways():
    """512 × 3 × 3 with 4,096 axons: two groups, 455 channels, or a kernel of 2; each of them fits."""
    limit = {"fan_in": number(4096)}
    (violation,) = described(maps((8, 3, {}), side=4, channels=512), chip(numbers=limit)).violations
    assert violation.need == "4,608 synapses onto one neuron"
    assert violation.rewrite == "groups=2 (2,304 inputs), or 512 → 455 input channels, or kernel 3 → 2"
    for layers, channels in (((8, 3, {"groups": 2}), 512), ((8, 3, {}), 455), ((8, 2, {}), 512)):
        assert not described(maps(layers, side=4, channels=channels), chip(numbers=limit)).violations


# Chips.


@pytest.mark.parametrize("name", list_chips())
def test_every_chip_answers(name):
    """Every described chip says something of an ordinary spiking network, in lines that read well."""
    report = examine(simplify(compiler.capture(lively(Residual()), torch.zeros(1, 1, 12, 12).double())), name)
    assert report.violations or report.unchecked or not report.described_only
    for lines in grouped(report.violations):
        assert all(len(line) <= 80 and line == line.rstrip() for line in lines)
    for violation in report.violations:
        assert violation.layer
        assert violation.need
        assert violation.limit
        assert "None" not in violation.rewrite.replace("v_reset=None", "")


@pytest.mark.parametrize("name", list_chips())
def test_a_network_a_thousand_times_too_large_is_answered_at_once(name):
    """4,096 × 4,096 pixels: 10^12 synapses, which nobody unrolls."""
    layers = [(64, 3, {"padding": (1, 1)})] * 4
    seconds, report = timed(lambda graph: examine(graph, name), lambda: maps(*layers, side=4096), enough=2)
    assert seconds < 2
    assert report.violations
    assert any(v.need_value and v.limit_value and v.need_value > 100 * v.limit_value for v in report.violations) or (
        name == "speck" and any("input map" in v.need for v in report.violations)
    )


def test_many_synapses_on_few_neurons_are_refused_before_they_are_unrolled():
    """20,000 neurons would fit; their 3.7·10^8 synapses are found by counting."""
    layers = (128, 3, {"padding": (1, 1)}), (64, 3, {"padding": (1, 1)})
    seconds, found = timed(
        lambda graph: compiler.check(graph, "loihi1"), lambda: maps(*layers, side=16, channels=2048), enough=5
    )
    assert seconds < 5
    (large,) = [v for v in found if v.kind == "synapses"]
    assert large.layer == "the network"
    assert large.limit == "loihi1 has 16,777,216"
    assert {v.layer for v in found} > {"lif0", "lif1"}, "and what else keeps it off the chip is listed too"


class FirstOnHost(nn.Module):
    """400 pixels, which the host weighs once an image; 16 × 4 synapses on the chip."""

    def __init__(self):
        super().__init__()
        self.in_chans, self.img_size, self.encoder, self.readout = 1, 20, Direct(4), Mean()
        self.first, self.lif, self.head = nn.Linear(400, 16), LIF(), nn.Linear(16, 4)

    def forward_sequence(self, x):
        spikes = self.lif(over_time(lambda y: self.first(y.flatten(1)), x))
        return over_time(self.head, spikes)

    def forward(self, x):
        return self.readout(self.forward_sequence(x if x.ndim == 5 else self.encoder(x)))


def test_what_the_host_computes_is_no_size():
    """Memory for some 1,000 synapses: the first layer has 6,400, none of them on the chip."""
    torch.manual_seed(0)
    mesh = "mesh:width=2,height=1,neurons=64,synapse_kib=1"
    graph = compiler.capture(FirstOnHost().double(), torch.zeros(1, 1, 20, 20).double())
    assert compiler.compile(graph, chip=mesh).chip.name == mesh
    assert compiler.check(graph, mesh) == []


@pytest.mark.parametrize("name", [name for name in list_chips() if get_chip(name).semantics in TARGETS])
def test_check_and_compile_say_the_same_of_what_is_too_large(name):
    graph = net((1, 1_100_000, 1))
    with pytest.raises(CompileError) as caught:
        compiler.compile(graph, chip=name)
    found = compiler.check(graph, name)
    assert [(v.layer, v.need) for v in found] == [(v.layer, v.need) for v in caught.value.violations]
    assert [v.limit for v in found] == [
        v.limit.partition("; the largest layers")[0] if not v.rewrite else v.limit for v in caught.value.violations
    ]
    assert all(v.rewrite and v.need_value > v.limit_value for v in found)


def test_narrower_layers_hold_their_synapses():
    """Loihi's own refusal says how narrow: widths by the square root of what there is."""
    graph, mesh = net((200, 200, 200, 200, 4)), "mesh:width=2,height=2,synapse_kib=8"
    (found,) = compiler.check(graph, mesh)
    assert (found.kind, found.need_value) == ("synapses", 3 * 200**2 + 800)
    width = int(re.search(r"lif0: 200 → (\d+) neurons", found.rewrite)[1])
    assert width == math.floor(200 * (found.limit_value / found.need_value) ** 0.5)
    narrow = net((width, width, width, width, 4))
    assert not [v for v in compiler.check(narrow, mesh) if v.kind == "synapses"]


def test_compiled_chips_are_checked_by_what_compiles_them():
    """What check lists is what compile raises, with what would fit on top."""
    model = nn.Sequential(nn.Linear(6, 5), IF(v_reset=None), nn.Linear(5, 5), CuBaLIF(), nn.Linear(5, 3))
    x = torch.zeros(4, 1, 6)
    found = compiler.check(model, "loihi1", x, "binary")
    with pytest.raises(CompileError) as caught:
        compiler.compile(model, x, input_type="binary")
    assert caught.value.violations == tuple(found)
    assert [v.kind for v in found] == ["reset", "neuron"]
    assert all(v.rewrite for v in found)
    assert found[0].rewrite.startswith("v_reset=0, or --chip ")
    assert "CuBaLIF" not in found[1].rewrite
    assert found[1].rewrite.startswith("snnkit.neurons.LIF and train again")
    named = found[0].rewrite.partition("--chip ")[2].removesuffix(" …").split(", ")
    assert named
    assert all("soft" in get_chip(name).resets for name in named)


@pytest.mark.parametrize("neuron", [IF, LIF])
def test_what_fits_has_no_violations(neuron):
    graph = compiler.capture(lively(SpikesIn(neuron)), torch.zeros(4, 1, 20).double(), "binary")
    assert compiler.check(graph, "loihi1") == []
    report = examine(simplify(graph), "loihi1")
    assert not report.described_only
    assert not report.unchecked


def test_the_fewest_numbers_of_a_rewrite_for_a_target():
    """A membrane that forgets everything: the tau that is offered is one that compiles."""
    model = nn.Sequential(nn.Linear(6, 5), LIF(tau=1.00001), nn.Linear(5, 3)).double()
    x = torch.zeros(4, 1, 6).double()
    found = [v for v in compiler.check(model, "loihi1", x, "binary") if v.kind == "decay"]
    if found:  # chips whose membranes may forget have no such limit
        model[1] = LIF(tau=float(found[0].rewrite.removeprefix("tau=")))
        assert compiler.check(model, "loihi1", x, "binary") == []


def test_other_targets_are_read_by_their_words():
    """A target says what it refuses; kinds and numbers are read off its text where it does not say them."""
    from compiler.checking.rewrites import with_rewrites

    limit = "a core of loihi1 has 4,096; reduce the fan-in of that layer"
    given = Violation("lif0", "5,000 input axons for one neuron", limit)
    (known,) = with_rewrites([given], net((5000, 4, 2)), get_chip("loihi1"))
    assert known == given
    assert (known.kind, known.need_value, known.limit_value) == ("fan-in", 5000, 4096)
    assert known.rewrite == "5,000 → 4,096 inputs, or 2 blocks of 2,500 inputs"
    own = Violation("lif0", "anything", "nothing", rewrite="as it says itself", kind="fan-in")
    assert with_rewrites([own], net(), get_chip("loihi1"))[0].rewrite == "as it says itself"


def test_layers_that_lack_the_same_are_named_together():
    found = [Violation(name, "a soft reset", "x resets hard", "v_reset=0") for name in ("a", "b", "c")]
    assert grouped(found) == [["  a, b and c each need a soft reset, x resets hard", "    would fit: v_reset=0"]]


@pytest.mark.parametrize(
    ("limit", "rewrite"),
    [
        ("x resets hard, to 0: use v_reset=0", "v_reset=0, or --chip y"),
        ("x resets hard, to 0: use v_reset=0", "use v_reset=0"),
        ("x resets hard, to 0; train again", "train again"),
    ],
)
def test_advice_is_said_once(limit, rewrite):
    lines = grouped([Violation("a", "a soft reset", limit, rewrite)])[0]
    assert lines == ["  a needs a soft reset, x resets hard, to 0", f"    would fit: {rewrite}"]


@pytest.mark.parametrize("name", [name for name in list_chips() if get_chip(name).semantics in TARGETS])
def test_other_chips_with_a_reset_are_named_for_every_target(name):
    if "soft" in get_chip(name).resets:
        pytest.skip("it has one")
    model = nn.Sequential(nn.Linear(6, 5), IF(v_reset=None), nn.Linear(5, 3))
    found = compiler.check(model, name, torch.zeros(4, 1, 6), "binary")
    (reset,) = [v for v in found if v.kind == "reset"]
    assert "v_reset=0" in reset.rewrite
    assert "--chip " in reset.rewrite


def test_every_target_has_a_chip():
    assert {get_chip(name).semantics for name in list_chips()} >= set(TARGETS)
