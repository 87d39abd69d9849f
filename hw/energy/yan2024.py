"""Yan et al.: computation and data movement of a spiking network, and of the quantised network that is its fair match.

Rate coding over T steps tells T + 1 values apart, so a network of T steps is compared with an ordinary one whose
activations have b = ⌈log2(T + 1)⌉ bits and whose layers are the same (``qnn_counts``), not with one of 32 bits.

    E_SNN = Σ_synapses events·(E_ACC + w·E_weight + h·E_sparse) + updates·E_CMP + spikes·E_SUB
    E_QNN = Σ_synapses MACs·(w·E_weight + b·h·E_dense) + MACs that are not zero·(E_ACC + w·b·E_product)

| symbol | meaning | value |
|---|---|---|
| events | weights reached by spikes: T · rate · fan-in of every neuron | counted |
| E_ACC, E_CMP, E_SUB | accumulate, comparison with the threshold, reset by subtraction, 22 nm | 0.05448 pJ |
| E_sparse | one spike over one hop, addresses included, after Loihi 1 | 3.0 pJ |
| E_dense | one bit of a dense activation over one hop, circuit-switched, 22 nm | 0.25 pJ |
| h | hops between cores: 0.64 (VGG-16 on a mesh), 1, 4.75 (a transformer) | choice |
| w | bits of a weight: 4 (the paper's main case) to 8 | choice |
| E_weight | one bit of a weight read from SRAM | 0.0393 pJ, derived |
| E_product | a multiplication, by bits of weight × bits of activation | 0.005 pJ, derived |

E_weight and E_product are in no table that was found. They are derived from what the paper reports of the model, and
so marked as assumed: with them ``spike_rate_threshold`` gives its break-even rates at T = 5 and 4 bits (5.7 %; 5.4 to
6.1 % with weights at half and one and a half times their energy; 10.8 % with sparse and 3.4 % with dense movement at
half), at T = 2 (10.4 %; 12.3 % with 8 bits) and at T = 3 and 8 bits (8.2 %), each within 2 % of the number. The 6.4 %
for T from 5 to 10 of the paper's second and third version holds here at T = 5 with 8-bit weights (6.5 %) and no longer
at T = 10 (4.0 %; 3.6 % with 4 bits).

Beyond the paper: a first layer with real input has activations of 8 bits, in both networks; products of two signals
move both operands; biases, sums and activations cost one addition or comparison each; multiplications elsewhere, norms
and scales among them, those of two w-bit numbers, without movement, since they lie beside their neurons.

Left out: reads and writes of potentials, leak, control and arbitration (which spiking networks need more of), reuse of
a weight over time, DRAM, static power, and tables, divisions, exponentials and roots, whose layers are named.

Source: Z. Yan, Z. Bai, K. Tang, W.-F. Wong, arXiv 2409.08290 (version 4, 2026, for the threshold).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hw.counts import Counts, LayerCounts
from hw.energy.model import FIRST_LAYER, Choice, EnergyModel, EstimateError, Values, charged
from hw.energy.scope import CONNECTIONS, NO_PRICE, layers_with
from hw.quantity import Quantity

INPUT_BITS = 8
"""Bits of a real value where nothing says otherwise: an image."""

_PAPER = "Yan et al. (arXiv 2409.08290), 22 nm, as quoted alike in two public analyses of the paper"
_DERIVED = "derived from the break-even rates that Yan et al. (arXiv 2409.08290, version 4) report; in no table"

CONSTANTS = {
    "E_ACC": Quantity(0.05448, "pJ", _PAPER),
    "E_CMP": Quantity(0.05448, "pJ", _PAPER),
    "E_SUB": Quantity(0.05448, "pJ", _PAPER),
    "E_sparse": Quantity(3.0, "pJ", _PAPER),
    "E_dense": Quantity(0.25, "pJ", _PAPER),
    "E_weight": Quantity(0.0393, "pJ", _DERIVED, low=0.035, high=0.042, confirmed=False),
    "E_product": Quantity(0.005, "pJ", _DERIVED, low=0.0, high=0.015, confirmed=False),
}

_CHOICES = {
    "first layer": FIRST_LAYER,
    "weight bits": Choice("bits of a weight", 4.0, 8.0, 8.0),
    "hops": Choice("hops of a spike or an activation between cores", 0.64, 1.0, 4.75),
}

_FORMULAS = {
    "computation": "events × E_ACC, MACs × (E_ACC + bits of weight × bits of activation × E_product)",
    "weights": "events or MACs × bits of a weight × E_weight",
    "movement": "events × hops × E_sparse, MACs × bits of an activation × hops × E_dense",
    "neurons": "updates × E_CMP + spikes × E_SUB",
    "other arithmetic": "(biases, sums) × E_ACC, activations × E_CMP, multiplications × (E_ACC + bits² × E_product)",
}

_ENDS = {
    "low": "4-bit weights, 0.64 hops",
    "nominal": "8-bit weights, one hop",
    "high": "8-bit weights, 4.75 hops, a layer whose input never changes charged at every step",
}


def qnn_bits(timesteps: int) -> int:
    """Return ⌈log2(T + 1)⌉: the bits of the activations of a quantised network that tells as many values apart.

    Raises:
        EstimateError: fewer than one time step.
    """
    if timesteps < 1:
        raise EstimateError(f"timesteps={timesteps}: a spiking network has at least one time step.")
    return timesteps.bit_length()


def qnn_counts(twin: Counts, timesteps: int, input_bits: int = INPUT_BITS) -> Counts:
    """Return the counts of an ordinary twin as those of the quantised network that matches ``timesteps`` of spikes.

    Args:
        twin: counts of the ordinary network, from the same counter as the spiking one's.
        timesteps: T of the spiking network.
        input_bits: of the data, which the first layer with weights reads in both.

    Raises:
        EstimateError: fewer than one time step.
    """
    bits = qnn_bits(timesteps)
    first = next((layer.name for layer in twin.per_layer if layer.op in CONNECTIONS), None)
    layers = tuple(
        replace(layer, settings={**layer.settings, "activation_bits": input_bits if layer.name == first else bits})
        for layer in twin.per_layer
    )
    return replace(twin, per_layer=layers, conventions={**twin.conventions, "activation_bits": str(bits)})


def spike_rate_threshold(
    timesteps: int, weight_bits: int = 4, hops: float = 1.0, constants: Values | None = None
) -> float:
    """Return the mean spike rate below which a spiking network takes less than its quantised match.

    For a neuron of large fan-in, all of whose sources fire at one rate; a share of 2·rate / (1/T + 1) of the quantised
    activations is then not zero, the paper's average case.

    Args:
        timesteps: T.
        weight_bits: w.
        hops: h.
        constants: pJ by name; default: nominal values.

    Raises:
        EstimateError: fewer than one time step.
    """
    e = constants or {name: quantity.value for name, quantity in CONSTANTS.items()}
    bits = qnn_bits(timesteps)
    fixed = weight_bits * e["E_weight"] + bits * hops * e["E_dense"]
    multiplied = 2 / (1 / timesteps + 1) * (e["E_ACC"] + weight_bits * bits * e["E_product"])
    spiking = timesteps * (e["E_ACC"] + weight_bits * e["E_weight"] + hops * e["E_sparse"])
    return fixed / (spiking - multiplied)


def _price(layer: LayerCounts, counts: Counts, values: Values) -> Mapping[str, float]:
    add, multiply = values["E_ACC"], values["E_product"]
    often, wide = charged(layer, values["first layer"]), values["weight bits"]
    events, macs, resets = layer.ac + layer.shift_adds, layer.mac, layer.resets or layer.spikes or 0.0
    found = {"neurons": layer.neuron_updates * values["E_CMP"] + resets * values["E_SUB"]}
    other = (layer.bias_adds + layer.adds) * add + layer.activations * values["E_CMP"]
    multiplied = layer.multiplies
    if layer.kind == "product" or (layer.kind == "synapse" and layer.op in CONNECTIONS):
        found |= _connected(layer, values)
    else:
        other, multiplied = other + events * add, multiplied + macs
    other += multiplied * (add + wide * wide * multiply)
    if other:
        found["other arithmetic"] = other
    return {part: pj * often for part, pj in found.items()}


def _connected(layer: LayerCounts, values: Values) -> dict[str, float]:
    """Synapses, or a product of two signals, which has no weights and moves both operands."""
    product, wide, hops = layer.kind == "product", values["weight bits"], values["hops"]
    bits = int(layer.settings.get("activation_bits", INPUT_BITS))
    events, macs = layer.ac + layer.shift_adds, layer.mac
    # Counts of other origin may not say which operands are zero.
    done, operand = layer.effective_macs or macs, bits if product else wide
    moved = events * values["E_sparse"] + macs * bits * values["E_dense"]
    return {
        "computation": events * values["E_ACC"] + done * (values["E_ACC"] + operand * bits * values["E_product"]),
        "weights": 0.0 if product else (events + macs) * wide * values["E_weight"],
        "movement": hops * moved * (2 if product else 1),
    }


def _unpriced(counts: Counts) -> Sequence[str]:
    return layers_with(counts, ("lookups", *NO_PRICE))


MODEL = EnergyModel(
    name="yan2024",
    title="computation and data movement, 22 nm (Yan 2024)",
    precision="weights of 4 to 8 bits",
    scope="accumulates or multiply-accumulates, weights read, spikes or activations moved, thresholds and resets; "
    "left out are potentials, leak, control, DRAM, static power, divisions, exponentials and roots",
    constants=CONSTANTS,
    formulas=_FORMULAS,
    price=_price,
    technology_nm=22,
    choices=_CHOICES,
    unpriced=_unpriced,
    ends=_ENDS,
)
