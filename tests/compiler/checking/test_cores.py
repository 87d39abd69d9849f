"""Which core takes which layer: memories by hand, an assignment wherever there is one, and who competes where not.

Would break it: addresses counted without rounding up, a layer on a core that does not hold it, a greedy choice that
blocks the last layer, competitors named that do not compete, fewer channels offered that still do not fit.
"""

import itertools
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.nets import InARow
from torch import nn

import compiler
from compiler.checking import described
from compiler.checking.cores import CoreLayer, assign, fits
from compiler.graph import Node
from compiler.passes import simplify
from hw import get_chip
from hw.layers import LayerLimits
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF

SPECK = get_chip("speck")
NOTHING = Node("", "conv", (), ())


def layer(name, c=1, f=1, kernel=1, side=1, bias=False):
    return CoreLayer(
        name, NOTHING, NOTHING, "", 1.0, kernel, (1, 1), (0, 0), (c, side, side), (f, side, side), (), bias
    )


@pytest.mark.parametrize(
    ("made", "words"),
    [
        # c · 2^(⌈log2 k²⌉ + ⌈log2 f⌉), f · 2^(⌈log2 h⌉ + ⌈log2 w⌉), f
        (layer("a", 2, 16, 5, 32, True), {"kernel": 2 * 32 * 16, "neuron": 16 * 32 * 32, "bias": 16}),
        (layer("a", 3, 17, 3, 33), {"kernel": 3 * 16 * 32, "neuron": 17 * 64 * 64, "bias": 0}),
        (layer("a", 1, 1, 1, 1), {"kernel": 1, "neuron": 1, "bias": 0}),
        (layer("a", 512, 10, 1, 1, True), {"kernel": 512 * 16, "neuron": 10, "bias": 10}),
        (layer("a", 16, 64, 4, 4), {"kernel": 16 * 16 * 64, "neuron": 64 * 16, "bias": 0}),
    ],
)
def test_memory_is_counted_in_whole_addresses(made, words):
    assert made.words() == words


def room(cores):
    """Limits of cores, each (neuron words, kernel words)."""
    return LayerLimits(
        source="test",
        neuron_memory=tuple(n for n, _ in cores),
        kernel_memory=tuple(k for _, k in cores),
        bias_memory=(1024,) * len(cores),
    )


@given(
    st.lists(st.tuples(st.sampled_from([16, 32, 64]), st.sampled_from([16, 32, 64])), min_size=1, max_size=5),
    st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([8, 16, 32, 64])), min_size=1, max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_an_assignment_is_found_where_there_is_one(cores, needs):
    """Against all orders of the cores; where there is none, the layers named do compete for too few."""
    limits = room(cores)
    layers = [layer(f"l{i}", c=c, f=f) for i, (c, f) in enumerate(needs)]
    found, rivals = assign(layers, limits)
    options = {one.name: fits(one, limits) for one in layers}
    exists = len(layers) <= len(cores) and any(
        all(core in options[one.name] for core, one in zip(order, layers, strict=True))
        for order in itertools.permutations(range(len(cores)), len(layers))
    )
    assert bool(found) == exists
    if found:
        assert not rivals
        assert set(found) == set(options)
        assert len(set(found.values())) == len(layers)
        assert all(core in options[name] for name, core in found.items())
    else:
        reached = {core for name in rivals for core in options[name]}
        assert len(reached) < len(rivals)


def test_a_greedy_choice_is_taken_back():
    """The first layer fits both cores, the second only the first."""
    cores, _ = assign([layer("small"), layer("large", f=64)], room([(64, 64), (8, 64)]))
    assert cores == {"small": 1, "large": 0}


def neuron():
    return IF(v_reset=None)


def graph(*layers, shape=(2, 32, 32), kind="binary"):
    torch.manual_seed(0)
    return simplify(compiler.capture(InARow(*layers), torch.zeros(2, 1, *shape), kind))


def test_every_layer_gets_a_core_that_holds_it():
    given_graph = graph(
        nn.Conv2d(2, 16, 5, stride=2, padding=2), neuron(), nn.AvgPool2d(2), nn.Conv2d(16, 32, 3, padding=1), neuron(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(512, 64), neuron(), nn.Linear(64, 10), neuron(),
    )  # fmt: skip
    report = described(given_graph, SPECK)
    assert not report.violations
    cores, layers = dict(report.cores), {one.name: one for one in report.core_layers}
    assert set(cores) == set(layers)
    assert len(set(cores.values())) == 4
    for name, core in cores.items():
        words = layers[name].words()
        assert words["neuron"] <= SPECK.layers.neuron_memory[core]
        assert words["kernel"] <= SPECK.layers.kernel_memory[core]
    first, second, dense, head = report.core_layers
    assert first.words() == {"kernel": 2 * 32 * 16, "neuron": 16 * 16 * 16, "bias": 16}
    assert (second.sources[0][1], dense.kernel, dense.input_shape) == (2, 4, (32, 4, 4))
    assert (head.kernel, head.input_shape, head.output_shape) == (1, (64, 1, 1), (10, 1, 1))


def test_a_kernel_memory_that_is_too_small_is_named_and_the_offer_fits():
    def dense(width):
        return graph(nn.Conv2d(2, 32, 3, padding=1), neuron(), nn.AvgPool2d(4), nn.Flatten(),
                     nn.Linear(2048, width), neuron())  # fmt: skip

    (violation,) = described(dense(128), SPECK).violations
    assert (violation.need_value, violation.limit_value) == (32 * 64 * 128, 65536)
    assert violation.kind == "kernel memory"
    width = int(re.search(r"128 → (\d+) channels", violation.rewrite)[1])
    assert width == 32
    assert not described(dense(width), SPECK).violations
    assert described(dense(width + 1), SPECK).violations


def test_neurons_and_kernels_must_fit_on_one_core():
    """49,152 neuron words need cores 0 to 2, whose kernels hold 16,384 words."""
    both = described(graph(nn.Conv2d(8, 48, 7, padding=3), neuron(), shape=(8, 32, 32)), SPECK).violations
    assert "words of kernel and 49,152 of neuron memory on one core" in both[0].need
    assert both[0].limit.startswith("the cores of speck with such kernels have 32,768, 32,768, 16,384, 16,384 words")
    width = int(re.search(r"48 → (\d+) channels", both[0].rewrite)[1])
    assert not described(graph(nn.Conv2d(8, width, 7, padding=3), neuron(), shape=(8, 32, 32)), SPECK).violations


def test_layers_that_compete_are_named_with_the_smallest_cut():
    """Three cores have 65,536 words for neurons; the fourth layer that wants so many finds none."""
    layers = []
    for before, after in [(2, 48), (48, 40), (40, 48), (48, 33)]:
        layers += [nn.Conv2d(before, after, 1), neuron()]
    (violation,) = described(graph(*layers), SPECK).violations
    assert violation.kind == "competing"
    assert violation.need.startswith("4 cores for layers.1, layers.3, layers.5, layers.7")
    assert "only 3 of speck hold any of them (cores 0, 1, 2)" in violation.limit
    assert violation.rewrite == "layers.7: 33 → 32 channels"
    layers[6] = nn.Conv2d(48, 32, 1)
    assert not described(graph(*layers), SPECK).violations


def test_more_layers_than_cores():
    layers = [one for _ in range(11) for one in (nn.Linear(16, 16), neuron())]
    (violation,) = described(graph(*layers, shape=(16,)), SPECK).violations
    assert (violation.need, violation.rewrite) == ("11 cores", "2 layers fewer")


class Two(nn.Module):
    """Two branches that meet, in a way that a caller gives."""

    def __init__(self, meet):
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(2, 2, 3, padding=1) for _ in range(4))
        self.one, self.two, self.three = neuron(), neuron(), neuron()
        self.meet = meet

    def forward(self, x):
        one = self.one(over_time(self.a, x))
        two = self.two(over_time(self.b, one))
        return self.three(self.meet(self, one, two))


FORMS = {
    "a shortcut of weights": (lambda m, a, b: over_time(m.c, a) + over_time(m.d, b), "c and d, added up"),
    "a shortcut of currents": (lambda m, a, b: over_time(m.c, b) + a, "a shortcut beside c"),
    "no weights": (lambda m, a, b: a + b, "no weights at all"),
    "two layers in a row": (lambda m, a, b: over_time(lambda y: m.d(m.c(y)), b), ""),
    "a pool behind the weights": (lambda m, a, b: over_time(lambda y: nn.AvgPool2d(2)(m.c(y)), b), ""),
}


@pytest.mark.parametrize("case", FORMS)
def test_what_has_not_the_form_of_a_core_is_named(case):
    meet, need = FORMS[case]
    torch.manual_seed(0)
    made = simplify(compiler.capture(Two(meet), torch.zeros(2, 1, 2, 8, 8), "binary"))
    found = described(made, SPECK).violations
    assert found
    assert all(v.layer and v.need and v.limit and v.rewrite for v in found), found
    assert any(need in v.need for v in found)


SHAPES = {
    "a map in another form": (
        lambda m, x: two_on(m, lambda y: m.c(y.reshape(-1, 2, 4, 16)), one(m, x)),
        "which arrives as 2×8×8",
    ),
    "a pool in another form": (
        lambda m, x: two_on(m, lambda y: m.c(m.pool(y.reshape(-1, 2, 4, 16))), one(m, x)),
        "a pool over (2, 4, 16) of what is (2, 8, 8)",
    ),
    "rolled": (lambda m, x: two_on(m, lambda y: m.c(torch.roll(y, 1, 1)), one(m, x)), "(roll) before its weights"),
    "three ways": (lambda m, x: (lambda y: two_on(m, m.c, y + y + y))(one(m, x)), "3 destinations"),
}


def two_on(m, layer, x):
    return m.two(over_time(layer, x))


@pytest.mark.parametrize("case", SHAPES)
def test_what_reaches_a_layer_otherwise_than_it_is_sent_is_named(case):
    end, need = SHAPES[case]
    found = described(ended(end), SPECK).violations
    assert any(need in v.need for v in found), found
    assert all(v.rewrite for v in found)


def test_a_linear_layer_is_a_convolution_as_large_as_its_map():
    """16 pixels of kernel and 1,024 channels go, one more does not."""
    assert not described(graph(nn.Flatten(1), nn.Linear(256, 4), neuron(), shape=(1, 16, 16)), SPECK).violations
    (found,) = described(graph(nn.Flatten(1), nn.Linear(289, 4), neuron(), shape=(1, 17, 17)), SPECK).violations
    assert (found.need, found.kind) == ("17 pixels of kernel", "kernel")
    assert "17×17 → 16×16" in found.rewrite
    assert not described(graph(nn.Linear(1024, 4), neuron(), shape=(1024,)), SPECK).violations
    (found,) = described(graph(nn.Linear(1025, 4), neuron(), shape=(1025,)), SPECK).violations
    assert (found.need, found.rewrite) == ("1,025 input channels", "1,025 → 1,024 input channels")
    (found,) = described(graph(nn.Linear(4, 1025, bias=False), neuron(), shape=(4,)), SPECK).violations
    assert found.need == "1,025 output channels"


def test_spikes_may_meet_before_one_layer():
    """a + b through one kernel: two cores send to the third."""
    torch.manual_seed(0)
    model = Two(lambda m, a, b: over_time(m.c, a + b))
    report = described(simplify(compiler.capture(model, torch.zeros(2, 1, 2, 8, 8), "binary")), SPECK)
    assert not report.violations
    assert [source for source, _ in report.core_layers[2].sources] == ["one", "two"]


def test_membranes_and_leaks_are_not_what_a_core_has():
    found = described(graph(nn.Linear(8, 4), LIF(), nn.Linear(4, 2), shape=(8,)), SPECK).violations
    assert [(v.layer, v.kind) for v in found] == [("layers.1", "neuron"), ("the output", "output")]
    assert "IF(v_reset=None) behind it" in found[1].rewrite


def one(m, x):
    return m.one(over_time(m.a, x))


def two(m, x):
    return m.two(over_time(m.b, x))


class Ends(nn.Module):
    """Layers of neurons, and what a caller makes an output of."""

    def __init__(self, end):
        super().__init__()
        self.a, self.b, self.c, self.wide = (nn.Conv2d(n, 2, 3, padding=1) for n in (2, 2, 2, 8))
        self.one, self.two = neuron(), neuron()
        self.pool, self.most = nn.AvgPool2d(2), nn.MaxPool2d(2)
        self.end = end

    def forward(self, x):
        return self.end(self, x)


def ended(end):
    torch.manual_seed(0)
    return simplify(compiler.capture(Ends(end), torch.zeros(2, 1, 2, 8, 8), "binary"))


NO_COUNTS = {
    "a difference": (lambda m, x: one(m, x) - two(m, x), "(sub) behind its last neurons"),
    "a negative": (lambda m, x: -one(m, x), "(neg) behind its last neurons"),
    "a share": (lambda m, x: one(m, x) / 2, " behind its last neurons"),
    "half": (lambda m, x: one(m, x) * 0.5, "to be a membrane, without neurons"),
    "a product": (lambda m, x: one(m, x) * two(m, x), "(mul)"),
    "a pool": (lambda m, x: over_time(m.pool, one(m, x)), "pool (avg_pool) behind its last neurons"),
    "a maximum": (lambda m, x: over_time(m.most, one(m, x)), "(max_pool)"),
    "a constant": (lambda m, x: one(m, x) + 1, "(constant) behind its last neurons"),
    "twice": (lambda m, x: (lambda y: y + y)(one(m, x)), "(add) behind its last neurons"),
    "a shared row": (lambda m, x: one(m, x) + two(m, x)[..., :1], " behind its last neurons"),
    "the input": (lambda m, x: one(m, x) + x, "the input 'input' itself"),
    "a second output": (lambda m, x: (one(m, x), over_time(m.pool, two(m, x))), "(avg_pool) behind its last neurons"),
    "a second membrane": (lambda m, x: (one(m, x), over_time(m.b, x)), "to be a membrane, without neurons"),
}


@pytest.mark.parametrize("case", NO_COUNTS)
def test_an_output_that_is_no_count_of_spikes_does_not_fit(case):
    end, need = NO_COUNTS[case]
    found = described(ended(end), SPECK).violations
    assert any(need in v.need for v in found), found
    assert all(v.layer == "the output" and v.rewrite for v in found)


def test_what_only_moves_spikes_is_said():
    report = described(ended(lambda m, x: torch.roll(one(m, x), 1, 2)), SPECK)
    assert not report.violations
    assert any("(roll) moves spikes behind the last neurons" in doubt for doubt in report.doubtful)
    plain = described(ended(lambda m, x: one(m, x) + two(m, x)), SPECK)
    assert not plain.violations
    assert not plain.doubtful


def counting(initial=0.0, delayed=False):
    """Neurons whose spikes a state adds up, or one that hands them on a step later."""
    b = compiler.GraphBuilder("counting", timesteps=4)
    x = b.input("x", (3,), compiler.graph.BINARY)
    current = b.add("linear", (x,), {}, {"weight": torch.ones(2, 3)}, name="fc")
    constants = {"v_threshold": 1.0, "v_reset": None, "detach_reset": True}
    spikes = b.neuron("integrate_fire", current, constants, states=[("v", 0.0)], name="n")
    held = b.state("held", (2,), initial)
    total = b.add("add", (held, spikes), name="total")
    b.carry(held, spikes if delayed else total)
    return b.finish([total])


@pytest.mark.parametrize(
    ("given", "need"),
    [
        ({}, ""),
        ({"initial": 0.5}, "which starts at another value than 0"),
        ({"delayed": True}, "what was there in the step before"),
    ],
)
def test_a_state_counts_spikes_from_nothing_on(given, need):
    found = [v.need for v in described(counting(**given), SPECK).violations if v.layer == "the output"]
    assert len(found) == bool(need)
    assert all(need in one for one in found)


def test_every_kernel_side_of_a_memory_counts():
    """The largest kernel that is offered for a layer is the last that fits."""
    limits = room([(1024, 4096)])
    one = layer("a", c=4, f=16, kernel=12)
    assert not fits(one, limits)
    assert fits(replace(one, kernel=8), limits)
    assert not fits(replace(one, kernel=9), limits)
