"""Passes: each keeps the meaning of a graph, its types are true of the data, and the verdict names the culprit.

Would break it: a batch norm folded along the wrong axis or into a layer that others read, a pool merged where it does
not divide, a type that some value violates, a verdict that overlooks a real operand or blames the encoding layer.

The random graphs are built here, node by node in float64, with T = 3; a pass may change rounding in the last digit
only.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from torch import nn

import compiler
import snnkit
from compiler.graph import BINARY, REAL, Graph, Node, Signal, SignalType, State
from compiler.operations import OPERATIONS
from compiler.passes import PIPELINE, fold_bn, infer_signals, merge_linear, relu_twin, simplify
from compiler.passes.infer_signals import spike_driven
from snnkit.layers import over_time
from snnkit.neurons import IF, LIF

PASSES = (*PIPELINE, merge_linear, simplify)


class Builder:
    """A graph under construction, with random weights from one generator."""

    def __init__(self, shape, seed=0, input_type=REAL):
        self.random = torch.Generator().manual_seed(seed)
        self.signals = {"x": Signal("x", tuple(shape), input_type)}
        self.nodes, self.states = [], []

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.random, dtype=torch.float64)

    def uniform(self, low, high, *shape):
        return torch.rand(*shape, generator=self.random, dtype=torch.float64) * (high - low) + low

    def add(self, op, inputs, shape, attributes=(), **parameters):
        name = f"{op}{len(self.nodes)}"
        inputs = (inputs,) if isinstance(inputs, str) else inputs
        outputs, kind = (name,), REAL
        if op in ("lif", "integrate_fire"):
            inputs, outputs, kind = (*inputs, f"{name}.v"), (name, f"{name}.v_next"), BINARY
            attributes = {"v_threshold": 0.6, "v_reset": 0.0, "detach_reset": True, **dict(attributes)}
            if op == "lif":
                attributes = {"tau": 1.6, "decay_input": False, **attributes}
            self.signals |= {s: Signal(s, tuple(shape)) for s in (f"{name}.v", f"{name}.v_next")}
            self.states.append(State(f"{name}.v", f"{name}.v_next", attributes["v_reset"] or 0.0))
        self.signals[name] = Signal(name, tuple(shape), kind)
        self.nodes.append(Node(name, op, inputs, outputs, dict(attributes), parameters))
        return name

    def shape(self, signal):
        return self.signals[signal].shape

    def conv(self, x, out, kernel=3, stride=1, padding=1, dilation=1, groups=1, bias=False):
        channels = self.shape(x)[0]
        weight = self.normal(out, channels // groups, kernel, kernel) * 0.5
        sizes = F.conv2d(torch.zeros(1, *self.shape(x)).double(), weight, None, stride, padding, dilation, groups).shape
        attributes = {
            "stride": (stride, stride),
            "padding": (padding, padding),
            "dilation": (dilation, dilation),
            "groups": groups,
        }
        more = {"bias": self.normal(out) * 0.1} if bias else {}
        return self.add("conv2d", x, sizes[1:], attributes, weight=weight, **more)

    def linear(self, x, out, bias=False):
        more = {"bias": self.normal(out) * 0.1} if bias else {}
        return self.add("linear", x, (out,), weight=self.normal(out, self.shape(x)[0]) * 0.4, **more)

    def norm(self, x, affine=True):
        n = self.shape(x)[0]
        more = {"weight": self.uniform(0.5, 1.5, n), "bias": self.uniform(0.0, 0.6, n)} if affine else {}
        stored = {"mean": self.normal(n) * 0.1, "variance": self.uniform(0.5, 1.5, n)}
        return self.add("batch_norm", x, self.shape(x), {"eps": 1e-3}, **stored, **more)

    def pool(self, x, kernel=2, stride=None, padding=0):
        stride = stride or kernel
        channels, height, width = self.shape(x)
        size = [(n + 2 * padding - kernel) // stride + 1 for n in (height, width)]
        attributes = {"kernel_size": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2}
        return self.add("avg_pool2d", x, (channels, *size), attributes)

    def flatten(self, x):
        size = 1
        for axis in self.shape(x):
            size *= axis
        return self.add("flatten", x, (size,))

    def same(self, op, *inputs, **attributes):
        return self.add(op, inputs, self.shape(inputs[0]), attributes)

    def graph(self, *outputs, timesteps=3):
        return Graph(("x",), outputs, tuple(self.nodes), self.signals, tuple(self.states), timesteps)


def random_graph(seed, steps):
    """Draw a graph from a list of whole numbers: each picks the next operation that fits."""
    builder = Builder((2, 7, 6), seed, BINARY if seed % 3 == 0 else REAL)
    x, of_shape = "x", {}
    for number in steps:
        of_shape.setdefault(builder.shape(x), []).append(x)
        flat = len(builder.shape(x)) == 1
        choice = number % 12
        if choice in (0, 1) and flat:
            x = builder.linear(x, 3 + number % 4, bias=bool(number & 16))
        elif choice in (0, 1, 2) and not flat:
            if min(builder.shape(x)[1:]) < 3:
                x = builder.conv(x, 2, 1, padding=0)
            else:
                kernel, stride = 1 + 2 * (number >> 2 & 1), 1 + (number >> 3 & 1)
                groups = 2 if builder.shape(x)[0] == 2 and number & 32 else 1
                x = builder.conv(x, 2, kernel, stride, number >> 4 & 1, groups=groups, bias=bool(number & 64))
        elif choice == 3:
            x = builder.norm(x, affine=bool(number & 16))
        elif choice in (4, 5):
            x = builder.same("lif", x)
        elif choice == 6:
            x = builder.same("integrate_fire", x, v_reset=None if number & 16 else -0.2)
        elif choice == 7:
            x = builder.same("relu", x)
        elif choice in (8, 9) and not flat and min(builder.shape(x)[1:]) >= 2:
            x = builder.pool(x, *[(2,), (2, 1), (2, 2, 1), (2,)][number >> 4 & 3])
        elif choice == 10:
            others = of_shape[builder.shape(x)]
            x = builder.same("add", x, others[number // 12 % len(others)])
        elif choice == 11 and not flat:
            x = builder.flatten(x)
    final = builder.linear(x if len(builder.shape(x)) == 1 else builder.flatten(x), 3)
    return builder.graph(final)


GRAPHS = st.builds(random_graph, st.integers(0, 5), st.lists(st.integers(0, 127), min_size=1, max_size=10))
QUICK = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    database=None,
)


def data_for(graph, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 2, *graph.shape("x"), generator=generator, dtype=torch.float64) * 1.5
    return (x > 0.5).double() if graph.type("x").is_event else x


def assert_well_formed(graph):
    known = {*graph.inputs, *(state.read for state in graph.states)}
    for node in graph:
        assert set(node.inputs) <= known, node.name
        assert not set(node.outputs) & known, node.name
        known |= set(node.outputs)
    assert known == set(graph.signals)
    _, records = compiler.interpret(graph, data_for(graph), probes=list(graph.signals))
    for name, values in records.items():
        assert tuple(values.shape[2:]) == graph.shape(name), name


def assert_types_hold(graph, x):
    """Every value of every signal with a type is one that the type allows."""
    _, records = compiler.interpret(graph, x, probes=list(graph.signals))
    for name, values in records.items():
        kind = graph.type(name)
        if not kind.is_event:
            continue
        levels = values / kind.scale
        assert (levels - levels.round()).abs().max() < 1e-9, f"{name} is no multiple of its scale ({kind})"
        low, high = {"binary": (0, 1), "signed": (-1, 1)}.get(kind.kind, (kind.low, kind.high))
        assert low <= levels.round().min(), f"{name} falls below {kind}"
        assert levels.round().max() <= high, f"{name} exceeds {kind}"


@pytest.mark.parametrize("apply", PASSES, ids=lambda p: p.__name__)
@QUICK
@given(graph=GRAPHS)
def test_every_pass_keeps_the_meaning(apply, graph):
    x = data_for(graph)
    before = [(node, dict(node.parameters)) for node in graph]
    expected, _ = compiler.interpret(graph, x)
    passed = apply(graph)
    torch.testing.assert_close(compiler.interpret(passed, x)[0], expected, rtol=1e-9, atol=1e-9)
    assert_well_formed(passed)
    assert (passed.inputs, passed.timesteps, len(passed.outputs)) == (graph.inputs, graph.timesteps, 1)
    # The graph that went in is as it was.
    assert [(node, dict(node.parameters)) for node in graph] == before
    assert torch.equal(compiler.interpret(graph, x)[0], expected)


@pytest.mark.parametrize("apply", PASSES, ids=lambda p: p.__name__)
@QUICK
@given(graph=GRAPHS)
def test_a_second_time_changes_nothing_but_may_fold_more(apply, graph):
    once = apply(graph)
    twice = apply(once)
    assert len(twice.nodes) <= len(once.nodes)
    x = data_for(graph)
    torch.testing.assert_close(compiler.interpret(twice, x)[0], compiler.interpret(once, x)[0], rtol=1e-9, atol=1e-9)


@QUICK
@given(graph=GRAPHS)
def test_types_are_true_of_the_data(graph):
    assert_types_hold(simplify(graph), data_for(graph))


@QUICK
@given(graph=GRAPHS)
@example(graph=random_graph(0, [4, 8]))  # spikes, pooled, flattened, into a linear layer
def test_types_are_up_to_date_when_pools_are_merged(graph):
    merged = merge_linear(simplify(graph))
    assert_types_hold(merged, data_for(graph))
    assert dict(merged.signals) == dict(infer_signals(merged).signals)


@QUICK
@given(graph=GRAPHS)
@example(graph=random_graph(0, [3, 4]))  # spikes into a batch norm with no layer before it
def test_a_spike_driven_graph_multiplies_in_its_encoding_layers_only(graph):
    typed = simplify(graph)
    verdict = spike_driven(typed)
    counts = compiler.count(typed, [data_for(typed)])
    if verdict.spike_driven:
        multiplying = {layer.name for layer in counts.per_layer if layer.mac}
        assert multiplying <= set(verdict.encoding_layers)


@QUICK
@given(graph=GRAPHS)
def test_the_twin_is_the_network_with_relu(graph):
    twin = relu_twin(simplify(graph))
    assert not any(OPERATIONS[node.op].kind == "neuron" for node in twin)
    assert not twin.states
    assert (twin.timesteps, twin.static_input) == (1, False)
    assert_well_formed(twin)
    # By hand: run the nodes of the spiking graph with torch.relu for every neuron.
    x = data_for(graph)[0]
    values = {"x": x}
    for node in simplify(graph):
        if OPERATIONS[node.op].kind == "neuron":
            values[node.output] = torch.relu(values[node.inputs[0]])
        else:
            values[node.output] = OPERATIONS[node.op].run(node, *(values[name] for name in node.inputs))[0]
    expected = values[simplify(graph).outputs[0]]
    torch.testing.assert_close(compiler.interpret(twin, x)[0][0], expected, rtol=1e-12, atol=1e-12)


# Folding batch norms.


def test_folding_by_hand():
    """y = 2·(3x + 1 − 5)/√(4 + 0) + 7 = 3x + 3."""
    one = torch.ones(1, dtype=torch.float64)
    builder = Builder((1,))
    layer = builder.add("linear", "x", (1,), weight=3 * one.reshape(1, 1), bias=one)
    norm = builder.add(
        "batch_norm", layer, (1,), {"eps": 0.0}, mean=5 * one, variance=4 * one, weight=2 * one, bias=7 * one
    )
    folded = fold_bn(builder.graph(norm))
    (node,) = folded.nodes
    assert node.parameters["weight"].item() == 3
    assert node.parameters["bias"].item() == 3
    assert folded.outputs == (node.output,)


def test_the_small_network_has_no_batch_norm_left():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4)
    graph = compiler.capture(model, torch.zeros(1, 1, 8, 8))
    assert sum(node.op == "batch_norm" for node in graph) == 4
    assert not any(node.op == "batch_norm" for node in simplify(graph))


def test_a_layer_that_others_read_is_not_folded():
    builder = Builder((2, 4, 4))
    conv = builder.conv("x", 2)
    graph = builder.graph(builder.same("add", builder.norm(conv), conv))
    assert [node.op for node in fold_bn(graph)] == ["conv2d", "batch_norm", "add"]


def test_a_layer_that_is_itself_an_output_is_not_folded():
    builder = Builder((3,))
    layer = builder.linear("x", 3)
    graph = builder.graph(layer, builder.norm(layer))
    assert [node.op for node in fold_bn(graph)] == ["linear", "batch_norm"]


def test_two_batch_norms_in_a_row():
    builder = Builder((2, 4, 4))
    graph = builder.graph(builder.norm(builder.norm(builder.conv("x", 3))))
    x = data_for(graph)
    folded = fold_bn(graph)
    torch.testing.assert_close(compiler.interpret(folded, x)[0], compiler.interpret(graph, x)[0])
    assert [node.op for node in fold_bn(folded)] == ["conv2d"]


def test_folding_is_computed_in_float64():
    """Statistics that float32 arithmetic would round visibly."""
    builder = Builder((1,))
    third = torch.tensor([[1 / 3]], dtype=torch.float32)
    layer = builder.add("linear", "x", (1,), weight=third)
    numbers = {"mean": torch.tensor([0.1]), "variance": torch.tensor([3.0]), "weight": torch.tensor([0.7])}
    norm = builder.add("batch_norm", layer, (1,), {"eps": 1e-5}, **numbers, bias=torch.tensor([0.2]))
    (node,) = fold_bn(builder.graph(norm)).nodes
    exact = third.double().item() * numbers["weight"].double().item() / (3.0 + 1e-5) ** 0.5
    assert node.parameters["weight"].dtype == torch.float32
    assert node.parameters["weight"].item() == torch.tensor(exact, dtype=torch.float32).item()


def test_a_batch_norm_along_another_axis_than_the_layers_outputs():
    """Behind a linear layer on tokens (N, D), BatchNorm1d takes N for its channels."""

    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.bn = nn.Linear(4, 6), nn.BatchNorm1d(6)

        def forward(self, x):
            return self.bn(self.fc(x))

    torch.manual_seed(0)
    model = Tokens().double().eval()
    nn.init.uniform_(model.bn.weight, 0.5, 1.5)
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    graph = compiler.capture(model, x[:1])
    torch.testing.assert_close(compiler.interpret(graph, x)[0][0], model(x).detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(compiler.interpret(fold_bn(graph), x)[0][0], model(x).detach(), rtol=0, atol=1e-12)


# Merging pools.


@pytest.mark.parametrize("size", [(6, 6), (7, 6), (6, 7), (7, 7), (3, 5)], ids=str)
@pytest.mark.parametrize("kernel", [2, 3])
def test_a_pool_before_a_linear_layer_always_merges(size, kernel):
    builder = Builder((2, *size), seed=1)
    graph = builder.graph(builder.linear(builder.flatten(builder.pool("x", kernel)), 4, bias=True))
    merged, x = merge_linear(graph), data_for(graph)
    assert [node.op for node in merged] == ["flatten", "linear"]
    assert merged.shape(merged.nodes[0].output) == (2 * size[0] * size[1],)
    torch.testing.assert_close(compiler.interpret(merged, x)[0], compiler.interpret(graph, x)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"), [(1, 1, 1, 1), (2, 0, 1, 2), (1, 2, 2, 1), (2, 1, 1, 4)]
)
def test_a_pool_before_a_convolution_merges_where_it_divides(stride, padding, dilation, groups):
    for size, divides in (((12, 8), True), ((13, 8), False), ((12, 9), False)):
        builder = Builder((4, *size), seed=2)
        graph = builder.graph(builder.conv(builder.pool("x", 2), 4, 3, stride, padding, dilation, groups, bias=True))
        merged, x = merge_linear(graph), data_for(graph)
        assert [node.op for node in merged] == (["conv2d"] if divides else ["avg_pool2d", "conv2d"])
        torch.testing.assert_close(
            compiler.interpret(merged, x)[0], compiler.interpret(graph, x)[0], rtol=0, atol=1e-12
        )


@pytest.mark.parametrize(
    "pool", [{"kernel": 2, "stride": 1}, {"kernel": 2, "padding": 1}, {"kernel": 3, "stride": 2}], ids=str
)
def test_windows_that_do_not_tile_stay(pool):
    builder = Builder((2, 6, 6))
    graph = builder.graph(builder.conv(builder.pool("x", **pool), 2))
    assert [node.op for node in merge_linear(graph)] == ["avg_pool2d", "conv2d"]


def test_a_pool_that_two_read_stays():
    builder = Builder((2, 4, 4))
    pool = builder.pool("x")
    graph = builder.graph(builder.same("add", builder.conv(pool, 2), builder.conv(pool, 2)))
    assert "avg_pool2d" in [node.op for node in merge_linear(graph)]


def test_a_pool_behind_a_merged_layer_merges_too():
    builder = Builder((2, 8, 8), seed=3)
    inner = builder.conv(builder.pool("x"), 2)
    graph = builder.graph(builder.linear(builder.flatten(builder.pool(inner)), 3))
    merged, x = merge_linear(graph), data_for(graph)
    assert [node.op for node in merged] == ["conv2d", "flatten", "linear"]
    torch.testing.assert_close(compiler.interpret(merged, x)[0], compiler.interpret(graph, x)[0], rtol=0, atol=1e-12)


# Types by hand.


def typed(builder, *outputs):
    return infer_signals(builder.graph(*outputs))


def test_a_sum_of_spikes_is_0_1_2():
    builder = Builder((2, 4, 4))
    a, b = builder.same("lif", "x"), builder.same("integrate_fire", "x")
    two = builder.same("add", a, b)
    three = builder.same("add", two, a)
    graph = typed(builder, three)
    assert str(graph.type(two)) == "integer[0,2]"
    assert str(graph.type(three)) == "integer[0,3]"
    assert graph.type(a) == BINARY


def test_a_pool_divides_the_scale():
    builder = Builder((2, 8, 8))
    spikes = builder.same("lif", "x")
    pooled = builder.pool(spikes, 2)
    twice = builder.pool(pooled, 2)
    summed = builder.same("add", pooled, pooled)
    flat = builder.flatten(twice)
    graph = typed(builder, flat, summed)
    assert str(graph.type(pooled)) == "integer[0,4]×0.25"
    assert str(graph.type(twice)) == "integer[0,16]×0.0625"
    assert str(graph.type(summed)) == "integer[0,8]×0.25"
    assert graph.type(flat) == graph.type(twice)


def test_what_a_real_value_touches_is_real():
    builder = Builder((2, 4, 4))
    spikes = builder.same("lif", "x")
    conv = builder.conv(spikes, 2)
    mixed = builder.same("add", spikes, conv)
    other_scale = builder.same("add", builder.pool(spikes, 2, 1, 1), builder.pool(spikes, 2, 1, 1))
    norm = builder.norm(spikes)
    pooled_real = builder.pool(conv)
    graph = typed(builder, mixed, other_scale, norm, pooled_real)
    assert {graph.type(name) for name in (conv, mixed, norm, pooled_real, "x")} == {REAL}
    assert graph.type(other_scale).is_event


def test_sums_of_two_scales_are_real():
    builder = Builder((2, 4, 4))
    spikes = builder.same("lif", "x")
    pooled = builder.pool(spikes, 3, 1, 1)
    mixed = builder.same("add", spikes, pooled)
    assert typed(builder, mixed).type(mixed) == REAL


def test_membranes_are_real_and_spikes_binary():
    builder = Builder((3,), input_type=BINARY)
    spikes = builder.same("lif", builder.linear("x", 3))
    graph = typed(builder, spikes)
    assert graph.type(f"{spikes}.v") == graph.type(f"{spikes}.v_next") == REAL
    assert graph.type(spikes) == graph.type("x") == BINARY


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (SignalType("integer", -3, 2, 0.5), (0, 2)),
        (SignalType("integer", 0, 2), (0, 2)),
        (BINARY, (0, 1)),
        (SignalType("integer", -3, -1), (0, 0)),
    ],
    ids=str,
)
def test_relu_cuts_the_range(given, expected):
    builder = Builder((3,), input_type=given)
    out = builder.same("relu", "x")
    result = typed(builder, out).type(out)
    assert (result.low, result.high, result.scale) == (*expected, given.scale)


# The verdict.


def verdict_of(model, example, **how):
    return spike_driven(simplify(compiler.capture(model, example, **how)))


def test_the_small_network_is_spike_driven_but_for_its_first_layer():
    verdict = verdict_of(snnkit.create_model("spiking_cnn_small", img_size=8), torch.zeros(1, 1, 8, 8))
    assert verdict.spike_driven
    assert verdict.encoding_layers == ("stem.conv",)
    assert str(verdict) == "spike-driven but for the encoding layer stem.conv"


def test_with_spikes_as_input_it_is_spike_driven():
    model = snnkit.create_model("spiking_cnn_small", img_size=8)
    verdict = verdict_of(model, torch.zeros(1, 1, 8, 8), input_type="binary")
    assert (verdict.spike_driven, verdict.encoding_layers, str(verdict)) == (True, (), "spike-driven")


class RealResidual(nn.Module):
    """The sum of currents and spikes goes straight into a weight, twice."""

    def __init__(self):
        super().__init__()
        self.first, self.lif = nn.Linear(4, 4), LIF()
        self.inner, self.offender, self.later, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), IF()

    def forward(self, x):
        spikes = self.lif(self.first(x))
        residual = self.inner(spikes) + spikes
        return self.out(self.later(self.offender(residual)))


def test_a_real_residual_breaks_the_claim_and_the_first_break_is_named():
    verdict = verdict_of(RealResidual(), torch.zeros(1, 1, 4))
    assert not verdict.spike_driven
    assert verdict.encoding_layers == ("first",)
    assert "offender (linear)" in verdict.first_break
    assert "'add'" in verdict.first_break
    assert str(verdict).startswith("not spike-driven: offender")


@pytest.mark.parametrize("first", [nn.Flatten(2), nn.Identity()], ids=["flattened", "as it is"])
def test_a_flattened_image_is_still_the_input(first):
    model = nn.Sequential(first, nn.Linear(4, 4), LIF(), nn.Linear(4, 2))
    verdict = verdict_of(model, torch.zeros(1, 1, 2, 2) if isinstance(first, nn.Flatten) else torch.zeros(1, 1, 4))
    assert verdict.spike_driven, str(verdict)
    assert verdict.encoding_layers == ("1",)


def test_sums_of_spikes_and_pooled_spikes_are_events():
    class Events(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.conv, self.head = LIF(), IF(), nn.Conv2d(2, 2, 1), nn.Linear(8, 2)

        def forward(self, x):
            summed = self.a(x) + self.b(x)
            spikes = self.a(over_time(self.conv, summed))
            return over_time(lambda y: self.head(F.avg_pool2d(y, 2).flatten(1)), spikes)

    verdict = verdict_of(Events(), torch.zeros(1, 1, 2, 4, 4))
    assert str(verdict) == "spike-driven"


def test_an_ordinary_network_is_not_spike_driven():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    verdict = verdict_of(model, torch.zeros(1, 4))
    assert not verdict.spike_driven
    assert verdict.first_break.startswith("0 (linear)")


def test_the_twin_of_the_small_network_by_torch():
    torch.manual_seed(0)
    model = snnkit.create_model("spiking_cnn_small", img_size=8, width=4).double().eval()
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    down = torch.relu(model.down.bn(model.down.conv(torch.relu(model.stem.bn(model.stem.conv(x))))))
    depthwise = torch.relu(model.depthwise.bn(model.depthwise.conv(down)))
    mixed = torch.relu(model.mix.bn(model.mix.conv(depthwise)) + down)
    expected = model.head(model.pool(mixed).flatten(1)).detach()
    twin = relu_twin(simplify(compiler.capture(model, x[:1])))
    torch.testing.assert_close(compiler.interpret(twin, x)[0][0], expected, rtol=0, atol=1e-12)
    assert {twin.type(name) for name in twin.signals} == {REAL}
