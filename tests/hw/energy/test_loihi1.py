"""Loihi 1: SANA-FE's additive costs to the digit, the published event energies, and refusals.

Would break it: one packet a synapse, hops of one direction at the other's price, every neuron active, nanoseconds.
"""

import dataclasses

import pytest

import hw
from hw.counts import Counts, LayerCounts, Traffic
from hw.energy.loihi1 import FORMATS, MAPPED, MODEL
from hw.energy.model import EstimateError

QUIET = Traffic("loihi1", 0.0, 0.0, 0.0, 0.0, 0.0, 1, 2, 10, 0.0, 0.0, 0.0)


def mapped(**numbers):
    counts = Counts((), 10, 1, traffic=dataclasses.replace(QUIET, **numbers))
    return {part.name: part.energy.to("pJ") for part in MAPPED.estimate(counts).parts}


@pytest.mark.parametrize(
    ("target", "pj"), [(1, 111.0), (4, 115.2), (16, 114.0), (20, 118.2), (127, 144.6)]
)  # what SANA-FE 2.2.9 says of one packet from core 0
def test_a_packet_costs_its_message_and_its_hops(target, pj):
    mesh = hw.get_chip("loihi1").mesh
    (x0, y0), (x1, y1) = mesh.position(0), mesh.position(target)
    got = mapped(packets=1.0, hops_east_west=float(abs(x1 - x0)), hops_north_south=float(abs(y1 - y0)))
    assert got["packets"].nominal + got["hops"].nominal == pytest.approx(pj, rel=1e-12)


def test_neurons_as_sanafe_charges_them():
    """Two neurons, ten steps: 20 accesses, 19 updates, 10 spikes are 2127.4 pJ."""
    got = mapped(neurons=2, steps=10, neuron_updates=19.0, fired=10.0)["neurons"]
    assert got.nominal == pytest.approx(2127.4, rel=1e-12)
    assert got.low == pytest.approx(20 * 51.2 + 10 * 21.6 + 10 * 69.3, rel=1e-12)


def test_a_run_on_four_cores_is_sanafes_to_seven_digits():
    """40 928 synaptic operations, 12 800 updates, 2 558 spikes, 10 135 packets: 1.37518, 1.10911 and 1.12499 µJ."""
    got = mapped(
        synaptic_events=40_928.0, neurons=256, steps=50, neuron_updates=12_800.0, fired=2_558.0, packets=10_135.0
    )
    assert got["synapses"].nominal == pytest.approx(1.3751808e6, rel=1e-9)
    assert got["neurons"].nominal == pytest.approx(12_800 * 72.8 + 2_558 * 69.3, rel=1e-12)
    assert got["neurons"].nominal == pytest.approx(1.1091094e6, rel=1e-9)
    assert got["packets"].nominal == pytest.approx(1.124985e6, rel=1e-9)


@pytest.mark.parametrize(("form", "pj"), FORMATS.items())
def test_synapses_cost_by_their_format(form, pj):
    assert mapped(synaptic_events=100.0, format=form)["synapses"].nominal == pytest.approx(100 * pj, rel=1e-12)


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        (None, "needs a network mapped on loihi1"),
        (dataclasses.replace(QUIET, chip="speck"), "not on speck"),
        (dataclasses.replace(QUIET, format="hashed"), "known are conv, sparse, dense"),
    ],
)
def test_what_was_not_mapped_is_refused_in_one_line(traffic, said):
    with pytest.raises(EstimateError, match=said) as caught:
        MAPPED.estimate(Counts((), 1, 1, traffic=traffic))
    assert "\n" not in str(caught.value)


LAYERS = (
    LayerCounts("fc", "linear", "synapse", "binary", "real", ac=100.0, synaptic_events=100.0, bias_adds=5.0),
    LayerCounts("lif", "lif", "neuron", "real", "binary", neuron_updates=50.0, resets=10.0, spikes=10.0),
)


def test_published_energies_of_events_by_hand():
    energy = MODEL.estimate(Counts(LAYERS, 5, 1))
    got = {part.name: part.energy.to("pJ") for part in energy.parts}
    synapses, neurons = got["synapses"], got["neurons"]
    assert (synapses.low, synapses.nominal, synapses.high) == pytest.approx((2360, 2360, 3550), rel=1e-12)
    assert neurons.low == pytest.approx(10 * 81 + 40 * 52, rel=1e-12)
    assert neurons.nominal == pytest.approx(30 * 81 + 20 * 52, rel=1e-12)
    assert neurons.high == pytest.approx(50 * 81, rel=1e-12)
    assert energy.uncounted == ()
    assert energy.assumed == ()


def test_the_synaptic_energy_is_not_the_sum_of_an_energy_and_a_time():
    assert MODEL.constants["E_syn"].value == 23.6
    assert not any(abs(quantity.value - 27.1) < 0.01 for quantity in MODEL.constants.values())


@pytest.mark.parametrize("what", ["mac", "multiplies", "adds", "activations", "divisions", "exponentials", "roots"])
def test_what_loihi_does_not_do_is_named(what):
    other = LayerCounts("other", "x", "elementwise", "real", "real", **{what: 3.0})
    energy = MODEL.estimate(Counts((*LAYERS, other), 5, 1))
    assert energy.uncounted == ("other",)
    with pytest.raises(EstimateError, match="no price for all of other"):
        MODEL.estimate(Counts((*LAYERS, other), 5, 1), strict=True)
