"""Claimed numbers and the errors behind them: each known error, fed as a user would, is named with its size.

The expected values are added up here from the layers, not by the code that is tested. Would break it: an error that is
called another's name, a claim that is right called an error, a unit that is taken for another.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import compiler
from compiler.analysis.claims import Claim, Reported, explain, explain_table, must_hold, read_claim
from compiler.analysis.known_errors import CHARGINGS, PRICINGS
from hw.counts import Counts, LayerCounts
from hw.energy.published_formula import input_rate, paper_layers, published_formula
from snnkit.errors import InvalidArgumentError, UnknownNameError
from snnkit.layers import over_time
from snnkit.neurons import LIF

T = 4


def layer(name, op, kind, input_type, dense, done, **more):
    """A layer whose operations were done ``done`` times: MACs where it reads real numbers, else accumulates."""
    real = input_type == "real"
    work = {"mac": done} if real else {"ac": done, "synaptic_events": done}
    return LayerCounts(name, op, kind, input_type, "real", dense_macs=dense, **work, **more)


def neuron(name, spikes, updates):
    return LayerCounts(
        name, "lif", "neuron", "real", "binary", spikes=spikes, rate=spikes / updates, neuron_updates=updates
    )


COUNTS = Counts(
    (
        layer("stem", "conv", "synapse", "real", 70_000, 70_000, static=True, static_repeats=T, bias_adds=500),
        neuron("stem.lif", 900, 6_000),
        layer("conv", "conv", "synapse", "binary", 400_000, 51_000, inputs=1_500, evaluations=T, input_events=900,
              bias_adds=30_000),
        neuron("conv.lif", 260, 2_000),
        layer("kv", "matmul", "product", "binary", 60_000, 3_100),
        layer("residual", "conv", "synapse", "integer[0,2]", 300_000, 83_000, inputs=500, evaluations=T,
              input_events=380),
        layer("depthwise", "conv", "synapse", "real", 11_000, 11_000, inputs=500, evaluations=T),
        neuron("last", 30, 400),
        layer("head", "linear", "synapse", "binary", 20_000, 1_900, inputs=100, evaluations=T, input_events=30,
              bias_adds=40),
    ),
    T,
    8,
)  # fmt: skip
EVENTS = {"conv": (400_000, 51_000, 900 / 6_000), "kv": (60_000, 3_100, 3_100 / 60_000),
          "residual": (300_000, 83_000, 380 / 2_000), "head": (20_000, 1_900, 30 / 400)}  # fmt: skip
MACS = 81_000
DONE = 51_000 + 3_100 + 83_000 + 1_900


def mj(macs, acs, mac_pj=4.6, ac_pj=0.9):
    return (macs * mac_pj + acs * ac_pj) * 1e-9


def formula(change=lambda dense, rate: dense * rate):
    return sum(change(dense, rate) for dense, _, rate in EVENTS.values())


MEAN = (900 + 260 + 30) / 8_400
BIAS = 30_000 * EVENTS["conv"][2] + 40 * EVENTS["head"][2]
ERRORS = {
    # name → (MACs, accumulates) from measured operations, or from rate × dense where that is how papers do it
    "rate twice": (MACS, formula(lambda dense, rate: dense * rate**2)),
    "time steps twice": (MACS, DONE * T),
    "time steps left out": (MACS, DONE / T),
    "rate left out": (MACS, 780_000),
    "one mean rate": (MACS, 780_000 * MEAN),
    "bias by the rate": (MACS, DONE + BIAS),
    "first layer at every step": (MACS + 3 * 70_000, DONE),
    "first layer free": (11_000, DONE),
    "first layer as accumulates": (11_000, DONE + 70_000),
    "real layers as accumulates": (0, DONE + MACS),
    "attention left out": (MACS, DONE - 3_100),
    "graded spikes multiply": (MACS + 300_000, DONE - 83_000),
}


def test_every_error_has_a_case():
    assert set(ERRORS) == {one.name for one in CHARGINGS}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_in_counting_is_named(name):
    value = mj(*ERRORS[name])
    found = explain(Claim(value, "mJ"), COUNTS, tolerance=1e-6)
    assert [one.name for one in found] == [name]
    assert found[0].is_error
    assert found[0].value == pytest.approx(value, rel=1e-9)
    assert abs(found[0].difference) < 1e-9
    right = formula() if "rate × dense operations" in found[0].sentence else DONE
    assert f"without that {mj(MACS, right):.4g} mJ" in found[0].sentence
    assert "\n" not in found[0].sentence


PRICED = {
    "8-bit constants": mj(MACS, DONE, 0.23, 0.03),
    "nanoseconds added": mj(MACS, DONE, 27.1, 27.1),
    "nanoseconds added, with updates": mj(MACS, DONE, 27.1, 27.1) + 8_400 * 81e-9,
    "synaptic operations alone": mj(MACS, DONE, 23.6, 23.6),
    "multiplications for spikes": mj(MACS, DONE, 4.6, 4.6),
}


def test_every_price_has_a_case():
    assert set(PRICED) == {one.name for one in PRICINGS}


@pytest.mark.parametrize("name", PRICED)
def test_an_error_in_pricing_is_named(name):
    found = explain(Claim(PRICED[name], "mJ"), COUNTS, tolerance=1e-6)
    assert [one.name for one in found] == [name]


def test_picojoules_and_nanoseconds():
    """23.6 pJ + 3.5 ns is no energy; whoever takes 27.1 pJ claims 15 % more than Loihi's synaptic operations take."""
    twisted, right = PRICED["nanoseconds added"], PRICED["synaptic operations alone"]
    assert twisted / right == pytest.approx((23.6 + 3.5) / 23.6)
    (found,) = explain(Claim(twisted, "mJ"), COUNTS, tolerance=1e-6)
    assert "3.5 ns" in found.sentence


def test_a_right_number_is_no_error():
    for value, name in ((mj(MACS, DONE), "exact count"), (mj(MACS, formula()), "papers' formula")):
        found = explain(Claim(value, "mJ"), COUNTS, tolerance=1e-6)
        assert [one.name for one in found] == [name]
        assert not found[0].is_error
    assert found[0].sentence.endswith(f"; exactly counted {mj(MACS, DONE):.4g} mJ.")  # where spikes lie matters
    printed = explain(Claim(round(mj(MACS, DONE), 6), "mJ"), COUNTS, tolerance=0.05)
    assert len(printed) > 1
    assert printed[0].name == "exact count"
    few = replace(COUNTS, per_layer=tuple(replace(layer, bias_adds=layer.bias_adds / 10) for layer in COUNTS.per_layer))
    names = {one.name for one in explain(Claim(mj(MACS, DONE), "mJ"), few, tolerance=0.05)}
    assert "bias by the rate" not in names  # an error that changes less than three digits show is none to suspect
    assert "bias by the rate" in {
        one.name for one in explain(Claim(mj(MACS, DONE + BIAS / 10), "mJ"), few, tolerance=1e-6)
    }


def test_the_formula_is_the_one_that_others_call():
    layers = paper_layers(COUNTS)
    assert [one.name for one in layers] == ["stem", "conv", "kv", "residual", "depthwise", "head"]
    assert published_formula(layers).energy_mj == pytest.approx(mj(MACS, formula()), rel=1e-12)
    every = published_formula(paper_layers(COUNTS, first_layer="each step"))
    assert every.energy_mj == pytest.approx(mj(MACS + 3 * 70_000, formula()), rel=1e-12)
    with pytest.raises(ValueError, match="'once' and 'each step'"):
        paper_layers(COUNTS, first_layer="twice")
    assert input_rate(COUNTS.per_layer[2]) == 0.15


# A published paper.


def paper():
    """PMC10242054, Table 3, from what it prints: E = 3.09e-7 J, the rate in it twice; 273.8 × below 4.6 pJ · #OP."""
    rate = 3.09e-7 / 22.6e-7
    return Reported(22.6e-7 / 0.9e-12 / rate, rate)


def test_a_rate_that_was_squared():
    (found,) = explain(read_claim("3.09e-7 J"), paper())
    assert found.name == "rate twice"
    assert found.sentence.endswith("without that 2.26e-06 J.")
    (found,) = explain(read_claim("273.8x"), paper())
    assert found.name == "rate twice"
    assert found.sentence.endswith("without that 37.38x.")
    (found,) = explain(read_claim("37x"), paper())
    assert (found.name, found.is_error) == ("papers' formula", False)
    assert must_hold(read_claim("3.09e-7 J"), paper()) == (
        "1.87% of the dense operations on spikes would have to be done; stated: 13.67%."
    )


# Other units.


@pytest.mark.parametrize("name", [name for name in ERRORS if ERRORS[name][1] not in (DONE, DONE + BIAS)])
def test_an_error_in_operations_is_named(name):
    found = explain(Claim(ERRORS[name][1] * 1e-6, "MSOP"), COUNTS, tolerance=1e-6)
    assert name in [one.name for one in found]


def test_multiplications_among_synaptic_operations():
    found = explain(Claim(DONE + MACS, "SOPs"), COUNTS, tolerance=1e-9)
    assert {one.name for one in found} == {"multiplications among them", "real layers as accumulates"}


RATES = {
    "mean over layers": (900 / 6_000 + 260 / 2_000 + 30 / 400) / 3,
    "share of operations": DONE / 780_000,
    "added up over steps": MEAN * T,
    "divided by the steps twice": MEAN / T,
    "rate twice": MEAN**2,
    "exact count": MEAN,
}


@pytest.mark.parametrize("name", RATES)
def test_a_rate_is_explained(name):
    found = explain(Claim(100 * RATES[name], "%"), COUNTS, tolerance=1e-6)
    assert [one.name for one in found] == [name]


TWIN = Counts(
    (
        layer("stem", "conv", "synapse", "real", 70_000, 70_000, effective_macs=69_000),
        layer("conv", "conv", "synapse", "real", 205_750, 205_750, effective_macs=90_000),
    ),
    1,
    8,
)
PAIR = mj(MACS, DONE)
GAINS = {
    "exact count": mj(159_000, 0) / PAIR,
    "zeros not skipped": mj(275_750, 0) / PAIR,
    "rate twice": mj(275_750, 0) / mj(*ERRORS["rate twice"]),
    "attention left out": mj(275_750, 0) / mj(*ERRORS["attention left out"]),
    "32 against 8 bit": mj(275_750, 0) / PRICED["8-bit constants"],
    "8 bit on both sides": mj(275_750, 0, 0.23) / PRICED["8-bit constants"],
    "mixed nodes": mj(275_750, 0) / PRICED["synaptic operations alone"],
}


@pytest.mark.parametrize("name", GAINS)
def test_a_gain_is_explained(name):
    found = explain(Claim(GAINS[name], "x"), COUNTS, twin=TWIN, tolerance=1e-6)
    assert [one.name for one in found] == [name]


def test_a_silent_network_divides_by_nothing():
    silent = Counts((layer("conv", "conv", "synapse", "binary", 1_000, 0, inputs=10, evaluations=T),), T, 1)
    assert explain(Claim(5.0, "x"), silent) == explain(Claim(5.0, "mJ"), silent) == []
    assert "measured: 0.00%" in must_hold(Claim(5.0, "x"), silent)


def test_a_gain_without_a_twin_is_over_one_step_of_the_same_layers():
    dense = 70_000 + (400_000 + 60_000 + 300_000 + 11_000 + 20_000) / T
    found = explain(Claim(mj(dense, 0) / PAIR, "x"), COUNTS, tolerance=1e-6)
    assert [one.name for one in found] == ["exact count"]
    with pytest.raises(InvalidArgumentError, match="operations on both sides"):
        explain(Claim(2.0, "x"), Counts((), T, 1))


# Layer by layer.


def test_a_table():
    """One layer right, one with its rate squared, the stem at every step, attention not there at all."""
    claimed = {
        "stem": mj(T * 70_000, 0),
        "conv": mj(0, 51_000),
        "residual": mj(0, 300_000 * 0.19**2),
        "depthwise": mj(0, 11_000),
        "head": 1.0,
    }
    lines = {line.layer: line for line in explain_table(claimed, "mJ", COUNTS, tolerance=1e-6)}
    names = {name: line.explanation.name if line.explanation else None for name, line in lines.items()}
    assert names == {
        "stem": "first layer at every step",
        "conv": "exact count",
        "kv": "attention left out",
        "residual": "rate twice",
        "depthwise": "real layers as accumulates",
        "head": None,
    }
    assert lines["kv"].claimed is None
    assert lines["kv"].counted == pytest.approx(mj(0, 3_100))
    with pytest.raises(UnknownNameError, match="Did you mean 'residual'"):
        explain_table({"residuals": 1.0}, "mJ", COUNTS)
    with pytest.raises(InvalidArgumentError, match="energies or operations"):
        explain_table({"conv": 1.0}, "%", COUNTS)


# What would have to hold.


def test_what_would_have_to_hold():
    energy = mj(MACS, 0.05 * 780_000)
    assert must_hold(Claim(energy, "mJ"), COUNTS).startswith("5.00% of the dense operations on spikes")
    assert must_hold(Claim(energy, "mJ"), COUNTS).endswith(f"measured: {DONE / 780_000:.2%}.")
    assert "more than all" in must_hold(Claim(2.0, "mJ"), COUNTS)
    assert must_hold(Claim(1e-6, "mJ"), COUNTS) == (
        f"impossible at these prices: multiply-accumulates alone cost {mj(MACS, 0):.4g} mJ a sample."
    )
    assert must_hold(Claim(780_000 * 0.1, "SOP"), COUNTS).startswith("10.00% of the dense")
    assert must_hold(Claim(81.0, "kMAC"), COUNTS).endswith("measured: 8.1e+04.")
    assert must_hold(Claim(10.0, "%"), COUNTS).startswith("spikes per neuron and step would have to be 10.00%")
    assert must_hold(Claim(1.0, "mJ"), TWIN) == "no layer reads spikes: no firing rate makes the claim true."
    gain = mj(275_750, 0) / mj(MACS, 0.2 * 780_000)
    assert must_hold(Claim(gain, "x"), COUNTS, TWIN).startswith("20.00% of the dense operations")


# A network, and counts of part of the data.


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.norm, self.b = nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Linear(32, 4)
        self.lif = LIF(v_threshold=0.4)
        self.norm.running_mean.fill_(0.3)
        self.norm.running_var.fill_(0.2)

    def forward(self, x):
        return over_time(self.b, self.lif(over_time(lambda y: self.norm(self.a(y)), x)))


def test_counts_of_one_batch_and_of_training_mode():
    """A rate from the first batch, or with the statistics of a batch instead of the stored ones, is traced to them."""
    model, generator = Net().eval(), torch.Generator().manual_seed(0)
    batches = [torch.rand(T, 6, 16, generator=generator) * (1 + i) for i in range(4)]
    counts, first = compiler.count(model, batches), compiler.count(model, batches[:1])
    trained = Net()
    x = torch.cat(batches, 1)
    with torch.no_grad():
        y = over_time(trained.a, x).flatten(0, 1)
        trained.norm.running_mean.copy_(y.mean(0))
        trained.norm.running_var.copy_(y.var(0, unbiased=False))
    training = compiler.count(trained.eval(), batches)
    others = {"the first batch": first, "training mode": training}
    for name, one in others.items():
        for what, unit in ((100 * rate(one), "%"), (one.total("synaptic_events"), "SOP"), (energy(one), "mJ")):
            found = explain(Claim(what, unit), counts, others=others, tolerance=1e-9)
            assert f"counts of {name}" in [e.name for e in found], (name, unit)
    assert explain(Claim(100 * rate(counts), "%"), counts, others=others, tolerance=1e-9)[0].name == "exact count"


def rate(counts):
    return counts.total("spikes") / counts.total("neuron_updates")


def energy(counts):
    return mj(counts.total("mac"), counts.total("ac"))


# Reading a claim.


@pytest.mark.parametrize(
    ("text", "value", "unit", "base"),
    [
        ("7.46 mJ", 7.46, "mJ", 7.46e-3),
        ("7.46mJ", 7.46, "mJ", 7.46e-3),
        ("3.09e-7 J", 3.09e-7, "J", 3.09e-7),
        (" .5 µJ ", 0.5, "µJ", 5e-7),
        ("5.9 GSOPs", 5.9, "GSOPs", 5.9e9),
        ("12%", 12.0, "%", 0.12),
        ("37×", 37.0, "×", 37.0),
    ],
)
def test_a_claim_is_read(text, value, unit, base):
    claim = read_claim(text)
    assert (claim.value, claim.unit, claim.base) == (value, unit, pytest.approx(base))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("7.46", "has no unit; give an energy"),
        ("mJ", "is no number with a unit"),
        ("", "is no number with a unit"),
        ("7,46 mJ", "is no number with a unit"),
        ("7.46 mj", "no unit is called 'mj'"),
        ("7.46 W", "no unit is called 'W'"),
        ("0 mJ", "must be positive"),
        ("-1 mJ", "must be positive"),
    ],
)
def test_a_bad_claim_is_one_line(text, says):
    with pytest.raises(InvalidArgumentError, match=says) as caught:
        read_claim(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_all_explanations_are_there_for_the_asking():
    found = explain(Claim(1.0, "mJ"), COUNTS, tolerance=math.inf)
    assert {one.name for one in found} == {*ERRORS, *PRICED, "exact count", "papers' formula"}
    assert explain(Claim(1.0, "mJ"), COUNTS) == []
