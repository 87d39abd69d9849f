"""Arithmetic only, 45 nm, 32-bit floating point: the model of most spiking-network papers, with its gaps made visible.

    E = E_MAC·(MACs) + E_AC·(ACs + bias adds + adds + comparisons) + E_mul·(multiplications)
        + Σ_neurons updates·(m·E_mul + a·E_add)

| symbol | meaning | value |
|---|---|---|
| E_mul, E_add | one 32-bit floating-point multiplication, addition | 3.7 pJ, 0.9 pJ |
| E_MAC | multiply-accumulate, E_mul + E_add | 4.6 pJ |
| E_AC | accumulate, E_add; an event of a power of two is one as well: it changes the exponent | 0.9 pJ |
| m, a | multiplications and additions (comparisons included) of one neuron update | by dynamics |

The interval covers what papers disagree about, not the constants, for which one source gives one number each:
low leaves neuron updates, biases, plain adds and multiplications out (the published formula E_MAC·FL + E_AC·SOP, arXiv
2209.15425) and charges a first layer with constant input once; nominal counts all that is executed; high charges that
first layer at every step. Memory, routing and static power are in none of them. Divisions, exponentials and roots
have no constant in the source: layers that need them are named, and the estimate is a lower bound.

Source of the constants: M. Horowitz, ISSCC 2014, as tabulated in PMC8934428, Table 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hw.counts import Counts, LayerCounts
from hw.energy.constants import FP32
from hw.energy.model import FIRST_LAYER, Choice, EnergyModel, Values, charged
from hw.energy.scope import NO_PRICE, layers_with, unknown_neurons

MAC, AC = FP32.mac, FP32.ac

_ENDS = {
    "low": "MACs and ACs of layers with weights; a layer whose input never changes is charged once",
    "nominal": "all executed arithmetic: also neuron updates, biases, residual adds and pooling",
    "high": "as nominal, but a layer whose input never changes is charged at every time step",
}

FORMULAS = {
    "multiply-accumulates": "MACs × E_MAC",
    "accumulates": "(ACs + shifted adds) × E_AC",
    "neuron updates": "updates × (multiplications × E_mul + additions and comparisons × E_add)",
    "multiplications": "multiplications outside of layers with weights × E_mul",
    "biases, adds, comparisons": "(bias adds + residual and pooling adds + activation comparisons) × E_add",
}

CHOICES = {
    "first layer": FIRST_LAYER,
    "updates and adds": Choice(
        "neuron updates, biases, plain adds and multiplications are left out (0) or charged (1)", 0.0, 1.0, 1.0
    ),
}


def unpriced(counts: Counts) -> Sequence[str]:
    """Return the names of the layers that do what has no price in the source."""
    return list(dict.fromkeys([*unknown_neurons(counts, counts.neuron_operations), *layers_with(counts, NO_PRICE)]))


def price(layer: LayerCounts, counts: Counts, values: Values) -> Mapping[str, float]:
    """Return pJ by part, for constants named E_MAC, E_AC, E_mul, E_add; parts with nothing to charge are left out."""
    often, all_ = charged(layer, values["first layer"]), values["updates and adds"]
    multiplications, additions, comparisons = counts.neuron_operations.get(layer.op, (0, 0, 0))
    update = multiplications * values["E_mul"] + (additions + comparisons) * values["E_add"]
    found = {
        "multiply-accumulates": layer.mac * values["E_MAC"] * often,
        # Counts of other origin give events without saying which are shifted.
        "accumulates": (layer.ac + layer.shift_adds) * values["E_AC"] * often,
        "neuron updates": layer.neuron_updates * update * all_,
        "multiplications": layer.multiplies * values["E_mul"] * all_ * often,
        "biases, adds, comparisons": (layer.bias_adds + layer.adds + layer.activations)
        * values["E_add"]
        * all_
        * often,
    }
    return {part: pj for part, pj in found.items() if pj or part != "multiplications"}


MODEL = EnergyModel(
    name="45nm",
    title="arithmetic only, 45 nm, 32-bit floating point",
    precision="fp32",
    scope="arithmetic; left out are memory, routing, static power, divisions, exponentials and roots",
    constants=FP32.constants(),
    formulas=FORMULAS,
    price=price,
    technology_nm=45,
    choices=CHOICES,
    unpriced=unpriced,
    ends=_ENDS,
)
