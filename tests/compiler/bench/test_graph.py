"""The benchmark of the graph: found by the command, measured in turns, large networks without memory.

Would break it: an entry point that names nothing, a ratio the wrong way round, weights that are filled although nobody
reads them, a network whose default size nobody knows.
"""

import pytest
import torch

from compiler.bench import cost
from compiler.bench.cost import each, equal
from compiler.bench.graph import median_ratio
from compiler.bench.published import LARGE, TIMM, built, listed
from snnkit.bench import about, modules
from snnkit.models import list_models


def test_the_command_finds_it():
    assert modules()["graph"] == "compiler.bench.graph"
    assert modules()["lif"] == "snnkit.bench.lif"
    assert "graph" in about("graph").lower()


def test_ratios_are_taken_in_turns():
    order = []
    value = median_ratio(
        lambda: order.append("ours") or sum(range(300_000)),
        lambda: order.append("theirs") or sum(range(100_000)),
        repeats=5,
    )
    assert order == ["theirs", "ours"] * 7
    assert 1.5 < value < 6


def test_every_registered_network_is_listed_once():
    names = [name for family, names in listed().items() if not family.startswith("timm ") for name in names]
    assert sorted(names) == list_models()
    assert sum(map(len, TIMM.values())) >= 65
    assert len(TIMM) >= 32


def test_large_weights_are_left_alone_unless_wanted():
    """What is read, such as indices, is right all the same."""
    model, x = built("swinv2_tiny_window8_256")
    full, _ = built("swinv2_tiny_window8_256", fill=True)
    assert x.shape == (1, 3, 256, 256)
    assert [p.shape for p in model.parameters()] == [p.shape for p in full.parameters()]
    for a, b in zip(model.buffers(), full.buffers(), strict=True):
        assert torch.equal(a, b)
    large = [p for p in full.parameters() if p.numel() >= LARGE]
    assert all(0 < p.std() < 1 for p in large)


@pytest.mark.parametrize("name", ["spiking_cnn_small", "timm:resnet18", "spikformer_v2_mae_8_384"])
def test_a_network_is_tried(name):
    made = each(name)
    assert (made["name"], made["why"]) == (name, "")
    assert made["nodes"] > 0


def test_a_network_is_compared_output_by_output_and_spike_by_spike(monkeypatch):
    made = equal("spiking_cnn_small")
    assert (made["why"], made["difference"], made["spikes_differ"]) == ("", 0.0, 0)
    assert made["spikes_compared"] == 4 * (12_544 + 3 * 9_408)
    monkeypatch.setattr(cost, "interpret", lambda *a, **k: _off_by(cost_interpret(*a, **k)))
    assert equal("spiking_cnn_small")["difference"] == pytest.approx(1e-3)
    assert equal("spiking_cnn_small")["spikes_differ"] == 1
    monkeypatch.setattr(cost, "LARGEST", 1000)
    assert "not run: more than 1,000" in equal("spiking_cnn_small")["why"]


cost_interpret = cost.interpret


def _off_by(made):
    """One thousandth more in every output, one spike more or less."""
    outputs, records = made
    first = next(iter(records.values()))
    first[0, 0, 0, 0, 0] = 1 - first[0, 0, 0, 0, 0]
    return outputs + 1e-3, records
