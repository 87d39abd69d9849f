"""45 nm in 16-bit floating point and 8-bit integers: the table's numbers, and nothing else differs from fp32."""

import pytest

from hw.counts import Counts, LayerCounts
from hw.energy import MODELS

COUNTS = Counts(
    (
        LayerCounts("stem", "conv", "synapse", "real", "real", mac=1000.0, bias_adds=50.0),
        LayerCounts("lif", "lif", "neuron", "real", "binary", spikes=30.0, neuron_updates=200.0),
        LayerCounts("body", "conv", "synapse", "binary", "real", ac=600.0, shift_adds=100.0, synaptic_events=700.0),
        LayerCounts("scale", "mul", "elementwise", "real", "real", multiplies=10.0),
    ),
    4,
    1,
    neuron_operations={"lif": (1, 2, 1)},
)


@pytest.mark.parametrize(
    ("name", "mul", "add"), [("45nm", 3.7, 0.9), ("45nm-fp16", 1.1, 0.4), ("45nm-int8", 0.2, 0.03)]
)
def test_the_same_counts_at_the_tables_energies(name, mul, add):
    energy = MODELS[name].estimate(COUNTS)
    got = {part.name: part.energy.to("pJ").nominal for part in energy.parts}
    assert got == pytest.approx(
        {
            "multiply-accumulates": 1000 * (mul + add),
            "accumulates": 700 * add,
            "neuron updates": 200 * (mul + 3 * add),
            "multiplications": 10 * mul,
            "biases, adds, comparisons": 50 * add,
        },
        rel=1e-12,
    )


def test_8_bit_sums_may_need_32_bits():
    energy = MODELS["45nm-int8"].estimate(COUNTS)
    parts = {part.name: part.energy.to("pJ") for part in energy.parts}
    assert (parts["accumulates"].low, parts["accumulates"].high) == pytest.approx((700 * 0.03, 700 * 0.1), rel=1e-12)
    assert parts["multiply-accumulates"].high == pytest.approx(1000 * 0.3, rel=1e-12)
    assert {"E_AC", "E_MAC", "E_add"} <= {driver.name for driver in energy.drivers}


def test_precision_is_told():
    assert [MODELS[name].precision for name in ("45nm", "45nm-fp16", "45nm-int8")] == ["fp32", "fp16", "int8"]
