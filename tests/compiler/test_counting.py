"""Counts by brute force: every weight that meets every event, one by one, against the counter's shortcuts.

Would break it: borders counted as if they were inside, strides or groups ignored, an integer event counted once, a
mean over batches instead of images, a layer with constant input counted at every step, spikes of one step only.

The counter here shares nothing with the one it checks: its inputs come from torch's own hooks, and it visits each
event and each kernel offset in Python loops.
"""

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import compiler
import hw
import snnkit
from compiler.analysis.types import infer_signals
from compiler.graph import BINARY, REAL, SIGNED, GraphBuilder, SignalType
from compiler.passes import merge_linear, simplify
from hw.counts import COUNTED
from snnkit.errors import InvalidArgumentError
from snnkit.layers import over_time
from snnkit.neurons import IF, ILIF, LIF, MultiSpike, TernaryIF


def reached_by_events(levels, out_shape, out_channels, kernel, stride, padding, dilation, groups):
    """Σ over events of |level| × (outputs that read it, through any kernel offset)."""
    _, channels, _, _ = levels.shape
    per_group = out_channels // groups
    total = 0
    for _, channel, y, x in levels.nonzero().tolist():
        assert channel < channels
        reached = 0
        for ky, kx in itertools.product(range(kernel[0]), range(kernel[1])):
            oy, ox = y + padding[0] - ky * dilation[0], x + padding[1] - kx * dilation[1]
            if oy % stride[0] or ox % stride[1]:
                continue
            if 0 <= oy // stride[0] < out_shape[0] and 0 <= ox // stride[1] < out_shape[1]:
                reached += per_group
        total += reached * int(levels[_, channel, y, x].abs())
    return total


def spikes_in(*shape, density=0.3, seed=0, high=1):
    generator = torch.Generator().manual_seed(seed)
    values = (torch.rand(shape, generator=generator) < density).float()
    return values * torch.randint(1, high + 1, shape, generator=generator)


# One layer at a time.

CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 3, "padding": 2},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": (2, 3), "stride": (1, 2), "padding": (1, 0)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 3, "stride": 2, "groups": 4},
    {"kernel_size": 2, "stride": 2, "padding": 1, "dilation": 3, "groups": 2},
]


@pytest.mark.parametrize("high", [1, 3], ids=["spikes", "levels up to 3"])
@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_a_convolution(settings, high):
    conv = nn.Conv2d(4, 8, **settings)
    x = spikes_in(3, 4, 7, 6, high=high)
    graph = compiler.capture(conv, x[:1], input_type="binary")
    if high > 1:
        graph = retyped(graph, SignalType("integer", 0, high))
    with torch.no_grad():
        out_shape = conv(x).shape[2:]
    expected = reached_by_events(
        x, out_shape, 8, conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups
    )
    counts = compiler.count(infer_signals(graph), [x])
    (layer,) = counts.per_layer
    assert layer.ac == layer.synaptic_events == expected / 3
    assert layer.mac == 0
    assert layer.dense_macs == 8 * math.prod(out_shape) * (4 // conv.groups) * math.prod(conv.kernel_size)
    assert layer.bias_adds == 8 * math.prod(out_shape)
    assert expected > 100


def retyped(graph, kind):
    signals = {**graph.signals, graph.inputs[0]: replace(graph.signals[graph.inputs[0]], type=kind)}
    return replace(graph, signals=signals)


def test_the_brute_force_counter_by_hand():
    """One event in the corner of a 3×3 image under a padded 3×3 kernel reaches four outputs, in the middle nine."""
    corner, middle = torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3)
    corner[0, 0, 0, 0], middle[0, 0, 1, 1] = 1, -2
    shape = ((3, 3), 5, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    assert reached_by_events(corner, *shape) == 4 * 5
    assert reached_by_events(middle, *shape) == 2 * 9 * 5


@pytest.mark.parametrize(
    ("kind", "scale", "levels"),
    [
        (BINARY, 1, [0, 1, 1, 0, 1]),
        (SIGNED, 1, [-1, 1, 0, -1, 1]),
        (SignalType("integer", 0, 4, Fraction(1, 4)), 0.25, [0, 4, 1, 3, 2]),
        (SignalType("integer", -9, 9, Fraction(1, 9)), 1 / 9, [-9, 5, 0, 7, 1]),
    ],
    ids=lambda v: str(v) if isinstance(v, SignalType) else "",
)
def test_a_linear_layer_adds_each_weight_as_often_as_the_level_says(kind, scale, levels):
    layer = nn.Linear(5, 7, bias=False)
    x = torch.tensor([levels], dtype=torch.float32) * scale
    counts = compiler.count(infer_signals(retyped(compiler.capture(layer, x), kind)), [x])
    assert counts.total("ac") == 7 * sum(abs(level) for level in levels)
    assert counts.total("mac") == 0
    assert counts.total("bias_adds") == 0


def test_a_real_operand_costs_every_weight_a_multiplication():
    layer = nn.Linear(5, 7)
    counts = compiler.count(layer, [torch.zeros(2, 5)])
    assert (counts.total("mac"), counts.total("ac"), counts.total("dense_macs")) == (35, 0, 35)
    assert counts.total("bias_adds") == 7


@pytest.mark.parametrize("input_type", ["real", "binary"])
def test_a_linear_layer_on_tokens(input_type):
    """Four tokens of five features: every token meets every weight."""
    layer = nn.Linear(5, 3, bias=False)
    x = spikes_in(2, 4, 5)
    counts = compiler.count(infer_signals(compiler.capture(layer, x[:1], input_type=input_type)), [x])
    assert counts.total("dense_macs") == 4 * 5 * 3
    assert counts.total("mac") == (4 * 5 * 3 if input_type == "real" else 0)
    assert counts.total("ac") == (0 if input_type == "real" else x.sum().item() * 3 / 2)


# Whole networks.


class Net(nn.Module):
    """Residual sums {0, 1, 2}, pooled quarters, grouped and strided convolutions, and a head."""

    def __init__(self):
        super().__init__()
        self.first, self.first_if = nn.Conv2d(1, 4, 3, padding=1), IF(0.5)
        self.second, self.second_lif = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False), LIF(v_threshold=0.2)
        self.on_sum, self.on_sum_lif = nn.Conv2d(4, 6, 3, stride=2, padding=1), LIF(v_threshold=0.1)
        self.on_pool, self.on_pool_if = nn.Conv2d(6, 4, 2, bias=False), IF(0.1)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        a = self.first_if(over_time(self.first, x))
        b = self.second_lif(over_time(self.second, a))
        c = self.on_sum_lif(over_time(self.on_sum, a + b))
        d = self.on_pool_if(over_time(lambda y: self.on_pool(F.avg_pool2d(y, 2)), c))
        return over_time(lambda y: self.head(y.flatten(1)), d)


LEVELS = {"second": 1, "on_sum": 1, "on_pool": 4, "head": 1}  # what turns a value into a whole number


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return Net().eval()


def brute_force(model, sequences):
    """Accumulates by layer and spikes by neuron, summed over everything, from hooks on the torch modules."""
    inputs, sums = {}, {}
    handles = [
        module.register_forward_hook(lambda m, i, o, n=name: inputs.__setitem__(n, (m, i[0].detach(), o.detach())))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear, IF, LIF))
    ]
    for x in sequences:
        with torch.no_grad():
            model(x)
        for name, (module, given, out) in inputs.items():
            if isinstance(module, (IF, LIF)):
                found = int(out.sum())
            elif name not in LEVELS:
                continue
            elif isinstance(module, nn.Linear):
                found = sum(int(v) * module.out_features for v in (given * LEVELS[name]).flatten().tolist())
            else:
                m = module
                levels = given * LEVELS[name]
                assert torch.equal(levels, levels.round())
                found = reached_by_events(
                    levels, out.shape[2:], m.out_channels, m.kernel_size, m.stride, m.padding, m.dilation, m.groups
                )
            sums[name] = sums.get(name, 0) + found
    for handle in handles:
        handle.remove()
    return sums


def test_a_whole_network_over_batches_of_unequal_size(net):
    """Means over images, not over batches: 3, 1 and 2 of them."""
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(4, size, 1, 8, 8, generator=generator) * 1.5 for size in (3, 1, 2)]
    counts = compiler.count(net, batches)
    assert (counts.images, counts.timesteps, counts.uncounted) == (6, 4, ())
    expected = brute_force(net, batches)
    layers = {layer.name: layer for layer in counts.per_layer}
    for name, total in expected.items():
        layer = layers[name]
        assert total > 0, name
        if layer.kind == "neuron":
            assert layer.spikes == pytest.approx(total / 6, rel=1e-12), name
            assert layer.rate == pytest.approx(total / 6 / (layer.neurons * 4), rel=1e-12), name
            assert layer.neuron_updates == layer.neurons * 4
        else:
            assert layer.ac == pytest.approx(total / 6, rel=1e-12), name
            assert layer.mac == 0
    assert layers["on_sum"].input_type == "integer[0,2]"
    assert layers["on_pool"].input_type == "integer[0,4]×1/4"
    assert layers["first"].mac == layers["first"].dense_macs == 4 * 8 * 8 * 4 * 9  # a changing sequence: every step
    assert layers["second"].dense_macs == 4 * 8 * 8 * 4 * 2 * 9
    assert layers["head"].dense_macs == 4 * 4 * 3
    assert layers["head"].bias_adds == 4 * 3
    (residual,) = [layer for layer in counts.per_layer if layer.op == "add"]
    assert residual.adds == 4 * 4 * 8 * 8


def test_one_batch_or_many_is_the_same(net):
    x = torch.randn(4, 6, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    whole = compiler.count(net, [x])
    split = compiler.count(net, list(x.split((1, 2, 3), dim=1)))
    for what in COUNTED:
        assert split.total(what) == pytest.approx(whole.total(what), rel=1e-12), what


def test_labels_beside_the_images_are_ignored(net):
    x = torch.randn(4, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    assert compiler.count(net, [(x, torch.zeros(2))]) == compiler.count(net, [x])
    assert compiler.count(net, [[x, torch.zeros(2)]]) == compiler.count(net, iter([x]))


def test_silence_costs_no_accumulates():
    model = nn.Sequential(LIF(), nn.Linear(5, 3, bias=False))
    counts = compiler.count(model, [torch.zeros(4, 2, 5)])
    assert (counts.total("ac"), counts.total("spikes"), counts.total("mac")) == (0, 0, 0)
    assert counts.total("dense_macs") == 4 * 5 * 3
    assert counts.total("neuron_updates") == 4 * 5


# The first layer under a constant input.


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4, timesteps=5, num_classes=2).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, 0.3, 2.0)
    return model


IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def test_a_layer_with_constant_input_is_counted_once(small):
    counts = compiler.count(small, [IMAGES])
    stem = counts.per_layer[0]
    once = 4 * 8 * 8 * 9
    assert (stem.name, stem.static, stem.static_repeats) == ("stem.conv", True, 5)
    assert (stem.mac, stem.dense_macs, stem.bias_adds) == (once, once, 4 * 8 * 8)
    assert [layer.name for layer in counts.per_layer if layer.static] == ["stem.conv"]
    assert counts.total("mac") == once
    energy = hw.energy.estimate(counts)
    multiply = next(part.energy for part in energy.parts if part.name == "multiply-accumulates")
    assert multiply.high == pytest.approx(5 * multiply.nominal)


def test_the_same_images_as_a_sequence_are_counted_at_every_step(small):
    counts = compiler.count(small, [IMAGES.expand(5, *IMAGES.shape)])
    stem = counts.per_layer[0]
    assert (stem.static, stem.static_repeats, stem.mac) == (False, 1, 5 * 4 * 8 * 8 * 9)
    still = compiler.count(small, [IMAGES])
    for what in ("ac", "spikes", "neuron_updates"):
        assert counts.total(what) == still.total(what)


def test_a_changing_sequence_through_a_graph_made_for_images(small):
    """The graph calls its first layer static, but what it is fed is not."""
    graph = simplify(compiler.capture(small, IMAGES))
    x = torch.rand(5, 3, 1, 8, 8)
    assert compiler.count(graph, [x]).per_layer[0].mac == compiler.count(small, [x]).per_layer[0].mac


def test_a_graph_counts_like_its_model(small):
    assert compiler.count(simplify(compiler.capture(small, IMAGES)), [IMAGES]) == compiler.count(small, [IMAGES])


def test_merged_pools_count_the_same_spikes(small):
    """One set of synapses on the unpooled spikes: an accumulate for each spike and each output, nothing pooled."""
    merged = merge_linear(simplify(compiler.capture(small, IMAGES)))
    layers = {layer.name: layer for layer in compiler.count(merged, [IMAGES]).per_layer}
    assert layers["mix_lif"].spikes > 0
    assert layers["head"].ac == pytest.approx(layers["mix_lif"].spikes * 2)
    assert merged.type(merged.producer("head").inputs[0]) == BINARY
    assert dict(infer_signals(merged).signals) == dict(merged.signals)


# What is left.


def test_a_batch_norm_that_cannot_be_folded_is_a_multiplication():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1, bias=False))
    counts = compiler.count(model, [torch.zeros(1, 3, 4, 4)])
    assert {layer.op: layer.mac for layer in counts.per_layer} == {"batch_norm": 48, "relu": 0, "conv": 96}


def test_an_ordinary_network_multiplies_and_compares():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    counts = compiler.count(model, [torch.randn(5, 4)])
    assert (counts.total("mac"), counts.total("ac"), counts.total("activations")) == (36, 0, 6)
    assert counts.timesteps == 1


def test_every_kind_of_neuron_has_a_price():
    """A neuron that the counter knows no operations for would be free."""
    from compiler.counting import NEURON_OPERATIONS
    from compiler.graph.operation import operations

    assert set(NEURON_OPERATIONS) == {name for name, operation in operations().items() if operation.kind == "neuron"}
    for name in snnkit.neurons.OPERATORS:
        assert name in NEURON_OPERATIONS


def test_counting_leaves_the_model_as_it_was(small):
    small.train()
    before = {key: value.clone() for key, value in small.state_dict().items()}
    compiler.count(small, [IMAGES])
    assert small.training
    assert all(torch.equal(value, before[key]) for key, value in small.state_dict().items())
    small.eval()


def test_no_batches_are_an_error(net):
    with pytest.raises(InvalidArgumentError, match="at least one batch"):
        compiler.count(net, [])


def test_empty_batches_are_an_error():
    graph = infer_signals(compiler.capture(nn.Linear(4, 2), torch.zeros(1, 4)))
    with pytest.raises(InvalidArgumentError):
        compiler.count(graph, [torch.zeros(0, 4)])


def test_sequences_of_different_length_cannot_be_averaged():
    model = nn.Sequential(LIF(), nn.Linear(5, 3))
    graph = simplify(compiler.capture(model, torch.zeros(1, 1, 5)))
    with pytest.raises(InvalidArgumentError, match="steps"):
        compiler.count(graph, [torch.zeros(4, 2, 5), torch.zeros(6, 2, 5)])


def test_types_decide_and_not_the_data():
    """A real signal that happens to be 0 or 1 still costs multiplications."""
    layer = nn.Linear(5, 7, bias=False)
    x = spikes_in(2, 5)
    assert compiler.count(layer, [x]).total("mac") == 35
    builder = GraphBuilder()
    made = builder.add("linear", [builder.input("x", (5,), REAL)], {}, {"weight": layer.weight.detach()})
    graph = builder.finish([made])
    assert compiler.count(graph, [x]).total("ac") == 0


# Another library's counter.


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_spikingjelly_where_every_signal_is_binary(seed):
    op_counter = pytest.importorskip("spikingjelly.activation_based.op_counter", reason="spikingjelly is not installed")
    torch.manual_seed(seed)
    model = nn.Sequential()
    layers = [
        nn.Conv2d(2, 6, 3, padding=1, bias=False),
        LIF(v_threshold=0.2),
        nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=3),
        IF(0.2),
        nn.Conv2d(6, 4, 3, padding=2, dilation=2, bias=False),
        LIF(v_threshold=0.1, v_reset=None),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 5)),
    ]
    for index, layer in enumerate(layers):
        model.add_module(str(index), layer if isinstance(layer, (IF, LIF)) else Folded(layer))
    model.eval()
    x = spikes_in(4, 3, 2, 8, 8, seed=seed)
    graph = simplify(compiler.capture(model, x, input_type="binary"))
    ours = compiler.count(graph, [x])
    theirs = op_counter.SynOpCounter()
    with torch.no_grad(), op_counter.DispatchCounterMode([theirs]):
        model(x)
    assert ours.total("synaptic_events") * 3 == pytest.approx(theirs.get_total(), rel=1e-12)
    assert theirs.get_total() > 1000
    assert ours.total("mac") == 0


class Folded(nn.Module):
    """A layer without memory on a sequence."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return over_time(self.layer, x)


# Levels: what is sent and what it costs where it arrives.


def test_spikes_of_both_signs_are_spikes():
    """TernaryIF with v_threshold=1, reset to 0: currents ±1 fire at every step, as +1 and as −1."""
    x = torch.tensor([1.0, -1.0]).repeat(4, 1, 1)
    model = nn.Sequential(TernaryIF(v_threshold=1.0), nn.Linear(2, 3, bias=False)).eval()
    assert model[0](x).unique().tolist() == [-1.0, 1.0]
    neuron, layer = compiler.count(model, [x]).per_layer
    assert (neuron.spikes, neuron.neurons, neuron.rate) == (8, 2, 1.0)
    assert neuron.output_type == layer.input_type == "signed"
    assert layer.ac == 8 * 3


def test_a_level_counts_as_often_as_it_says():
    x = torch.tensor([0.2, 1.1, 2.4, 9.0]).repeat(2, 1, 1)
    model = nn.Sequential(MultiSpike(levels=4, divisor=4.0), nn.Linear(4, 5, bias=False)).eval()
    assert model[0](x)[0, 0].tolist() == [0, 0.25, 0.5, 1.0]
    neuron, layer = compiler.count(model, [x]).per_layer
    assert neuron.output_type == "integer[0,4]×1/4"
    assert neuron.spikes == 2 * (0 + 1 + 2 + 4)
    assert neuron.rate == neuron.spikes / (4 * 2)
    assert layer.ac == neuron.spikes * 5


@pytest.mark.parametrize("factor", [1.0, 0.25, 0.1, -3.0])
def test_levels_of_a_scaled_neuron_are_levels(factor):
    """I-LIF spikes times a number: the number is a scale, and no spike is counted at another size for it."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.neuron, self.layer = ILIF(levels=4), nn.Linear(6, 5, bias=False)

        def forward(self, x):
            return over_time(self.layer, self.neuron(x) * factor)

    torch.manual_seed(0)
    model, x = Scaled().eval(), 3 * torch.rand(4, 2, 6)
    sent = int(model.neuron(x).sum())
    layers = {layer.op: layer for layer in compiler.count(model, [x]).per_layer}
    assert sent > 40
    assert layers["multilevel_lif"].spikes == sent / 2
    assert layers["multilevel_lif"].output_type == "integer[0,4]"
    assert layers["linear"].ac == 5 * sent / 2
    assert compiler.count(model, [x]).total("mac") == 0


@pytest.mark.parametrize("input_type", ["binary", "signed", "integer[0,3]", "integer[-3,3]", "pow2[2]"])
def test_a_declared_input_flows_through(input_type):
    kind = SignalType.parse(input_type)
    levels = [n for n in range(kind.low, kind.high + 1) if kind.kind != "pow2" or abs(n).bit_count() <= 1]
    x = torch.tensor(levels).float()[torch.randint(len(levels), (3, 4, 6, 6))]
    model = nn.Sequential(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU()).eval()
    counts = compiler.count(model, [x], input_type=input_type)
    assert counts.per_layer[0].input_type == input_type
    assert counts.total("mac") == 0
    units = (x != 0).float() if kind.kind == "pow2" else x.abs()
    done = reached_by_events(units, (6, 6), 5, (3, 3), (1, 1), (1, 1), (1, 1), 1) / 3
    assert counts.total("synaptic_events") == done
    assert counts.total("shift_adds" if kind.kind == "pow2" else "ac") == done
    assert counts.total("ac" if kind.kind == "pow2" else "shift_adds") == 0


class Pooled(nn.Module):
    """Spikes, a pool, a layer that reads its levels."""

    def __init__(self, pool):
        super().__init__()
        self.neuron, self.pool, self.layer = IF(0.7), pool, nn.Conv2d(3, 5, 3, padding=1)

    def forward(self, x):
        return over_time(lambda y: self.layer(self.pool(y)), self.neuron(x))


class SumPool(nn.Module):
    def forward(self, x):
        return F.avg_pool2d(x, 2) * 4


def test_summed_spikes_are_events_as_averaged_ones_are():
    """Four spikes in a window are a level of 4, whether it is called 4 or 1."""
    x = torch.rand(4, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    averaged = compiler.count(Pooled(nn.AvgPool2d(2)).eval(), [x])
    summed = compiler.count(Pooled(nn.AvgPool2d(2, divisor_override=1)).eval(), [x])
    ours = compiler.count(Pooled(SumPool()).eval(), [x])
    for counts, kinds in ((averaged, "integer[0,4]×1/4"), (summed, "integer[0,4]"), (ours, "integer[0,4]×1/4")):
        layers = {layer.op: layer for layer in counts.per_layer}
        assert layers["conv"].input_type in (kinds, kinds.removesuffix("×1/4"))  # a factor may move into the weights
        assert layers["conv"].mac == 0
        spikes = Pooled(nn.Identity()).neuron(x)
        levels = F.avg_pool2d(spikes.flatten(0, 1), 2) * 4
        assert layers["conv"].ac == reached_by_events(levels, (4, 4), 5, (3, 3), (1, 1), (1, 1), (1, 1), 1) / 2 > 1000


def test_a_sample_costs_the_same_among_many():
    """Event frames as one frame that is held or as a sequence, one sample or five: always T times what a step costs."""
    model = nn.Sequential(Folded(nn.Conv2d(2, 4, 3)), LIF(v_threshold=0.1), Folded(nn.Conv2d(4, 4, 3))).eval()
    frames = spikes_in(5, 2, 8, 8)
    sequence = frames.expand(6, *frames.shape)
    graph = simplify(compiler.capture(model, sequence, input_type="binary"))
    whole = compiler.count(graph, [sequence])
    assert whole.timesteps == 6
    assert whole.per_layer[0].ac > 100
    for batches in ([sequence[:, i : i + 1] for i in range(5)], [frames], list(frames.split((1, 4))), [sequence] * 3):
        counts = compiler.count(graph, batches)
        for what in COUNTED:
            assert counts.total(what) == pytest.approx(whole.total(what), rel=1e-12), what
        assert [layer.static for layer in counts.per_layer] == [False] * 3


def test_step_by_step_counts_the_same(small):
    """Feedback takes another way through the interpreter; what is counted is the same."""
    from compiler.counting import Tally
    from compiler.interpreting import interpret

    for graph, x in (
        (simplify(compiler.capture(small, IMAGES)), IMAGES),
        (simplify(compiler.capture(small, IMAGES)), torch.rand(5, 3, 1, 8, 8)),
        (simplify(compiler.capture(small, (IMAGES > 0.5).float(), "binary")), (IMAGES > 0.5).float()),
    ):
        tally = Tally(graph)
        tally.add(x)
        plain = Tally(graph)
        plain.begin(tally.samples, tally.static)
        interpret(graph, x, watch=plain.watch, stepwise=True)
        plain.end(tally.steps)
        ours, theirs = tally.counts(), plain.counts()
        for one, other in zip(ours.per_layer, theirs.per_layer, strict=True):
            for what in COUNTED:
                assert (getattr(one, what) or 0) == pytest.approx(getattr(other, what) or 0, rel=1e-12), what
        assert ours.total("ac") > 0


def test_attention_counts_both_operands():
    """q kᵀ v of spikes: one accumulate where a spike meets a spike, as many as the products say."""

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = IF(0.5), IF(0.6), IF(0.7)

        def forward(self, x):
            q, k, v = self.q(x), self.k(x), self.v(x)
            return q @ (k.transpose(-1, -2) @ v)

    x = torch.rand(3, 2, 7, 5, generator=torch.Generator().manual_seed(1))
    model = Attention().eval()
    q, k, v = model.q(x), model.k(x), model.v(x)
    first, second = (layer for layer in compiler.count(model, [x]).per_layer if layer.op == "matmul")
    products = k.transpose(-1, -2) @ v
    assert first.output_type == "integer[0,7]"
    assert first.ac == float(products.sum()) / 2
    assert second.ac == float((q @ products).sum()) / 2
    assert first.mac == second.mac == 0
    assert first.dense_macs == second.dense_macs == 3 * 7 * 5 * 5


# What has no price is named.


def test_what_has_no_price_is_never_free():
    model = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 4), nn.Softmax(-1)).eval()
    counts = compiler.count(model, [torch.randn(3, 6)])
    layers = {layer.op: layer for layer in counts.per_layer}
    assert (layers["layer_norm"].roots, layers["layer_norm"].divisions) == (1, 1)
    assert layers["softmax"].exponentials == layers["softmax"].divisions == 4
    assert counts.total("exponentials") == 4 + 6
    energy = hw.energy.estimate(counts)
    assert energy.uncounted == tuple(layers[op].name for op in ("layer_norm", "gelu", "softmax"))
    part = next(part for part in energy.parts if part.name == "multiplications")
    assert part.energy.nominal == pytest.approx(3.7e-6 * counts.total("multiplies"))
    assert part.energy.low == 0
    assert hw.energy.estimate(compiler.count(nn.Linear(3, 2), [torch.zeros(1, 3)])).uncounted == ()
