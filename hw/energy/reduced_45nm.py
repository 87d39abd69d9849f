"""Arithmetic only, 45 nm, in 16-bit floating point and in 8-bit integers: ``45nm`` with narrower numbers.

    E = E_MAC·(MACs) + E_AC·(ACs + bias adds + adds + comparisons) + E_mul·(multiplications)
        + Σ_neurons updates·(m·E_mul + a·E_add)

| symbol | meaning | fp16 | int8 |
|---|---|---|---|
| E_mul | one multiplication | 1.1 pJ | 0.2 pJ |
| E_add, E_AC | one addition, one accumulate | 0.4 pJ | 0.03 pJ, up to 0.1 pJ in 32 bits |
| E_MAC | multiply-accumulate | 1.5 pJ | 0.23 pJ, up to 0.3 pJ with a 32-bit sum |
| m, a | multiplications and additions (comparisons included) of one neuron update | by dynamics | |

To put 32-bit MACs of an ordinary network beside the accumulates of a spiking one whose weights would have 8 bits on a
chip is one of the field's errors: compare within one precision. The counts are those of the network as it is: that it
still works with narrow numbers is for an accuracy to show.

Left out are memory, routing, static power, rounding and scaling between layers, and divisions, exponentials and roots,
whose layers are named. What the two ends mean is as in ``45nm``; for int8 the upper end also accumulates in 32 bits.

Source of the constants: M. Horowitz, ISSCC 2014, as tabulated in PMC8934428, Table 3.
"""

from __future__ import annotations

from hw.energy.arithmetic_45nm import CHOICES, FORMULAS, price, unpriced
from hw.energy.constants import FP16, INT8, Arithmetic
from hw.energy.model import EnergyModel

_ENDS = {
    "low": "MACs and ACs of layers with weights; a layer whose input never changes is charged once",
    "nominal": "all executed arithmetic: also neuron updates, biases, residual adds and pooling",
    "high": "as nominal, with a layer whose input never changes charged at every step, and (int8) 32-bit sums",
}


def _model(name: str, precision: str, words: str, arithmetic: Arithmetic) -> EnergyModel:
    return EnergyModel(
        name=name,
        title=f"arithmetic only, 45 nm, {words}",
        precision=precision,
        scope="arithmetic; left out are memory, routing, static power, divisions, exponentials and roots",
        constants=arithmetic.constants(),
        formulas=FORMULAS,
        price=price,
        technology_nm=45,
        choices=CHOICES,
        unpriced=unpriced,
        ends=_ENDS,
    )


FP16_MODEL = _model("45nm-fp16", "fp16", "16-bit floating point", FP16)
INT8_MODEL = _model("45nm-int8", "int8", "8-bit integers", INT8)
MODELS = (FP16_MODEL, INT8_MODEL)
