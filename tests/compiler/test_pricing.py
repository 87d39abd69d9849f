"""A network beside its ordinary companions, under every model, and on its chip.

Would break it: zeros skipped that are none, a twin run for T steps, a model that silently drops out, traffic that
forgets cores or hops, energies on the chip that are not those of the traffic.
"""

import json
from collections import Counter

import numpy as np
import pytest
import torch
from support.chip_runs import spikes
from torch import nn

import compiler
import hw
from compiler.commands.stages import chip_energies, count_and_price
from compiler.passes import simplify
from compiler.pricing import companions, price, skipping
from compiler.traffic import traffic
from hw.energy.model import EstimateError
from snnkit.cli import main
from snnkit.errors import SnnkitError
from snnkit.models import create_model
from snnkit.neurons import IF

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


def test_the_busiest_link_is_the_one_that_most_packets_cross():
    """Every packet goes along x in the row of its sender, then along y: links by hand, one for each direction."""
    torch.manual_seed(0)
    hidden = [nn.Linear(40, 40), IF(v_threshold=0.3)]
    model = nn.Sequential(nn.Linear(20, 40), IF(v_threshold=0.3), *hidden, nn.Linear(40, 4)).double()
    x, height = spikes(5, 3, 20), 4
    program = compiler.compile(model, x, "mesh:width=4,height=4,neurons=6", "binary")
    trace = program.simulate(x)
    found, crossed = traffic(program, trace, 3), Counter()
    for (sender, receiver), packets in np.ndenumerate(trace.packets[:-1]):
        (x0, y0), (x1, y1) = divmod(sender, height), divmod(receiver, height)
        for place in range(min(x0, x1), max(x0, x1)):
            crossed["x", x0 < x1, place, y0] += packets
        for place in range(min(y0, y1), max(y0, y1)):
            crossed["y", y0 < y1, x1, place] += packets
    assert len(crossed) > 10
    assert found.busiest_link == pytest.approx(max(crossed.values()) / 3, rel=1e-12)
    assert found.hops_east_west + found.hops_north_south == pytest.approx(sum(crossed.values()) / 3, rel=1e-12)


@pytest.fixture
def softmax(tmp_path):
    """A file with a network whose second layer has no price at 45 nm."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 6), nn.Softmax(-1), nn.Linear(6, 4)).eval()
    simplify(compiler.capture(model, torch.zeros(1, 1, 28, 28))).save(tmp_path / "net.graph")
    return tmp_path / "net.graph"


def test_strict_refuses_what_has_no_price(softmax, capsys):
    """Without --strict the layer is named as left out; with it the command ends in one line that names it."""
    for words, code in (((), 0), (("--strict",), 2)):
        with pytest.raises(SystemExit) as stopped:
            main(["energy", str(softmax), "--model", "45nm", *words])
        assert (stopped.value.code or 0) == code
        said = capsys.readouterr().err.splitlines()
        assert said == (["snnkit: energy model '45nm' has no price for all of 2."] if words else [])
    graph, x = compiler.graph.Graph.load(softmax), torch.rand(3, 1, 28, 28)
    assert count_and_price(graph, x, ("45nm",), None).models[0].results["network"].uncounted == ("2",)
    with pytest.raises(EstimateError, match=r"^energy model '45nm' has no price for all of 2\.$"):
        count_and_price(graph, x, ("45nm",), None, strict=True)


def test_no_samples_are_an_error(graph):
    with pytest.raises(SnnkitError, match="no images|at least one batch"):
        count_and_price(graph, IMAGES[:0], (), None)
