"""Break-even rates by hand, and what may stand side by side.

Would break it: a rate off by the factor of its events, updates that scale with spikes, a layer compared with another of
the twin, processes of different nm divided by one another without a word.
"""

from dataclasses import replace

import pytest

import hw
from hw.counts import Counts, LayerCounts
from hw.energy.model import EstimateError

OPERATIONS = {"lif": (1, 2, 1)}


def conv(**numbers):
    given = {"inputs": 100, "evaluations": 4, "input_events": 40.0, "ac": 360.0, "synaptic_events": 360.0}
    return LayerCounts("conv", "conv", "synapse", "binary", "real", **{**given, **numbers})


def neurons(**numbers):
    given = {"spikes": 40.0, "resets": 40.0, "neuron_updates": 400.0, "neurons": 100, "rate": 0.1}
    return LayerCounts("lif", "lif", "neuron", "real", "binary", **{**given, **numbers})


def twin(macs=900.0):
    layers = (
        LayerCounts("lif", "relu", "activation", "real", "real", activations=100.0),
        LayerCounts("conv", "conv", "synapse", "real", "real", mac=macs, dense_macs=macs),
    )
    return Counts(layers, 1, 3)


SPIKING = Counts((neurons(), conv()), 4, 3, (), OPERATIONS)


def test_break_even_of_a_layer_by_hand():
    """360 accumulates at a rate of .1; 900 MACs of 4.6 pJ are 4600 accumulates of .9: 12.78 times as many."""
    found = hw.energy.break_even(hw.energy.MODELS["45nm"], SPIKING, twin())
    rate, measured = found.per_layer["conv"]
    assert measured == pytest.approx(0.1, rel=1e-12)
    assert rate == pytest.approx(0.1 * (900 * 4.6) / (360 * 0.9), rel=1e-12)


def test_break_even_of_the_network_charges_updates_that_no_spike_makes():
    """Updates: 400 · (3.7 + 3 · .9) pJ whatever fires; the twin's 100 comparisons are its own."""
    found = hw.energy.break_even(hw.energy.MODELS["45nm"], SPIKING, twin())
    updates, other = 400 * (3.7 + 3 * 0.9), 900 * 4.6 + 100 * 0.9
    assert found.measured == pytest.approx(0.1, rel=1e-12)
    assert found.rate == pytest.approx(0.1 * (other - updates) / (360 * 0.9), rel=1e-12)


def test_no_rate_is_low_enough_where_updates_alone_take_more():
    found = hw.energy.break_even(hw.energy.MODELS["45nm"], SPIKING, twin(100.0))
    assert found.rate == 0
    assert found.per_layer["conv"][0] > 0


def test_at_the_break_even_rate_both_take_the_same():
    model = hw.energy.MODELS["45nm"]
    found = hw.energy.break_even(model, SPIKING, twin())
    m = found.rate / found.measured
    busy = replace(SPIKING, per_layer=(neurons(), conv(ac=360 * m, synaptic_events=360 * m)))
    assert model.estimate(busy).total.nominal == pytest.approx(model.estimate(twin()).total.nominal, rel=1e-12)


def test_a_network_without_events_has_none():
    silent = Counts((neurons(spikes=0.0, resets=0.0), conv(ac=0.0, synaptic_events=0.0, input_events=0.0)), 4, 3)
    silent = replace(silent, neuron_operations=OPERATIONS)
    found = hw.energy.break_even(hw.energy.MODELS["45nm"], silent, twin())
    assert found.rate is None
    assert found.per_layer["conv"] == (None, 0.0)


# Side by side.


def test_ratios_by_hand():
    own, other = (hw.energy.estimate(counts) for counts in (SPIKING, twin()))
    found = hw.energy.compare({"network": own, "twin": other})["twin"]
    assert found.nominal == pytest.approx(other.total.nominal / own.total.nominal, rel=1e-12)
    assert found.low == pytest.approx(other.total.low / own.total.high, rel=1e-12)
    assert found.high == pytest.approx(other.total.high / own.total.low, rel=1e-12)
    assert found.decided == (found.low > 1)


def test_mixed_nodes_are_refused_unless_asked():
    """45 nm arithmetic for the one and a 14 nm chip for the other: the ratio would be of the processes."""
    mixed = {"twin": hw.energy.estimate(twin()), "network": hw.energy.estimate(SPIKING, "loihi1")}
    with pytest.raises(EstimateError, match=r"twin 45 nm, network 14 nm.*allow mixed nodes"):
        hw.energy.compare(mixed)
    assert hw.energy.compare(mixed, allow_mixed_nodes=True)["network"].nominal > 0


def test_one_estimate_is_no_comparison():
    with pytest.raises(EstimateError, match="two estimates"):
        hw.energy.compare([hw.energy.estimate(SPIKING)])


def test_strict_refuses_what_was_not_checked():
    assert hw.energy.estimate(SPIKING, "truenorth").assumed
    with pytest.raises(EstimateError, match="not checked against its source"):
        hw.energy.estimate(SPIKING, "truenorth", strict=True)
    assert hw.energy.estimate(SPIKING, "45nm", strict=True).total.nominal > 0


def test_a_ratio_with_a_lower_bound_says_so_and_decides_nothing():
    norm = LayerCounts("s", "layer_norm", "norm", "real", "real", roots=9)
    other = replace(twin(), per_layer=(*twin().per_layer, norm))
    found = hw.energy.compare({"ours": hw.energy.estimate(SPIKING), "theirs": hw.energy.estimate(other)})["theirs"]
    assert found.lower_bound == ("theirs",)
    assert not found.decided


def test_a_model_goes_by_its_name_or_as_itself():
    model = hw.energy.MODELS["45nm"]
    assert hw.energy.estimate(SPIKING, model) == hw.energy.estimate(SPIKING, "45nm")
    assert hw.energy.break_even("45nm", SPIKING, twin()) == hw.energy.break_even(model, SPIKING, twin())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: hw.energy.estimate(SPIKING, None), "the energy model is a NoneType"),
        (lambda: hw.energy.break_even(SPIKING, "45nm", twin()), "the energy model is a Counts"),
        (lambda: hw.energy.break_even("45mm", SPIKING, twin()), "Did you mean '45nm'"),
        (lambda: hw.energy.estimate("45nm", SPIKING), "the energy model is a Counts"),
        (lambda: hw.energy.estimate({"mac": 3}), "prices Counts, as compiler.count returns, not a dict"),
        (lambda: hw.energy.break_even("45nm", SPIKING, None), "not a NoneType"),
        (lambda: hw.energy.break_even("45nm", None, twin()), "not a NoneType"),
    ],
)
def test_what_is_no_model_or_no_counts_gets_one_line(call, said):
    with pytest.raises((EstimateError, LookupError), match=said) as caught:
        call()
    assert caught.value.user_error
    assert "\n" not in str(caught.value)


def test_constants_that_move_nothing_are_no_drivers():
    """SPIKING has no layer whose input stays as it is: how often such a one is charged moves nothing."""
    energy = hw.energy.estimate(SPIKING, "45nm")
    assert energy.unmoved == ("first layer",)
    assert [driver.name for driver in energy.drivers] == ["updates and adds"]
