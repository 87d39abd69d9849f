"""Arithmetic only, 45 nm, 32-bit floating point: the model of most spiking-network papers, with its gaps made visible.

    E = E_MAC·(MACs) + E_AC·(ACs + bias adds + adds + comparisons) + E_mul·(multiplications)
        + Σ_neurons updates·(m·E_mul + a·E_add)

| symbol | meaning | value |
|---|---|---|
| E_mul, E_add | one 32-bit floating-point multiplication, addition | 3.7 pJ, 0.9 pJ |
| E_MAC | multiply-accumulate, E_mul + E_add | 4.6 pJ |
| E_AC | accumulate, E_add | 0.9 pJ |
| m, a | multiplications and additions (comparisons included) of one neuron update | by dynamics |

The interval covers what papers disagree about, not the constants, for which one source gives one number each:
low leaves neuron updates, biases, plain adds and multiplications out (the published formula E_MAC·FL + E_AC·SOP, arXiv
2209.15425) and charges a first layer with constant input once; nominal counts all that is executed; high charges that
first layer at every step. Memory, routing and static power are in none of them. Divisions, exponentials and roots
have no constant in the source: layers that need them are named, and the estimate is a lower bound.

Source of the constants: M. Horowitz, ISSCC 2014, as tabulated in PMC8934428, Table 3.
"""

from __future__ import annotations

from hw.counts import Counts, LayerCounts
from hw.energy.model import Energy, EnergyModel, Part
from hw.quantity import Interval, Quantity

_SOURCE = "Horowitz, ISSCC 2014 (45 nm, 0.9 V), as tabulated in PMC8934428, Table 3"
MULTIPLY = Quantity(3.7, "pJ", _SOURCE)
ADD = Quantity(0.9, "pJ", _SOURCE)
MAC = Quantity(4.6, "pJ", _SOURCE)
AC = Quantity(0.9, "pJ", _SOURCE)

_NO_PRICE = ("divisions", "exponentials", "roots")
_UNIT = "uJ"
_TITLE = "arithmetic only, 45 nm, 32-bit floating point"
_ENDS = {
    "low": "MACs and ACs of layers with weights; a layer whose input never changes is charged once",
    "nominal": "all executed arithmetic: also neuron updates, biases, residual adds and pooling",
    "high": "as nominal, but a layer whose input never changes is charged at every time step",
}


def _update_cost(layer: LayerCounts, counts: Counts) -> Interval:
    multiplications, additions, comparisons = counts.neuron_operations.get(layer.op, (0, 0, 0))
    one = MULTIPLY.interval.times(*[multiplications] * 3) + ADD.interval.times(*[additions + comparisons] * 3)
    return one.times(0.0, layer.neuron_updates, layer.neuron_updates)


def _unpriced(counts: Counts) -> list[str]:
    """Names of the layers that do what has no price here."""
    known = counts.neuron_operations
    return [
        layer.name
        for layer in counts.per_layer
        if (layer.neuron_updates and layer.op not in known) or any(getattr(layer, what) for what in _NO_PRICE)
    ]


def _layer_parts(layer: LayerCounts, counts: Counts) -> dict[str, Interval]:
    repeats = layer.static_repeats if layer.static else 1
    other = layer.bias_adds + layer.adds + layer.activations
    return {
        "multiply-accumulates": MAC.interval.times(layer.mac, layer.mac, layer.mac * repeats),
        "accumulates": AC.interval.times(layer.ac, layer.ac, layer.ac * repeats),
        "neuron updates": _update_cost(layer, counts),
        "multiplications": MULTIPLY.interval.times(0.0, layer.multiplies, layer.multiplies * repeats),
        "biases, adds, comparisons": ADD.interval.times(0.0, other, other * repeats),
    }


_FORMULAS = {
    "multiply-accumulates": "MACs × E_MAC",
    "accumulates": "ACs × E_AC",
    "multiplications": "multiplications outside of layers with weights × E_mul",
    "neuron updates": "updates × (multiplications × E_mul + additions and comparisons × E_add)",
    "biases, adds, comparisons": "(bias adds + residual and pooling adds + activation comparisons) × E_add",
}


def _estimate(counts: Counts) -> Energy:
    by_layer = [(layer.name, _layer_parts(layer, counts)) for layer in counts.per_layer]
    parts = []
    for name, formula in _FORMULAS.items():
        total = Interval(0.0, 0.0, 0.0, "pJ")
        for _, layer_parts in by_layer:
            total = total + layer_parts[name]
        if name == "multiplications" and total.high == 0:
            continue  # spiking networks have none
        parts.append(Part(name, total.to(_UNIT), formula))
    whole = Interval(0.0, 0.0, 0.0, _UNIT)
    for part in parts:
        whole = whole + part.energy
    per_layer = tuple(
        (name, sum(interval.to(_UNIT).nominal for interval in layer_parts.values())) for name, layer_parts in by_layer
    )
    constants = {"E_mul fp32": MULTIPLY, "E_add fp32": ADD, "E_MAC fp32": MAC, "E_AC fp32": AC}
    uncounted = (*counts.uncounted, *_unpriced(counts))
    return Energy(MODEL.name, _TITLE, whole, tuple(parts), per_layer, _ENDS, constants, uncounted)


MODEL = EnergyModel("45nm", _TITLE, _estimate)
