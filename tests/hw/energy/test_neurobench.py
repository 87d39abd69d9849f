"""NeuroBench's metrics from counts, against its definitions carried out on the module itself.

Would break it: biases among the operations, padding among the dense ones, attention counted, steps averaged twice.
"""

import copy

import pytest
import torch
from torch import nn

from compiler.counting import count
from hw.counts import Counts, LayerCounts
from hw.energy import neurobench
from hw.energy.model import EstimateError
from snnkit.neurons import IF, LIF


class Net(nn.Module):
    """(T, B, 2, 8, 8) → (T, B, 10): strided convolution with padding, LIF, fully connected, IF."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.fc = nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Linear(64, 10)
        self.lif, self.fire = LIF(), IF()
        self.conv.weight.data.mul_(3)
        self.fc.weight.data.mul_(4)

    def forward(self, x):
        return self.all(x)[-1]

    def all(self, x):
        """What the convolution reads, its spikes, what the linear layer reads, its spikes."""
        steps, batch = x.shape[:2]
        first = x.flatten(0, 1)
        hidden = self.lif(self.conv(first).unflatten(0, (steps, batch)))
        second = hidden.flatten(2).flatten(0, 1)
        return first, hidden, second, self.fire(self.fc(second).unflatten(0, (steps, batch)))


def operations(layer, x, dense):
    """NeuroBench's way: weights and inputs become 1 where they are not 0 (or everywhere), biases 0; outputs add up."""
    ones = copy.deepcopy(layer)
    ones.weight.data = torch.ones_like(layer.weight) if dense else (layer.weight != 0).float()
    ones.bias.data.zero_()
    return float(ones(torch.ones_like(x) if dense else (x != 0).float()).sum())


@pytest.fixture(scope="module", params=["binary", "real"])
def run(request):
    torch.manual_seed(0)
    x = torch.rand(5, 3, 2, 8, 8)
    x = (x < 0.4).float() if request.param == "binary" else 8 * torch.relu(x - 0.5)
    net = Net().eval()
    with torch.no_grad():
        seen = net.all(x)
    return request.param, net, seen, count(net, [x[:, :2], x[:, 2:]], input_type=request.param)


def test_synaptic_operations(run):
    kind, net, (first, hidden, second, _), counts = run
    samples, layers = hidden.shape[1], ((net.conv, first), (net.fc, second))
    with torch.no_grad():
        conv, fc = (operations(layer, x, False) for layer, x in layers)
        dense = sum(operations(layer, x, True) for layer, x in layers)
    got = neurobench.synaptic_operations(counts)
    expected = {"Effective_MACs": 0.0, "Effective_ACs": (conv + fc) / samples, "Dense": dense / samples}
    if kind == "real":
        expected |= {"Effective_MACs": conv / samples, "Effective_ACs": fc / samples}
    assert got.to_dict() == pytest.approx(expected, rel=1e-12)
    assert got.approximate == ()
    assert fc > 0


def test_activation_sparsity(run):
    _, _, (_, hidden, _, out), counts = run
    values = hidden.numel() + out.numel()
    zeros = int((hidden == 0).sum()) + int((out == 0).sum())
    assert neurobench.activation_sparsity(counts) == pytest.approx(zeros / values, rel=1e-12)


def test_membrane_updates_hold_neurobenchs_number(run):
    """A membrane has changed where it leaks or gets input, which takes no spike: at most every neuron at every step."""
    _, _, (_, hidden, _, out), counts = run
    neurons = hidden[0, 0].numel() + out[0, 0].numel()
    got = neurobench.membrane_updates(counts)
    assert (got.low, got.nominal, got.high) == (neurons, len(hidden) * neurons, len(hidden) * neurons)


def test_after_one_step_membrane_updates_are_known():
    neuron = LayerCounts(
        "n", "lif", "neuron", "real", "binary", spikes=3.0, resets=3.0, neurons=40, neuron_updates=40.0
    )
    got = neurobench.membrane_updates(Counts((neuron,), 1, 1))
    assert (got.low, got.nominal, got.high) == (40, 40, 40)


def test_footprint_and_connection_sparsity():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5), nn.RNNCell(5, 3))
    net[0].weight.data.view(-1)[:18] = 0
    net[0].bias.data.zero_()  # not a connection
    net[4].bias_ih.data.zero_()  # one, by NeuroBench's rule for recurrent layers
    weights = 72 + 80 + 15 + 9 + 3 + 3
    assert neurobench.connection_sparsity(net) == round((18 + 3) / weights, 4)
    parameters = 72 + 4 + 4 + 4 + 80 + 5 + 15 + 9 + 3 + 3
    assert neurobench.footprint(net) == 4 * (parameters + 4 + 4) + 8  # running mean and variance; batches seen: int64
    assert neurobench.footprint(net.half()) == 2 * (parameters + 8) + 8
    assert neurobench.connection_sparsity(nn.Sequential(nn.ReLU())) == 0


@pytest.mark.parametrize("kind", ["Linear", "Conv1d", "Conv2d", "Conv3d"])
def test_a_subclass_of_a_layer_is_that_layer(kind):
    class Mine(getattr(nn, kind)):
        pass

    layer = Mine(2, 2) if kind == "Linear" else Mine(2, 2, 1)
    layer.weight.data.view(-1)[:1] = 0
    assert neurobench.connection_sparsity(nn.Sequential(layer)) == 0.25


def test_events_of_several_levels_are_macs_and_named():
    """{0, 1, 2} is no spike to NeuroBench: 60 of 240 values are not zero, and each meets ten weights."""
    layer = LayerCounts(
        "fc", "linear", "synapse", "integer[0,2]", "real",
        dense_macs=2400.0, ac=900.0, synaptic_events=900.0, input_events=60.0, activation_reads=240.0,
    )  # fmt: skip
    got = neurobench.synaptic_operations(Counts((layer,), 4, 1))
    assert got.to_dict() == {"Effective_MACs": 600.0, "Effective_ACs": 0.0, "Dense": 2400.0}
    assert got.approximate == ("fc",)


def test_products_of_two_signals_are_a_blind_spot_that_is_kept():
    product = LayerCounts("qk", "matmul", "product", "binary", "real", dense_macs=100.0, ac=10.0)
    assert neurobench.synaptic_operations(Counts((product,), 4, 1)).dense == 0


def test_a_layer_that_runs_once_is_run_at_every_step_by_neurobench():
    layer = LayerCounts(
        "stem", "conv", "synapse", "real", "real",
        dense_macs=120.0, padding_macs=20.0, mac=120.0, effective_macs=90.0, static=True, static_repeats=4,
    )  # fmt: skip
    got = neurobench.synaptic_operations(Counts((layer,), 4, 1))
    assert got.to_dict() == {"Effective_MACs": 360.0, "Effective_ACs": 0.0, "Dense": 400.0}


def test_zeros_that_were_not_counted_are_no_sparsity():
    relu = LayerCounts("relu", "relu", "activation", "real", "real", activations=10.0, activation_writes=10.0)
    with pytest.raises(EstimateError, match="outputs of relu are zero"):
        neurobench.activation_sparsity(Counts((relu,), 1, 1))
    assert neurobench.activation_sparsity(Counts((), 1, 1)) == 0
