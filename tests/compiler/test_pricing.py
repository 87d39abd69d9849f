"""A network beside its ordinary companions, under every model, and on its chip.

Would break it: zeros skipped that are none, a twin run for T steps, a model that silently drops out, traffic that
forgets cores or hops, energies on the chip that are not those of the traffic.
"""

import json

import numpy as np
import pytest
import torch

import compiler
import hw
from compiler.commands.stages import chip_energies, count_and_price
from compiler.passes import simplify
from compiler.pricing import companions, price, skipping
from compiler.traffic import traffic
from hw.energy.model import EstimateError
from snnkit.errors import SnnkitError
from snnkit.models import create_model

IMAGES = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    model = create_model("spiking_cnn_small", in_chans=1, img_size=12, num_classes=4).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return simplify(compiler.capture(model, IMAGES[:1]))


@pytest.fixture(scope="module")
def priced(graph, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return count_and_price(graph, IMAGES, (), folder), folder


def test_a_twin_runs_one_step_and_skips_its_zeros(graph):
    found = companions(graph, [IMAGES])
    dense, sparse = found["twin"], found["twin_skipping"]
    assert dense.timesteps == 1
    assert dense.total("mac") == dense.total("dense_macs") > 0
    assert sparse.total("mac") == dense.total("effective_macs") < dense.total("mac")
    skipped = dense.total("mac") - sparse.total("mac")
    assert dense.total("weight_fetches") - sparse.total("weight_fetches") == pytest.approx(skipped, rel=1e-12)
    assert skipping(sparse).total("mac") == sparse.total("mac")


def test_every_model_prices_it_or_says_why(priced):
    one, folder = priced
    assert {m.model.name for m in one.models} | set(one.refused) == set(hw.energy.MODELS)
    assert one.models[0].model.name == "45nm"
    assert "snnkit simulate" in one.refused["loihi1-mapped"]
    data = json.loads((folder / "energy.json").read_text())
    assert data["schema"] == "snnkit.energy/2"
    for model in data["models"]:
        assert model["results"]["network"]["nominal"] > 0
        assert all(constant["source"] for constant in model["constants"])
        for result in model["results"].values():
            assert result["nominal"] == pytest.approx(sum(part["nominal"] for part in result["parts"]), rel=1e-9)
    counts = json.loads((folder / "counts.json").read_text())
    assert counts["schema"] == "snnkit.counts/2"
    assert counts["network"]["statistics"]["synaptic_events"]["n"] == 3


def test_a_model_that_was_asked_for_and_cannot_is_an_error(graph):
    counts = companions(graph, [IMAGES])
    with pytest.raises(EstimateError, match="loihi2"):
        price("net", {"network": counts["twin"]}, ["loihi2"])


def test_the_qnn_stands_in_for_the_twin_where_yan_asks_for_it(priced):
    one, _ = priced
    yan = next(model for model in one.models if model.model.name == "yan2024")
    assert set(yan.results) == {"network", "qnn"}
    assert yan.break_even.rate is not None


def test_traffic_and_its_energy(graph):
    """Packets, hops and events add up to what the trace says; energies are those of the counts, to 1e-9."""
    program = compiler.compile(graph)
    trace = program.simulate(IMAGES)
    found = traffic(program, trace, 3)
    between = trace.packets[:-1]
    assert found.packets == between.sum() / 3
    hops = sum(int(n) * program.chip.mesh.hops(a, b) for (a, b), n in np.ndenumerate(between) if n)
    assert found.hops_east_west + found.hops_north_south == pytest.approx(hops / 3, rel=1e-12)
    assert found.fired >= sum(int(s.sum()) for s in trace.spikes.values()) / 3 > 0
    assert found.synaptic_events == trace.synaptic_events.sum() / 3
    assert found.neurons == sum(core.neurons for core in program.mapping.cores)
    (model,) = chip_energies(found, 3).models
    t, energy = found, model.results["network"].total.to("pJ").nominal
    by_hand = t.synaptic_events * 33.6 + t.neurons * t.steps * (51.2 + 21.6) + t.fired * 69.3
    by_hand += t.packets * 111 + t.hops_east_west * 3.0 + t.hops_north_south * 4.2
    assert energy == pytest.approx(by_hand, rel=1e-9)


def test_no_samples_are_an_error(graph):
    with pytest.raises(SnnkitError, match="no images|at least one batch"):
        count_and_price(graph, IMAGES[:0], (), None)
