"""Constants that nobody checked are named, and refused in strict mode, where an answer hangs on them and only there."""

import pytest

from hw.counts import Counts, LayerCounts
from hw.energy.model import EnergyModel, EstimateError
from hw.quantity import Quantity

MODEL = EnergyModel(
    name="made up",
    title="made up",
    precision="none",
    scope="nothing",
    constants={
        "E_a": Quantity(1.0, "pJ", "a source"),
        "E_b": Quantity(2.0, "pJ", "a rumour", confirmed=False),
        "E_c": Quantity(3.0, "pJ", "another rumour", confirmed=False),
    },
    formulas={"events": "E_a and E_b", "MACs": "E_c"},
    price=lambda layer, counts, v: {"events": layer.ac * (v["E_a"] + v["E_b"]), "MACs": layer.mac * v["E_c"]},
)


def counts(**numbers):
    return Counts((LayerCounts("a", "linear", "synapse", "binary", "real", **numbers),), 1, 1)


@pytest.mark.parametrize(
    ("numbers", "assumed"), [({"ac": 5.0}, ("E_b",)), ({"mac": 5.0}, ("E_c",)), ({}, ()), ({"ac": 1, "mac": 1}, None)]
)
def test_only_what_the_answer_hangs_on_is_assumed(numbers, assumed):
    assumed = ("E_b", "E_c") if assumed is None else assumed
    assert MODEL.estimate(counts(**numbers)).assumed == assumed
    if assumed:
        with pytest.raises(EstimateError, match=f"{', '.join(assumed)} was not checked"):
            MODEL.estimate(counts(**numbers), strict=True)
    else:
        assert MODEL.estimate(counts(**numbers), strict=True).total.nominal == 0
