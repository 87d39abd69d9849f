"""45 nm with memory: prices by size, reuse between its two ends, DRAM only where it is asked for.

Would break it: bits for bytes, reuse that raises an energy, a state read once for all steps, DRAM for what fits.
"""

import dataclasses

import pytest

from hw.counts import Counts, LayerCounts
from hw.energy.constants import bits_of, sram_price
from hw.energy.memory_45nm import INT8_MODEL, MODEL, between

PRICES = {"E_8KiB": 10.0, "E_32KiB": 20.0, "E_1MiB": 100.0}
KIB = 1024


@pytest.mark.parametrize(
    ("stored", "pj"), [(0, 10), (100, 10), (8 * KIB, 10), (20 * KIB, 15), (32 * KIB, 20), (528 * KIB, 60)]
)
def test_a_memory_is_priced_by_what_it_holds(stored, pj):
    assert sram_price(stored, PRICES) == pytest.approx(pj, rel=1e-12)


@pytest.mark.parametrize("stored", [1024 * KIB, 1025 * KIB, 1e9])
def test_more_than_a_mebibyte_lies_in_memories_of_one(stored):
    assert sram_price(stored, PRICES) == 100


@pytest.mark.parametrize(
    ("signal", "bits"),
    [
        ("binary", 1),
        ("binary×0.5", 1),
        ("signed", 2),
        ("integer[0,1]", 1),
        ("integer[0,4]", 3),
        ("integer[-8,7]×1/9", 4),
        ("integer[0,8]", 4),
        ("integer[0,0]", 1),
        ("pow2[0]", 2),
        ("pow2[2]", 3),
        ("real", 32),
        ("", 32),
    ],
)
def test_bits_of_a_signal(signal, bits):
    assert bits_of(signal, 32) == bits


@pytest.mark.parametrize(
    ("once", "each", "lost", "accesses"),
    [(4, 100, 0, 4), (4, 100, 1, 100), (4, 100, 0.5, 20), (200, 100, 0, 100), (0, 100, 0.5, 50), (0, 0, 0.5, 0)],
)
def test_reuse_between_its_ends(once, each, lost, accesses):
    assert between(once, each, lost) == pytest.approx(accesses, rel=1e-12)


def conv(**numbers):
    given = {
        "mac": 1600.0,
        "effective_macs": 1600.0,
        "bias_adds": 0.0,
        "weight_fetches": 1600.0,
        "weight_reads": 16.0,
        "activation_reads": 100.0,
        "activation_writes": 100.0,
        "weights": 16,
        "inputs": 100,
        "outputs": 100,
    }
    return LayerCounts("conv", "conv", "synapse", "real", "real", **{**given, **numbers})


def pj(model, *layers, steps=1):
    parts = model.estimate(Counts(layers, steps, 1, (), {"lif": (1, 2, 1)})).parts
    return {part.name: part.energy.to("pJ") for part in parts}


def test_an_ordinary_layer_by_hand():
    got = pj(MODEL, conv())
    access = 10 * 32 / 64
    weight, activation, sums = got["weight memory"], got["activation memory"], got["sum memory"]
    assert (weight.low, weight.nominal, weight.high) == pytest.approx((16 * access, 160 * access, 1600 * access))
    assert (activation.low, activation.nominal, activation.high) == pytest.approx(
        (100 * access, 400 * access, 1600 * access)
    )
    assert (sums.low, sums.high) == pytest.approx((100 * access, 3200 * access))
    assert got["multiply-accumulates"].nominal == pytest.approx(1600 * 4.6)


def test_eight_bits_take_a_quarter_of_the_weight_traffic_and_sums_of_16():
    wide, narrow = pj(MODEL, conv()), pj(INT8_MODEL, conv())
    assert narrow["weight memory"].nominal == pytest.approx(wide["weight memory"].nominal / 4)
    assert narrow["activation memory"].nominal == pytest.approx(wide["activation memory"].nominal / 4)
    assert narrow["sum memory"].nominal == pytest.approx(wide["sum memory"].nominal / 2)
    assert narrow["multiply-accumulates"].nominal == pytest.approx(1600 * 0.23)


def test_events_are_one_bit_wide_and_add_into_sums():
    """100 events reach 400 weights: one fetch each, and without reuse each sum is read and written back."""
    spikes = dataclasses.replace(
        conv(mac=0.0, effective_macs=0.0, ac=400.0, synaptic_events=400.0, input_events=100.0, weight_fetches=400.0),
        input_type="binary",
    )
    got = pj(MODEL, spikes)
    access = 10 * 32 / 64
    assert got["activation memory"].high == pytest.approx(100 * 10 / 64)
    assert got["weight memory"].high == pytest.approx(400 * access)
    assert got["sum memory"].high == pytest.approx(800 * access)


def test_few_events_fetch_fewer_weights_than_there_are():
    few = dataclasses.replace(
        conv(mac=0.0, effective_macs=0.0, ac=3.0, synaptic_events=3.0, weight_fetches=3.0), input_type="binary"
    )
    weight = pj(MODEL, few)["weight memory"]
    assert (weight.low, weight.nominal, weight.high) == pytest.approx((15, 15, 15))


def test_states_are_read_and_written_once_an_update_whatever_the_reuse():
    neuron = LayerCounts(
        "n", "lif", "neuron", "real", "binary", neuron_updates=400.0, state_reads=400.0, state_writes=400.0, states=100,
        inputs=100, outputs=100, spikes=0.0,
    )  # fmt: skip
    state = pj(MODEL, neuron, steps=4)["state memory"]
    assert (state.low, state.nominal, state.high) == pytest.approx((4000, 4000, 4000))
    assert pj(INT8_MODEL, neuron)["state memory"].nominal == pytest.approx(800 * 2.5)


@pytest.mark.parametrize(("weights", "high"), [(200_000, 16 * 80.4234), (300_000, 16 * 2600)])
def test_only_what_does_not_fit_on_the_chip_can_lie_in_dram(weights, high):
    counts = Counts((conv(weights=weights, weight_fetches=16.0),), 1, 1)
    energy = MODEL.estimate(counts)
    (weight,) = [part.energy.to("pJ") for part in energy.parts if part.name == "weight memory"]
    assert weight.high == pytest.approx(high * 32 / 64, rel=1e-4)
    assert weight.nominal <= 16 * 100 / 2
    assert energy.assumed == (("E_DRAM",) if weights > 262_144 else ())


def test_a_static_layer_is_charged_once_or_at_every_step():
    once, static = pj(MODEL, conv()), pj(MODEL, conv(static=True, static_repeats=4), steps=4)
    for name in ("weight memory", "activation memory", "sum memory"):
        assert static[name].nominal == once[name].nominal
        assert static[name].high == pytest.approx(4 * once[name].high)


def test_of_a_table_the_rows_that_are_looked_up_are_read():
    """Ten rows of eight numbers out of 1000: 80 numbers from 32 KB, whatever the reuse."""
    table = LayerCounts(
        "embedding", "lookup", "move", "integer[0,999]", "real",
        lookups=10.0, weights=8192, inputs=10, outputs=80, activation_reads=10.0, activation_writes=80.0,
    )  # fmt: skip
    weight = pj(MODEL, table)["weight memory"]
    assert (weight.low, weight.nominal, weight.high) == pytest.approx((80 * 10, 80 * 10, 80 * 10))


def test_values_that_change_place_cost_nothing_and_scope_says_so():
    move = LayerCounts("view", "reshape", "move", "real", "real", activation_reads=10.0, activation_writes=10.0)
    energy = MODEL.estimate(Counts((conv(), move), 1, 1))
    assert dict(energy.per_layer)["view"] == 0
    assert "change place" in energy.scope
