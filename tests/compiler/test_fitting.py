"""What is counted must be what the graph says of its input, and what stands beside it must be counted alike.

Would break it: fractions counted as events, values that are not finite counted as silence, the time axis of one tensor
taken for a list of batches, inputs of a second kind left out, a twin counted on padding that the network skips, an
estimate of a mapped network lost without a word.
"""

import json
from fractions import Fraction

import pytest
import torch
from torch import nn

import compiler
import hw
from compiler.commands.stages import count_and_price, mapped_models
from compiler.conventions import Conventions
from compiler.fitting import misfit
from compiler.graph import BINARY, REAL, SignalType
from compiler.passes import simplify
from compiler.pricing import companions
from hw.quantity import Quantity, UnitError
from snnkit.errors import InvalidArgumentError, NonFiniteError
from snnkit.layers import over_time
from snnkit.neurons import LIF


class Linear2(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.n, self.b, self.m = nn.Linear(3, 4, bias=False), LIF(), nn.Linear(4, 2, bias=False), LIF()
        with torch.no_grad():
            self.a.weight.copy_(torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 3], [1, 1, 1]]))
            self.b.weight.copy_(torch.tensor([[2.0, 2, 2, 0], [1, 0, -1, 1]]))

    def forward(self, x):
        return self.m(self.b(self.n(self.a(x))))


class Convolutions(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.n, self.b = nn.Conv2d(1, 2, 3, padding=1), LIF(), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return over_time(self.b, self.n(over_time(self.a, x)))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 5)

    def forward(self, x, y):
        return self.a(x).sum(-1) + self.b(y).sum(-1)


X = torch.tensor([[1.0, 0, 0], [1, 1, 0], [0, 0, 0]]).repeat(2, 1, 1)


@pytest.fixture(scope="module")
def graph():
    return simplify(compiler.capture(Linear2(), X[:, :1], input_type="binary"))


def test_two_layers_by_hand(graph):
    # v ← v + (x − v)/2, threshold 1, two steps. Inputs (1,0,0): neuron 0 gets 3, fires twice; neuron 3 gets 1, reaches
    # 0.75. (1,1,0): 0, 1 and, with 2, neuron 3 fire twice. So 2 + 6 + 0 spikes, each reaching 2 weights; 6 input events
    # (2 × 1, 2 × 2), each reaching 4.
    counts = compiler.count(graph, [X])
    assert counts.total("ac") * 3 == pytest.approx(8 * 2 + 6 * 4)
    assert counts.total("neuron_updates") == (4 + 2) * 2
    energy = hw.energy.estimate(counts, "45nm")
    accumulates, updates = 40 / 3 * 0.9, 12 * (3.7 + 3 * 0.9)  # pJ
    assert energy.total.to("pJ").low == pytest.approx(accumulates)
    assert energy.total.to("pJ").nominal == pytest.approx(accumulates + updates)


def test_a_tensor_alone_is_one_batch(graph):
    assert compiler.count(graph, X) == compiler.count(graph, [X])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_spikes_may_be_whole_numbers(graph, dtype):
    assert compiler.count(graph, [X.to(dtype)]) == compiler.count(graph, [X])


@pytest.mark.parametrize(
    ("x", "error", "says"),
    [
        (X * 0.5, InvalidArgumentError, "hold fractions"),
        (X * 3, InvalidArgumentError, "from 0 to 3"),
        (X * float("nan"), NonFiniteError, "not finite"),
        (X / 0.0, NonFiniteError, "not finite"),
        (X.double(), InvalidArgumentError, "float32 and its samples float64"),
        (X.half(), InvalidArgumentError, "float32 and its samples float16"),
        (X.to(torch.complex64), InvalidArgumentError, "complex64"),
    ],
)
def test_samples_that_are_not_what_the_graph_says(graph, x, error, says):
    with pytest.raises(error, match=says):
        compiler.count(graph, [X, x])


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (REAL, [0.3], ""),
        (BINARY, [0.0, 1.0], ""),
        (BINARY, [0.999], "hold fractions"),
        (BINARY, [-1.0], "hold values from -1 to -1"),
        (SignalType("integer", -9, 9, Fraction(1, 9)), [n / 9 for n in range(-9, 10)], ""),
        (SignalType("integer", -9, 9, Fraction(1, 9)), [0.5 / 9], "hold fractions"),
        (SignalType("integer", -9, 9, Fraction(1, 9)), [10 / 9], "hold values from 10 to 10"),
        (BINARY, [], ""),
    ],
)
def test_what_a_type_allows(kind, values, says):
    assert misfit(kind, torch.tensor(values)) == says


def test_an_input_type_that_is_not_the_graphs_own(graph):
    assert compiler.count(graph, [X], input_type="binary").total("ac") > 0
    with pytest.raises(InvalidArgumentError, match="takes binary"):
        compiler.count(graph, [X], input_type="signed")


def test_conventions_that_are_none(graph):
    with pytest.raises(InvalidArgumentError, match="conventions='merged'"):
        compiler.count(graph, [X], conventions="merged")


def test_a_graph_of_two_inputs():
    pair = torch.rand(2, 3), torch.rand(2, 3)
    assert compiler.count(compiler.capture(TwoInputs(), pair), [pair]).total("mac") == 12 + 15


def test_a_twin_skips_the_padding_that_its_network_skips():
    model = Convolutions()
    x = torch.rand(2, 3, 1, 4, 4)
    own = simplify(compiler.capture(model, x[:, :1]))
    mac = {}
    for padding in ("counted", "skipped"):
        conventions = Conventions(padding=padding)
        counts = {"network": compiler.count(own, [x], conventions=conventions)}
        counts |= companions(own, [x[0]], conventions=conventions)
        assert counts["twin"].conventions["padding"] == padding
        mac[padding] = counts["twin"].total("mac")
    # (3·4 − 2)² = 100 of the (3·4)² = 144 places of a kernel lie on the image.
    assert mac == {"counted": 144 * (2 + 4), "skipped": 100 * (2 + 4)}


def test_a_mapped_estimate_is_known_before_it_is_replaced(graph, tmp_path):
    assert mapped_models(None) == mapped_models(tmp_path) == []
    count_and_price(graph, X, ["45nm"], tmp_path)
    assert mapped_models(tmp_path) == []
    path = tmp_path / "energy.json"
    data = json.loads(path.read_text())
    data["models"].append({**data["models"][0], "model": "loihi1-mapped"})
    path.write_text(json.dumps(data))
    assert mapped_models(tmp_path) == ["loihi1-mapped"]
    for broken in ("{bad", "[1]", '{"models": [1]}', '{"models": null}'):
        path.write_text(broken)
        assert mapped_models(tmp_path) == []


@pytest.mark.parametrize(
    ("power", "says"),
    [(1.0, "without a unit"), (Quantity(float("inf"), "mW", "test"), "finite"), (Quantity(1, "ms", "test"), "no unit")],
)
def test_static_power_has_a_unit_and_an_end(power, says):
    with pytest.raises(UnitError, match=says):
        hw.energy.static(power, Quantity(1, "ms", "test"))
