"""Spikingformer's own logs, line by line: the papers' formula gives their totals, and each of its habits has a size.

Everything is read from the file, whose networks may be of other sizes. Would break it: a first layer charged once, a
head charged at every step or without its bias, attention taken from another formula, a rate read as per mille.
"""

import json
import re
from math import prod

import pytest

from compiler.analysis.claims import Claim, Reported, explain
from hw.energy.published_formula import (
    PaperLayer,
    implied_rate,
    published_formula,
    ssa_accumulates,
)


def logs(golden):
    return json.loads((golden / "spikingformer_energy.json").read_text())["models"]


@pytest.fixture
def models(golden):
    found = logs(golden)
    assert found
    return found


def lines(model):
    """The formula's lines of a log: every layer, then every block's attention."""
    ssa = model["ssa"]
    layers = [
        PaperLayer(row["name"], row["ops"], row["acs"] / row["ops"], real=row["macs"] > 0) for row in model["layers"]
    ]
    tokens = ssa["patchSize"] ** 2
    for block, rates in enumerate(model["qkv_rates"]):
        dense = ssa["Tsteps"] * ssa["Nheads"] * tokens * (ssa["embSize"] / ssa["Nheads"]) ** 2
        done = ssa_accumulates(ssa["Tsteps"], ssa["Nheads"], tokens, ssa["embSize"], *rates)
        layers.append(PaperLayer(f"block[{block}].attn", 2 * dense, done / (2 * dense)))
    return layers


def test_every_layer(models):
    """Operations × rate is what the log says of every layer.

    Of the larger network, printed rate and printed accumulates are up to 2e-5 apart, for a reason that the log does not
    give. The accumulates make the totals.
    """
    for model in models.values():
        assert len(model["qkv_rates"]) == model["ssa"]["depth"]
        for row, line in zip(model["layers"], lines(model), strict=False):
            by_rate = PaperLayer(row["name"], row["ops"], row["rate_pct"] / 100, line.real)
            assert by_rate.macs == line.macs == row["macs"]
            assert by_rate.accumulates == pytest.approx(row["acs"], rel=1e-4)
            assert line.accumulates == pytest.approx(row["acs"], rel=1e-12)
            assert line.energy_mj() == pytest.approx((4.6 * row["macs"] + 0.9 * row["acs"]) * 1e-9, rel=1e-12)


def test_the_totals(models):
    """MACs, accumulates and mJ to 1e-9, attention by their formula from three rates a block."""
    for model in models.values():
        rows = lines(model)
        found = published_formula(rows)
        assert found.macs == pytest.approx(model["G_macs"] * 1e9, rel=1e-9)
        assert found.accumulates == pytest.approx(model["G_acs"] * 1e9, rel=1e-9)
        assert found.energy_mj == pytest.approx(model["energy_mJ"], rel=1e-9)
        assert sum(row.energy_mj() for row in rows) == pytest.approx(found.energy_mj, rel=1e-12)
        without = published_formula(rows[: len(model["layers"])])
        assert without.energy_mj < 0.999 * found.energy_mj  # attention is in it


def described(row, steps):
    """Weights, biases and evaluated places of a layer, from torch's own description of it."""
    numbers = list(map(int, re.search(r"\((?:in_features=)?(\d+), (?:out_features=)?(\d+)", row["module"]).groups()))
    kernel = re.search(r"kernel_size=\(([\d, ]+)\)", row["module"])
    weights = prod(numbers) * prod(int(k) for k in kernel[1].split(",") if k.strip()) if kernel else prod(numbers)
    biases = 0 if "bias=False" in row["module"] else numbers[1]
    places = row["ops"] / (weights + biases)
    return weights, biases, places, places / steps


def test_their_habits(models):
    """The first layer T times, the head once, biases as operations: operations are (weights + biases) × places."""
    for model in models.values():
        steps, tokens = model["ssa"]["Tsteps"], model["ssa"]["patchSize"] ** 2
        for row in model["layers"]:
            _, biases, places, a_step = described(row, steps)
            if row["name"] == "head":
                assert places == 1  # once, with its bias, although it is behind the mean over the steps
                assert biases
            else:
                assert a_step == pytest.approx(round(a_step), rel=1e-8)
                assert round(a_step) % tokens == 0  # the first layer too: T times the places of one image
        first = model["layers"][0]
        assert first["macs"] == first["ops"] > 0


def honest(model):
    """(MACs, ACs, bias adds) per image of the same measurements: the first layer once, biases added, not multiplied."""
    steps = model["ssa"]["Tsteps"]
    macs = acs = adds = 0.0
    for index, row in enumerate(model["layers"]):
        weights, biases, places, a_step = described(row, steps)
        if row["macs"]:
            times = a_step if index == 0 else places
            macs, adds = macs + weights * times, adds + biases * times
        else:
            acs, adds = acs + weights * places * row["acs"] / row["ops"], adds + biases * places
    return macs, acs, adds


def test_an_honest_count_beside_it(models):
    """The first layer is charged T − 1 times too often: known to the operation. Attention stays as they estimate it."""
    for model in models.values():
        steps, first = model["ssa"]["Tsteps"], model["layers"][0]
        head = next(row for row in model["layers"] if row["name"] == "head")
        macs, acs, adds = honest(model)
        bias_of_head = described(head, steps)[1]
        assert macs == pytest.approx(
            model["G_macs"] * 1e9 - first["macs"] * (steps - 1) / steps - bias_of_head, rel=1e-9
        )
        attention = sum(row.accumulates for row in lines(model)[len(model["layers"]) :])
        theirs = sum(row["acs"] for row in model["layers"])
        assert 0 < theirs - acs < 0.002 * theirs  # biases by the rate
        energy = (4.6 * macs + 0.9 * (acs + attention + adds)) * 1e-9
        too_much = 4.6e-9 * first["macs"] * (steps - 1) / steps
        biases = 0.9e-9 * (adds - (theirs - acs)) - 4.6e-9 * bias_of_head
        assert energy == pytest.approx(model["energy_mJ"] - too_much + biases, rel=1e-8)
        assert 0.75 < energy / model["energy_mJ"] < 0.95
        # Independent spikes of k and v meet in r_k · r_v of the positions, not in the rarer one's.
        rates = model["qkv_rates"]
        assert sum(k * v + q for q, k, v in rates) < sum(min(k, v) + q for q, k, v in rates)


def test_the_energies_as_claims(models):
    """The printed total is the formula; the rate that it implies lies between the lowest and the highest measured."""
    for model in models.values():
        rows = lines(model)
        rate = implied_rate(model["energy_mJ"], rows)
        spiking = [row for row in rows if not row.real]
        assert min(row.rate for row in spiking) < rate < max(row.rate for row in spiking)
        dense = sum(row.operations for row in spiking)
        assert rate == pytest.approx(model["G_acs"] * 1e9 / dense, rel=1e-8)
        twice = Claim(0.9e-9 * dense * rate * rate, "mJ")
        assert [one.name for one in explain(twice, Reported(dense, rate))][:1] == ["rate twice"]


def test_what_cannot_be_implied():
    with pytest.raises(ValueError, match="no layer reads spikes"):
        implied_rate(1.0, [PaperLayer("first", 1e6, 1.0, real=True)])
