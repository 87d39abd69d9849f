"""Published energies of a synaptic operation: the numbers of their sources, their spread, and their nodes.

Would break it: a number taken from a blog, a spread hidden in one number, a number that was not checked and not marked.
"""

import pytest

from hw.counts import Counts, LayerCounts
from hw.energy import MODELS
from hw.energy.published import MODELS as CHIPS

COUNTS = Counts(
    (
        LayerCounts("fc", "linear", "synapse", "binary", "real", ac=1000.0, synaptic_events=1000.0),
        LayerCounts("lif", "lif", "neuron", "real", "binary", neuron_updates=50.0, resets=10.0, spikes=10.0),
    ),
    5,
    1,
)

# pJ an operation at the three ends, node in nm.
TABLE = {
    "odin": (12.7, 12.7, 12.7, 28),
    "truenorth": (2.5, 2.5, 26, 28),
    "tianjic": (1.54, 1.54, 1.54, 28),
    "reckon": (5.3, 5.3, 5.3, 28),
    "ubrain": (26, 26, 26, 40),
    "neuronflow": (20, 20, 20, 28),
    "seneca": (2.8, 2.8, 2.8, 22),
    "spinnaker1": (45, 45, 45, 130),
    "darwin3": (5.47, 5.47, 5.47, 22),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_synaptic_operation_costs_what_was_published(name):
    low, nominal, high, node = TABLE[name]
    energy = MODELS[name].estimate(COUNTS)
    total = energy.total.to("pJ")
    assert (total.low, total.nominal, total.high) == pytest.approx((1000 * low, 1000 * nominal, 1000 * high), rel=1e-12)
    assert energy.technology_nm == node
    assert f"{node} nm" in energy.title


def test_spinnaker2_is_45_times_apart_and_more_with_its_updates():
    energy = MODELS["spinnaker2"].estimate(COUNTS)
    total = energy.total.to("pJ")
    assert (total.low, total.nominal) == pytest.approx((10_000, 10_000), rel=1e-12)
    assert total.high == pytest.approx(1000 * 450 + 50 * 2190, rel=1e-12)
    assert {driver.name for driver in energy.drivers} == {"E_SOP", "E_update"}


def test_every_chip_is_in_the_table_and_in_the_registry():
    assert {model.name for model in CHIPS} == {*TABLE, "spinnaker2", "loihi2"}
    assert all(MODELS[model.name] is model for model in CHIPS)


@pytest.mark.parametrize("model", CHIPS, ids=lambda model: model.name)
def test_only_what_was_not_checked_is_assumed(model):
    assert model.assumed == (("E_SOP",) if model.name in ("truenorth", "darwin3", "loihi2") else ())


def test_an_interval_is_what_drives_it():
    (driver,) = MODELS["truenorth"].estimate(COUNTS).drivers
    assert (driver.name, driver.kind) == ("E_SOP", "constant")
    assert driver.high == pytest.approx(10.4 * driver.low, rel=1e-12)
