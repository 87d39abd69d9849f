"""Rate coding: what one neuron sends by hand, the peer's spikes one by one, and all that is refused.

Would break it: λ on one side only, a start or a reset that is another, statistics of the last batch alone, a threshold
that stays between spikes and weights, an operation that slips through.
"""

import warnings
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from compiler import capture, count, interpret
from compiler.converting import rate, rate_thresholds
from compiler.converting.rate import rate_coded, rate_logits
from compiler.errors import CaptureError
from compiler.graph import Graph, GraphBuilder, verify
from compiler.passes import simplify
from snnkit.errors import InvalidArgumentError, NonFiniteError, UnknownNameError


class Residual(nn.Module):
    """Two convolutions with a shortcut, a pool, and a classifier."""

    def __init__(self, pool):
        super().__init__()
        self.first, self.second, self.norm = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.relu, self.pool, self.last = nn.ReLU(), pool, nn.ReLU()
        self.hidden, self.head, self.after = nn.Linear(54, 12), nn.Linear(12, 5), nn.ReLU()

    def forward(self, x):
        x = self.relu(self.first(x))
        x = self.pool(self.last(self.norm(self.second(x)) + x))
        return self.head(self.after(self.hidden(x.flatten(1))))


def residual(pool=None):
    """A network in float64 whose batch norm has statistics, 40 samples, and its graph."""
    torch.manual_seed(3)
    model = Residual(pool or nn.AvgPool2d(2)).double()
    nn.init.uniform_(model.norm.running_mean, -0.5, 0.5)
    nn.init.uniform_(model.norm.running_var, 0.5, 2.0)
    nn.init.constant_(model.hidden.bias, 0.3)  # no channel is silent: the peer has another threshold for these
    x = torch.randn(40, 2, 8, 8, dtype=torch.float64)
    return model.eval(), x, simplify(capture(model, x[:2]))


def neuron(high=None):
    """y = ReLU(x), or ReLU cut off at ``high``."""
    builder = GraphBuilder("one neuron")
    x = builder.input("x", (1,))
    attributes = {} if high is None else {"low": 0.0, "high": high}
    y = builder.add("relu" if high is None else "clamp", (x,), attributes, name="y")
    return builder.finish([builder.add("linear", (y,), parameters={"weight": torch.ones(1, 1, dtype=torch.float64)})])


def column(*values):
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


@pytest.mark.parametrize(
    ("x", "largest", "half", "means"),
    [
        (0.75, 1.0, False, (0, 1 / 2, 2 / 3, 3 / 4)),  # membranes 0.75, 1.5 → 0.5, 1.25 → 0.25, 1.0 → 0
        (0.75, 1.0, True, (1, 1, 2 / 3, 3 / 4)),  # 1.25 → 0.25, 1.0 → 0, 0.75, 1.5 → 0.5
        (1.5, 2.0, False, (0, 1, 4 / 3, 3 / 2)),  # the first, twice as large
        (2.5, 2.0, False, (2, 2, 2, 2)),  # once a step at most
        (-1.0, 2.0, True, (0, 0, 0, 0)),
    ],
)
def test_one_neuron_by_hand(x, largest, half, means):
    graph = rate_coded(neuron(), column(0.1, largest), timesteps=4, half_threshold=half)
    assert rate_logits(graph, column(x))[:, 0, 0].tolist() == pytest.approx(means, abs=1e-12)


@pytest.mark.parametrize(("half", "start"), [(False, 0.0), (True, 0.5)])
@pytest.mark.parametrize("steps", [1, 5, 16])
def test_a_constant_input_becomes_levels(half, start, steps):
    x = torch.linspace(-0.3, 1.7, 97, dtype=torch.float64).unsqueeze(1)
    graph = rate_coded(neuron(), column(1.3), timesteps=steps, half_threshold=half)
    levels = np.clip(np.floor(steps * x.numpy() / 1.3 + start), 0, steps) * 1.3 / steps
    np.testing.assert_allclose(rate_logits(graph, x)[-1].numpy(), levels, rtol=0, atol=1e-12)


def test_a_clamp_is_cut_off_where_it_was():
    graph = rate_coded(neuron(high=6.0), column(1.0, 9.0), timesteps=4)
    assert rate_logits(graph, column(100.0, 3.0))[-1, :, 0].tolist() == pytest.approx([6.0, 3.0], abs=1e-12)


def spikes_of(graph, x, steps):
    """Spikes of every neuron, in order, (T, B, …) each, and the logits of every step."""
    names = [node.name for node in graph if node.op == "integrate_fire"]
    output, found = interpret(graph, x, steps, probes=names)
    return [found[name] for name in names], output


def peers_spikes(model, x, new, mode, channel_wise, half_threshold, before):
    """The same of SpikingJelly's converter, calibrated with one batch, for new samples in 12 steps."""
    peer = pytest.importorskip("spikingjelly.activation_based.ann2snn")
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based import neuron as neurons

    recipe = peer.RateCodingRecipe(
        [x], mode=mode, channel_wise=channel_wise, half_threshold=half_threshold, pre_spike_maxpool=before
    )
    kind = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # it keeps its scales in the default type
    try:
        network = peer.Converter(recipe=recipe).convert(model)
    finally:
        torch.set_default_dtype(kind)
    found, outputs = {}, []
    kinds = (neurons.IFNode, neurons.HalfThresholdIFNode)
    for name, module in network.named_modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda m, _, out, key=name: found.setdefault(key, []).append(out))
    functional.set_step_mode(network, "s")
    functional.reset_net(network)
    with torch.no_grad():
        for _ in range(12):
            outputs.append(network(new))
    return [torch.stack(one) for one in found.values()], torch.stack(outputs)


@pytest.mark.parametrize(
    ("mode", "channel_wise", "half", "pool", "max_pool"),
    [
        ("max", False, False, nn.AvgPool2d(2), "refuse"),
        ("99.9%", False, False, nn.AvgPool2d(2), "refuse"),
        ("90%", False, False, nn.MaxPool2d(2), "spikes"),
        ("max", True, False, nn.AvgPool2d(2), "refuse"),
        ("max", True, True, nn.MaxPool2d(2), "before"),
        ("99%", True, True, nn.MaxPool2d(2), "before"),
        ("99%", True, True, nn.MaxPool2d(2), "spikes"),
    ],
)
def test_spike_for_spike_as_spikingjelly(mode, channel_wise, half, pool, max_pool):
    model, x, graph = residual(pool)
    converted = rate_coded(
        graph, x, timesteps=12, mode=mode, channel_wise=channel_wise, half_threshold=half, max_pool=max_pool
    )
    # Other samples: those that λ comes of have values on the threshold, where the last bit decides.
    new = torch.randn(40, 2, 8, 8, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    mine, output = spikes_of(converted, new, 12)
    theirs, expected = peers_spikes(model, x, new, mode, channel_wise, half, max_pool == "before")
    assert len(mine) == len(theirs) == 3
    for own, other in zip(mine, theirs, strict=True):
        assert 0.01 < float(own.mean()) < 0.99
        assert torch.equal(own, other)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-9)


def test_the_mean_comes_near_the_network():
    model, x, graph = residual()
    with torch.no_grad():
        wanted = model(x)
    errors = [
        float((rate_logits(rate_coded(graph, x, timesteps=T, half_threshold=True), x)[-1] - wanted).abs().max())
        for T in (8, 64, 512)
    ]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    assert errors[2] < 0.01


@pytest.mark.parametrize("channel_wise", [False, True])
def test_thresholds_stand_in_the_weights(channel_wise):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten())
    torch.manual_seed(0)
    x = torch.randn(16, 1, 8, 8)
    graph = rate_coded(simplify(capture(model.append(nn.Linear(12, 2)), x)), x, timesteps=4, channel_wise=channel_wise)
    verify(graph)
    assert (graph.timesteps, graph.static_input) == (4, True)
    assert not any(node.op == "scale" for node in graph)
    layers = {one.name: one for one in count(graph, [x]).per_layer if one.dense_macs}
    first, *others = layers.values()
    assert first.mac == first.dense_macs
    assert first.static
    assert all(one.mac == 0 and one.ac > 0 for one in others)


def test_a_file_keeps_it(tmp_path):
    _, x, graph = residual()
    converted = rate_coded(graph, x, timesteps=3, half_threshold=True)
    converted.save(tmp_path / "rates.graph")
    again = Graph.load(tmp_path / "rates.graph")
    assert torch.equal(rate_logits(again, x), rate_logits(converted, x))
    stepwise, _ = interpret(converted, x, stepwise=True)
    assert torch.equal(stepwise, interpret(converted, x)[0])


# Thresholds.


def thresholds_of(graph, names):
    """λ of neurons whose output a layer of ones reads: the graph is not folded in these tests."""
    return [graph.node(f"{name}.value").parameters["weight"].flatten().tolist() for name in names]


@pytest.fixture
def unfolded(monkeypatch):
    """Leave λ in a node of its own."""
    monkeypatch.setattr(rate, "folded", lambda graph: graph)


@pytest.mark.parametrize("percent", [100, 99.9, 75, 50])
@pytest.mark.parametrize("channel_wise", [False, True])
def test_percentiles_are_over_all_values_of_all_batches(unfolded, percent, channel_wise):
    model, x, graph = residual()
    values = torch.relu(model.first(x)).detach().numpy()
    rows = values.swapaxes(0, 1).reshape(6, -1) if channel_wise else values.reshape(1, -1)
    expected = np.percentile(rows, percent, axis=1)
    expected = np.where(expected > 0, expected, rows.max(1))
    mode = "max" if percent == 100 else percent
    for batches in (x, [x[:3], x[3:9], x[9:]], ((part, None) for part in x.split(7))):
        converted = rate_coded(graph, batches, timesteps=2, mode=mode, channel_wise=channel_wise)
        name = next(node.name for node in converted if node.op == "integrate_fire")
        np.testing.assert_allclose(thresholds_of(converted, [name])[0], expected, rtol=1e-12)


def test_a_percentile_of_many_values_is_that_of_a_sample(monkeypatch):
    monkeypatch.setattr(rate_thresholds, "KEPT", 4000)
    monkeypatch.setattr(rate_thresholds, "KEPT_PER_CHANNEL", 1000)
    values = torch.rand(2, 100_000, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    values[1] *= 3
    gathered = rate_thresholds.Percentile(95.0)
    for part in values.split(7000, 1):
        gathered.update(part)
        assert gathered.kept.shape[1] <= 2000
    assert gathered.kept.shape[1] > 900
    # The rank of a sample of n has a deviation of √(n·0.95·0.05): 0.7 % of all ranks, of which 4 are allowed.
    np.testing.assert_allclose(gathered.result().numpy(), [0.95, 2.85], rtol=0.03)


def in_a_row(first, *others):
    """Layers with a ReLU behind the first."""
    return nn.Sequential(OrderedDict(first=first, relu=nn.ReLU(), **{f"last{i}": one for i, one in enumerate(others)}))


def dead_channels(bias):
    model = in_a_row(nn.Conv1d(1, 3, 1), nn.Conv1d(3, 1, 1)).double()
    with torch.no_grad():
        model.first.weight.copy_(torch.tensor([1.0, 2.0, 1.0]).reshape(3, 1, 1))
        model.first.bias.copy_(torch.tensor(bias))
    return simplify(capture(model, torch.zeros(1, 1, 4, dtype=torch.float64)))


def test_a_silent_channel_takes_the_layers_largest_threshold_and_says_so(unfolded):
    x = torch.rand(5, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"never fire .* 1 of 3 in relu"):
        graph = rate_coded(dead_channels([0.0, 0.0, -9.0]), x, timesteps=2, channel_wise=True)
    largest = float(x.max())
    assert thresholds_of(graph, ["relu"])[0] == pytest.approx([largest, 2 * largest, 2 * largest])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rate_coded(dead_channels([0.0, 0.0, -9.0]), x, timesteps=2)


def test_a_silent_layer_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"relu \(relu\) is never above 0"):
        rate_coded(dead_channels([-9.0] * 3), torch.rand(5, 1, 4), timesteps=2)


@pytest.mark.parametrize(
    ("layer", "axis"),
    [(nn.Conv1d(3, 4, 1), -2), (nn.Linear(4, 5), -1), (nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(3)), -1)],
)
def test_channels_are_those_of_the_layer_before(unfolded, layer, axis):
    torch.manual_seed(1)
    for part in layer.modules():  # made when tests were collected, from whatever numbers came then
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    x = torch.randn(9, 3, 4, dtype=torch.float64)
    model = in_a_row(layer.double().eval(), nn.Flatten(), nn.Linear(layer(x).flatten(1).shape[1], 2)).double()
    graph = rate_coded(simplify(capture(model, x)), x, timesteps=2, channel_wise=True)
    values = torch.relu(layer(x)).detach()
    others = [i for i in range(3) if i != axis % 3]
    assert values.amax(others).min() > 0, "no channel is dead"
    assert thresholds_of(graph, ["relu"])[0] == pytest.approx(values.amax(others).tolist())


# What is refused.


class Everything(nn.Module):
    """A network with six things that rates cannot carry, and some that they can."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.LayerNorm(36)
        self.fixed = nn.Parameter(torch.rand(4))

    def forward(self, x):
        x = torch.relu(self.conv(x)) * self.fixed.softmax(0)[:, None, None]
        x = nn.functional.gelu(nn.functional.max_pool2d(x, 2, 1, 1)[..., :6, :6])
        x = self.norm(x.flatten(2)).clamp(-1, 1)
        return (x * x.mean(-1, keepdim=True)).mean(1).softmax(-1)


def test_everything_that_rates_cannot_carry_is_named_at_once():
    graph = simplify(capture(Everything(), torch.zeros(1, 1, 8, 8)))
    with pytest.raises(CaptureError, match="6 operations that rate coding cannot carry") as error:
        rate_coded(graph, torch.rand(3, 1, 8, 8), timesteps=4)
    named = {reason.split("(")[1].split(")")[0] for reason in error.value.reasons}
    assert named == {"max_pool", "gelu", "layer_norm", "clamp", "mul", "softmax"}
    assert all(reason in str(error.value) for reason in error.value.reasons)
    with pytest.raises(CaptureError, match="5 operations"):
        rate_coded(graph, torch.rand(3, 1, 8, 8), timesteps=4, max_pool="spikes")


def test_a_max_pool_goes_before_a_relu_that_it_alone_reads():
    class Shared(nn.Module):
        def forward(self, x):
            x = torch.relu(x)
            return nn.functional.max_pool1d(x, 2).sum(-1) + x.sum(-1)

    x = torch.rand(3, 2, 4)
    graph = simplify(capture(Shared(), x))
    with pytest.raises(CaptureError, match="others read too"):
        rate_coded(graph, x, timesteps=4, max_pool="before")
    assert rate_coded(graph, x, timesteps=4, max_pool="spikes").timesteps == 4


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"timesteps": 0}, InvalidArgumentError, "timesteps=0"),
        ({"timesteps": 2.5}, InvalidArgumentError, "timesteps=2.5"),
        ({"mode": "maximum"}, InvalidArgumentError, "mode='maximum' is no way"),
        ({"mode": "x%"}, InvalidArgumentError, "mode='x%'"),
        ({"mode": 0.999}, InvalidArgumentError, "the percentile 0.999 of 100"),
        ({"mode": 101.0}, InvalidArgumentError, "mode=101.0"),
        ({"mode": True}, InvalidArgumentError, "mode=True"),
        ({"max_pool": "befor"}, UnknownNameError, "Did you mean 'before'"),
        ({"calibration": torch.zeros(3, 2)}, InvalidArgumentError, r"of shape \(3, 2\); the graph takes \(B, 1\)"),
        ({"calibration": torch.zeros(0, 1)}, InvalidArgumentError, "empty"),
        ({"calibration": []}, InvalidArgumentError, "no batches"),
        ({"calibration": 3}, InvalidArgumentError, "got int"),
        ({"calibration": [column(1.0), "x"]}, InvalidArgumentError, "batch 1 of the calibration data is str"),
        ({"calibration": column(1.0, float("nan"))}, InvalidArgumentError, "1 values are NaN"),
        ({"graph": nn.ReLU()}, InvalidArgumentError, "takes a graph, got ReLU"),
    ],
)
def test_bad_arguments(change, error, says):
    given = {"graph": neuron(), "calibration": column(1.0), "timesteps": 4, **change}
    with pytest.raises(error, match=says) as raised:
        rate_coded(given.pop("graph"), given.pop("calibration"), **given)
    assert "\n" not in str(raised.value)


def test_other_graphs_are_refused():
    spiking = rate_coded(neuron(), column(1.0), timesteps=4)
    with pytest.raises(InvalidArgumentError, match="spiking already"):
        rate_coded(spiking, column(1.0), timesteps=4)
    with pytest.raises(InvalidArgumentError, match="no ReLU"):
        rate_coded(simplify(capture(nn.Linear(1, 1), torch.zeros(1, 1))), column(1.0), timesteps=4)
    with pytest.raises(InvalidArgumentError, match="timesteps=0"):
        rate_logits(spiking, column(1.0), 0)


def test_an_activation_that_is_not_finite_is_named():
    model = in_a_row(nn.Linear(1, 1), nn.Linear(1, 1))
    nn.init.constant_(model.first.weight, 3e38)
    graph = simplify(capture(model, torch.zeros(1, 1)))
    with pytest.raises(NonFiniteError, match="relu is NaN or infinite"):
        rate_coded(graph, torch.full((2, 1), 10.0), timesteps=2)


def test_logits_of_many_samples_are_those_of_few(monkeypatch):
    _, x, graph = residual()
    converted = rate_coded(graph, x, timesteps=4)
    whole = rate_logits(converted, x.float().double())
    monkeypatch.setattr(rate, "_AT_ONCE", 12)
    assert torch.equal(rate_logits(converted, x.float()), whole)


@pytest.mark.parametrize("pool", [nn.AvgPool1d(2), nn.AvgPool1d(3, 1, 1), nn.AdaptiveAvgPool1d(3), nn.MaxPool1d(2)])
@pytest.mark.parametrize("layer", [nn.Conv1d(2, 4, 1), nn.Linear(8, 8)])
def test_thresholds_go_behind_a_pool_only_where_it_keeps_channels_apart(monkeypatch, layer, pool):
    torch.manual_seed(2)
    x = torch.randn(12, 2, 8, dtype=torch.float64)
    model = in_a_row(layer, pool, nn.Flatten(), nn.LazyLinear(3)).double()
    model(x)
    graph = simplify(capture(model, x))
    made = rate_logits(rate_coded(graph, x, timesteps=5, channel_wise=True, max_pool="spikes"), x[:6] * 0.9)
    monkeypatch.setattr(rate, "folded", lambda graph: graph)
    plain = rate_logits(rate_coded(graph, x, timesteps=5, channel_wise=True, max_pool="spikes"), x[:6] * 0.9)
    torch.testing.assert_close(made, plain, rtol=0, atol=1e-12)
