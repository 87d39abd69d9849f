"""Averages between neurons become synapses: alone, beside a convolution, before a linear layer; exact but for 8 bits.

Would break it: a sum pool divided by its window, a padded border that counts where it must not, a kernel spread by the
wrong stride, values between pool and convolution that should be zeros.
"""

import pytest
import torch
from torch import nn

import compiler
from compiler.analysis.currents import at_rest
from compiler.capturing import graph_of
from compiler.graph import BINARY, GraphBuilder
from compiler.targets.loihi.links import links
from compiler.targets.loihi.synapses import synapses
from snnkit.layers import over_time
from snnkit.neurons import IF


class Stack(nn.Module):
    """Layers on maps (T, B, C, H, W), each neuron on the sequence, and a linear head."""

    def __init__(self, *layers, features):
        super().__init__()
        self.layers, self.head = nn.ModuleList(layers), nn.Linear(features, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x) if isinstance(layer, IF) else over_time(layer, x)
        return self.head(x.flatten(2))


POOLS = {
    "average": lambda: nn.AvgPool2d(2),
    "sum": lambda: nn.AvgPool2d(2, divisor_override=1),
    "overlapping": lambda: nn.AvgPool2d(3, stride=1),
    "leaving out": lambda: nn.AvgPool2d(2, stride=3),
    "padded": lambda: nn.AvgPool2d(3, stride=2, padding=1),
    "uneven border": lambda: nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False),
    "rounded up": lambda: nn.AvgPool2d(3, stride=2, ceil_mode=True),
    "adaptive": lambda: nn.AdaptiveAvgPool2d(5),
}
AROUND = {
    "alone": lambda pool: (pool,),
    "before a convolution": lambda pool: (pool, nn.Conv2d(3, 4, 2)),
    "before a padded one": lambda pool: (pool, nn.Conv2d(3, 4, 3, stride=2, padding=1)),
    "before a grouped, dilated one": lambda pool: (pool, nn.Conv2d(3, 6, 2, dilation=2, groups=3)),
    "behind a convolution": lambda pool: (nn.Conv2d(3, 4, 3, stride=2, padding=2), pool),
    "behind a dilated one": lambda pool: (nn.Conv2d(3, 6, 2, dilation=2, groups=3), pool),
}


def stack(pool, around):
    torch.manual_seed(6)
    layers = (nn.Conv2d(2, 3, 3, padding=1), IF(v_threshold=0.4), *AROUND[around](POOLS[pool]()), IF(v_threshold=0.1))
    x = (torch.rand(4, 3, 2, 11, 11) < 0.5).double()
    y = x.flatten(0, 1)
    for layer in layers:
        if not isinstance(layer, IF):
            y = layer.double()(y)
            layer.weight.data.mul_(2) if isinstance(layer, nn.Conv2d) else None
    return Stack(*layers, features=y[0].numel()).double(), x


def added(builder, signal, layer):
    """Add a layer of torch to a graph."""
    if isinstance(layer, nn.Conv2d):
        a = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
        return builder.add("conv", (signal,), a, {"weight": layer.weight.detach(), "bias": layer.bias.detach()})
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return builder.add("adaptive_avg_pool", (signal,), {"output_size": (5, 5)})
    a = {name: (value, value) for name in ("kernel_size", "stride", "padding") for value in [getattr(layer, name)]}
    a |= {"ceil_mode": layer.ceil_mode, "count_include_pad": layer.count_include_pad}
    return builder.add("avg_pool", (signal,), {**a, "divisor": layer.divisor_override or 0})


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("pool", POOLS)
def test_every_average_is_one_set_of_synapses(pool, around):
    """The link's float weights times the spikes, and the bias, are what torch computes, whatever lies at the border."""
    torch.manual_seed(6)
    layers = [layer.double() for layer in AROUND[around](POOLS[pool]())]
    builder = GraphBuilder()
    signal = builder.input("x", (3, 11, 11), BINARY)
    for layer in layers:
        signal = added(builder, signal, layer)
    graph = builder.finish((signal,))
    (link,) = links(graph, signal, "the neuron")
    bias = at_rest(graph, signal)
    for _ in range(3):
        spikes = (torch.rand(3, 11, 11) < 0.5).double()
        expected = nn.Sequential(*layers)(spikes.unsqueeze(0))[0].detach()
        torch.testing.assert_close(link.run(link.weight, spikes) + bias, expected, rtol=0, atol=1e-12)
    if pool in ("uneven border", "rounded up", "adaptive"):
        assert link.op == "linear", "windows differ: a matrix"
    elif around != "before a padded one" and not (pool == "padded" and around.startswith("behind")):
        assert link.op == "conv", "one kernel"


@pytest.mark.parametrize(
    ("pool", "around"),
    [*[(pool, "alone") for pool in POOLS], *[("average", around) for around in AROUND], ("sum", "before a padded one")],
)
def test_a_compiled_average_fires_like_the_float_network(pool, around):
    model, x = stack(pool, around)
    program = compiler.compile(model, x, input_type="binary")
    trace = program.simulate(x)
    equality = program.verify(x, trace)
    assert equality.verdict == "exact"
    assert equality.float_mismatches <= 0.02 * equality.float_compared, str(equality)
    assert all(0.03 < spikes.mean() < 0.97 for spikes in trace.spikes.values())


def test_a_sum_pool_is_four_times_an_average():
    """The same integers where the threshold is four times as high: only the scale differs."""
    torch.manual_seed(6)
    x = (torch.rand(6, 3, 2, 6, 6) < 0.5).double()
    conv = nn.Conv2d(2, 3, 3, padding=1)
    average = Stack(conv, IF(v_threshold=0.3), nn.AvgPool2d(2), IF(v_threshold=0.5), features=27).double()
    summed = Stack(
        conv, IF(v_threshold=0.3), nn.AvgPool2d(2, divisor_override=1), IF(v_threshold=2.0), features=27
    ).double()
    summed.head.load_state_dict(average.head.state_dict())
    one, other = (compiler.compile(m, x, input_type="binary").simulate(x) for m in (average, summed))
    for first, second in zip(one.spikes.values(), other.spikes.values(), strict=True):
        assert (first == second).all()
        assert 0.1 < first.mean() < 0.9
    assert torch.equal(one.logits, other.logits)


@pytest.mark.parametrize(
    "reduce", [lambda x: x.mean((-1, -2)), lambda x: x.sum((-1, -2)) / 7, lambda x: x.amax((-1, -2))]
)
def test_a_reduction_over_a_map_merges_into_the_head_or_is_a_gate(reduce):
    class Global(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.lif, self.head = nn.Conv2d(2, 6, 3), IF(), nn.Linear(6, 4)

        def forward(self, x):
            return self.head(reduce(self.lif(over_time(self.conv, x))))

    torch.manual_seed(6)
    x = (torch.rand(4, 3, 2, 8, 8) < 0.5).double()
    model = Global().double()
    program = compiler.compile(model, x, input_type="binary")
    equality = program.verify(x)
    gates = [placed for placed in program.mapping.lowered.placed if placed.kind == "gate"]
    assert len(gates) == bool((reduce(x) == x.amax((-1, -2))).all())
    assert equality.verdict == "exact"
    assert equality.float_mismatches <= 2
    assert equality.float_logit_error < 0.02


LINEAR = {
    "convolution in one dimension": ((3, 14), nn.Conv1d(3, 4, 3, stride=2, padding=1, dilation=2)),
    "convolution in three dimensions": (
        (2, 4, 5, 6),
        nn.Conv3d(2, 4, (1, 3, 2), stride=(2, 1, 1), padding=(0, 1, 1), groups=2),
    ),
    "transposed convolution": ((4, 5, 5), nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)),
    "linear on tokens": ((5, 6), nn.Linear(6, 4)),
}


@pytest.mark.parametrize("case", LINEAR)
def test_other_layers_unroll_too(case):
    """The unrolled matrix times a map is the layer itself, for whole-number weights."""

    class Two(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.first, self.layer, self.second = IF(v_threshold=0.5), layer, IF()

        def forward(self, x):
            return self.second(over_time(self.layer, self.first(x))).flatten(2)

    torch.manual_seed(6)
    shape, layer = LINEAR[case]
    layer.weight.data = torch.randint(-5, 6, layer.weight.shape).double()
    layer.bias.data = torch.zeros_like(layer.bias.data).double()
    x = (torch.rand(2, 3, *shape) < 0.5).double()
    graph = graph_of(Two(layer), x, "binary").double()
    second = [node for node in graph if node.op == "integrate_fire"][1]
    (link,) = links(graph, second.inputs[0], second.name)
    matrix = torch.from_numpy(synapses(link, x[0, 0].numel()).toarray()).double()
    for sample in x.flatten(0, 1):
        expected = layer(sample.unsqueeze(0))[0].detach()
        assert torch.equal((matrix @ sample.flatten()).reshape(expected.shape), expected)
    assert int((matrix != 0).sum()) > 20
