"""Arithmetic and memory, 45 nm: what is computed, and every number that is fetched or stored for it.

    E = E_arithmetic + Σ_memories accesses · (bits / 64) · E_size(bytes stored)

    accesses = once^(1−r) · each^r        (0 ≤ r ≤ 1)

| symbol | meaning | value |
|---|---|---|
| E_arithmetic | as in ``45nm`` (fp32) or ``45nm-int8`` | |
| E_size | one 64-bit access to an SRAM of the size of what it holds: 8 KiB, 32 KiB, 1 MiB | 10, 20, 100 pJ |
| bits | of one number: weights and real activations 32 (8), states and partial sums 32 (16), events by type | |
| once | accesses where every number is read once an evaluation: all reuse that there is | counted |
| each | accesses where every operation fetches what it needs: no reuse | counted |
| r | share of the reuse, in octaves, that is lost | 0, ½, 1 |

Three memories a layer. Weights: once = each stored number an evaluation, or each operation where that is less; each =
one fetch an operation; of a table, the rows looked up. Activations: values that come in, zeros included, a binary one
1 bit wide; without reuse one more fetch for every MAC. Sums: every output stored once; without reuse, each accumulate
reads and writes its sum. States of neurons are read and written once an update, whatever the reuse: nothing else holds
them between steps.

Between the sizes the price follows straight lines; below 8 KiB that of 8 KiB holds. What needs more than 1 MiB lies in
memories of 1 MiB; with the choice "off chip" at its upper end, it lies in DRAM (1.3 to 2.6 nJ for 64 bits, not checked
against its source and thus named as assumed where it counts). The nominal r = ½ is the geometric middle, the same for
a spiking and an ordinary network; no source gives a number. ``lemaire2022`` is this idea at r = 1, ``yan2024`` at
r = 0 for an ordinary network and 1 for a spiking one.

Left out: values that only change place, what fusing neighbouring layers saves, addressing, routing, static power, and
that memory allocated is larger than memory used. Divisions, exponentials and roots have no price: named.

Source: M. Horowitz, ISSCC 2014, as tabulated in PMC8934428, Table 3, and the same paper's figure of memories.
"""

from __future__ import annotations

from collections.abc import Mapping

from hw.counts import Counts, LayerCounts
from hw.energy import arithmetic_45nm
from hw.energy.constants import DRAM, FP32, INT8, LARGEST_SRAM, SRAM, Arithmetic, bits_of, sram_price
from hw.energy.model import Choice, EnergyModel, Price, Values, charged
from hw.energy.scope import without_memory

_ACCESS_BITS = 64

_ENDS = {
    "low": "MACs and ACs of layers with weights; every number is read once an evaluation, all of it on the chip",
    "nominal": "all executed arithmetic; half of the reuse, in octaves; all memory on the chip",
    "high": "one fetch for every operation; what needs more than 1 MiB lies in DRAM; first layer at every step",
}

_CHOICES = {
    **arithmetic_45nm.CHOICES,
    "lost reuse": Choice(
        "every number is read once an evaluation (0), or fetched for every operation (1); between: geometric mean",
        0.0,
        0.5,
        1.0,
    ),
    "off chip": Choice("share of what needs more than 1 MiB that lies in DRAM", 0.0, 0.0, 1.0),
}

_FORMULAS = {
    **arithmetic_45nm.FORMULAS,
    "weight memory": "weights fetched × bits/64 × E_size(bytes of weights)",
    "activation memory": "values read × bits/64 × E_size(bytes of inputs)",
    "sum memory": "outputs stored, or sums read and written at each operation × bits/64 × E_size(bytes of outputs)",
    "state memory": "(state reads + writes) × bits/64 × E_size(bytes of states)",
}


def between(once: float, each: float, lost: float) -> float:
    """Return the geometric mean of two counts of accesses, by the share of reuse that is ``lost``."""
    least, most = min(once, each), each
    return least ** (1 - lost) * most**lost if least > 0 else most * lost


def _access(numbers: float, bits: int, values: Values) -> float:
    """pJ of one number of ``bits`` in a memory that holds ``numbers`` of them."""
    stored = numbers * bits / 8
    on_chip = sram_price(stored, values)
    if stored > LARGEST_SRAM:
        on_chip += values["off chip"] * (values["E_DRAM"] - on_chip)
    return on_chip * bits / _ACCESS_BITS


def _memory(layer: LayerCounts, values: Values, weight_bits: int, state_bits: int) -> dict[str, float]:
    """pJ of each memory for one evaluation of a static layer, or for all of another."""
    if layer.kind == "move" and not layer.lookups:
        return {}
    lost, operations = values["lost reuse"], layer.mac + layer.ac + layer.shift_adds
    in_bits, out_bits = bits_of(layer.input_type, weight_bits), bits_of(layer.output_type, weight_bits)
    if layer.kind in ("synapse", "product") and out_bits == weight_bits:
        out_bits = state_bits  # a sum, before anything narrows it
    reads, writes = layer.activation_reads, layer.activation_writes
    # Of a table, the rows that are looked up are read.
    fetched = writes if layer.lookups else between(layer.weight_reads, layer.weight_fetches, lost)
    return {
        "weight memory": fetched * _access(layer.weights or layer.inputs, weight_bits, values),
        "activation memory": between(reads, max(reads, layer.mac), lost) * _access(layer.inputs, in_bits, values),
        "sum memory": between(writes, max(writes, 2 * operations), lost) * _access(layer.outputs, out_bits, values),
        "state memory": (layer.state_reads + layer.state_writes) * _access(layer.states, state_bits, values),
    }


def _price(weight_bits: int, state_bits: int) -> Price:
    def price(layer: LayerCounts, counts: Counts, values: Values) -> Mapping[str, float]:
        often = charged(layer, values["first layer"])
        memory = _memory(layer, values, weight_bits, state_bits)
        return {
            **arithmetic_45nm.price(layer, counts, values),
            **{part: pj * often for part, pj in memory.items()},
        }

    return price


def _model(name: str, precision: str, arithmetic: Arithmetic, weight_bits: int, state_bits: int) -> EnergyModel:
    return EnergyModel(
        name=name,
        title=f"arithmetic and memory, 45 nm, {precision}",
        precision=precision,
        scope="arithmetic, and memory for weights, activations, sums and states; left out are addressing, routing, "
        "static power, values that change place, divisions, exponentials and roots",
        constants={**arithmetic.constants(), **SRAM, "E_DRAM": DRAM},
        formulas=_FORMULAS,
        price=_price(weight_bits, state_bits),
        technology_nm=45,
        choices=_CHOICES,
        unpriced=arithmetic_45nm.unpriced,
        ends=_ENDS,
        refuse=without_memory,
    )


MODEL = _model("45nm-memory", "fp32", FP32, 32, 32)
INT8_MODEL = _model("45nm-memory-int8", "int8 (states and sums 16 bits)", INT8, 8, 16)
MODELS = (MODEL, INT8_MODEL)
