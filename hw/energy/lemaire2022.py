"""Lemaire et al. 2022: operations, addressing and one memory access for every number, priced by the memory's size.

    E = E_ops + E_addr + E_in/out + E_param + E_pot

Layers that events reach (θ_in events in, θ_out out, over all T steps; C_out' = C_out / groups; K kernel, S stride):

| term | convolution | fully connected |
|---|---|---|
| additions | θ_in·C_out'·Π⌈K/S⌉ + T·N_out (bias) | θ_in·N_out + T·N_out (bias) |
| addressing | 2·θ_in MACs + θ_in·C_out'·ΠK additions | θ_in·N_out additions |
| reads of parameters | θ_in·C_out'·ΠK + T·N_out (bias) | θ_in·N_out + T·N_out (bias) |
| reads, and as many writes, of potentials | θ_in·C_out'·ΠK + T·N_out | θ_in·N_out + T·N_out |
| reads of inputs, writes of outputs | θ_in, θ_out (queues of 1000 messages) | the same |
| neurons | one addition a spike (reset); a leak is one MAC an update | the same |

Layers with real input (M multiply-accumulates, biases as above):

| term | convolution | fully connected |
|---|---|---|
| operations | M MACs + N_out additions (bias) | the same |
| addressing | N_in + N_out + C_out·ΠK additions | N_in + N_out additions |
| reads of parameters | M + N_out (bias) | the same |
| reads of inputs | M | N_in |
| writes of outputs | N_out, where no neuron takes them into its potential | the same |

| symbol | meaning | value |
|---|---|---|
| E_add, E_mul | 32-bit integers, 45 nm; a MAC is both | 0.1 pJ, 3.1 pJ |
| E_RAM(s) | 32-bit access to an SRAM of s bytes: lines through 0 pJ at 0, and 8 KiB, 32 KiB, 1 MiB | 10, 20, 100 pJ |
| E_line | the authors' laboratory fits one line through the three points instead, which does not fall to 0 | 13.2 pJ |

Two places where the paper and its readers differ are in the interval. The paper's convolutions reach weights beyond
the border and, in memory, between strides: "borders" at 0 counts the weights that are there. "small memories" at 1
takes the laboratory's line (13.2 pJ + 1.09e-5 pJ a bit) where it is dearer. Two misprints are mended as both public
implementations mend them: equation 2 multiplies events of a fully connected layer by N_in once too often, and the
reset is missing there. They differ in the addresses of a fully connected layer with real input: N_in + N_out
(SpikingJelly, taken here) or N_in·N_out (Qualia).

Beyond the paper, and left out at the lower end: neurons other than IF and LIF by their operations per update; products
of two signals read both operands and address them for each operation; norms, scales, pooling, sums and activations
read and write each value once, and their weights; a row of a table is read and written. Transposed convolutions go as
convolutions; events of several levels add a weight as often as their level says and fetch it once.

Left out: static power, routing, everything off the chip, comparisons with the threshold, values that change place, and
divisions, exponentials and roots, whose layers are named.

Sources: E. Lemaire et al., ICONIP 2022, arXiv 2210.13107; the equations are also in Qualia (qualia-plugin-snn 2.6.0,
EnergyEstimationMetric, by the authors' laboratory) and SpikingJelly 2.0.0 (op_counter, analytical_energy).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hw.counts import Counts, LayerCounts
from hw.energy.constants import sram_price
from hw.energy.model import FIRST_LAYER, Choice, EnergyModel, Values, charged
from hw.energy.scope import CONNECTIONS, NO_PRICE, layers_with, unknown_neurons, without_memory
from hw.quantity import Quantity

QUEUE_BYTES = 1000 * 4
_WORD_BYTES = 4

_PAPER = "Lemaire et al., ICONIP 2022 (arXiv 2210.13107), 45 nm, 32-bit integers"
_SRAM = "Lemaire et al. (arXiv 2210.13107): access to SRAM of {}, after Horowitz, ISSCC 2014"
_LINE = "line through the three sizes of SRAM, qualia-plugin-snn 2.6.0, EnergyEstimationMetric"

_CONSTANTS = {
    "E_add": Quantity(0.1, "pJ", _PAPER),
    "E_mul": Quantity(3.1, "pJ", _PAPER),
    "E_8KiB": Quantity(10.0, "pJ", _SRAM.format("8 KB")),
    "E_32KiB": Quantity(20.0, "pJ", _SRAM.format("32 KB")),
    "E_1MiB": Quantity(100.0, "pJ", _SRAM.format("1 MB")),
    "E_line": Quantity(13.2, "pJ", _LINE),
    "E_line per bit": Quantity(1.09e-5, "pJ", _LINE),
}

_CHOICES = {
    "first layer": FIRST_LAYER,
    "borders": Choice("an event reaches the weights that are there (0), or all of the kernel (1)", 0.0, 1.0, 1.0),
    "small memories": Choice("SRAM falls to 0 pJ with its size (0), or to 13.2 pJ (1)", 0.0, 0.0, 1.0),
    "beyond the paper": Choice("what the paper gives no equation for is left out (0) or charged (1)", 0.0, 1.0, 1.0),
}

_FORMULAS = {
    "operations": "additions × E_add + MACs × (E_mul + E_add)",
    "addressing": "(additions × E_add + MACs × (E_mul + E_add)) that find where an event goes",
    "inputs and outputs": "values or events read and written × E_RAM(queue or buffer)",
    "parameters": "weights and biases read × E_RAM(parameters of the layer)",
    "potentials": "potentials read and written × E_RAM(potentials of the layer)",
    "beyond the paper": "operations, and each value read and written once, of what the paper has no equation for",
}

_ENDS = {
    "low": "the paper's layers only, with the weights that events do reach",
    "nominal": "the paper's equations, and its rules carried over to what it has none for",
    "high": "as nominal, memories no cheaper than the laboratory's line, first layer at every step",
}

_NEURONS = {"integrate_fire": 0, "lif": 1}
"""MACs of an update of the paper's two neurons."""


def _ram(stored: float, values: Values) -> float:
    """pJ of one access of 32 bits to a memory of ``stored`` bytes."""
    lines = sram_price(stored, values, at_nothing=0.0)
    one_line = values["E_line"] + values["E_line per bit"] * stored * 8
    return lines + values["small memories"] * max(one_line - lines, 0.0)


def _kernel(layer: LayerCounts) -> tuple[float, float]:
    """Weights that an event fetches, and weights that it adds, by the paper's equations; 0, 0 of other layers."""
    weight = layer.shape.get("weight", ())
    if layer.op == "linear" and len(weight) == 2:
        return float(weight[0]), float(weight[0])
    if layer.op == "conv" and len(weight) > 2:
        filters = weight[0] // int(layer.settings.get("groups", 1))
        stride = layer.settings.get("stride", (1,) * (len(weight) - 2))
        added = math.prod(math.ceil(k / s) for k, s in zip(weight[2:], stride, strict=True))
        return float(filters * math.prod(weight[2:])), float(filters * added)
    if layer.op == "conv_transpose" and len(weight) > 2:
        return (float(math.prod(weight[1:])),) * 2
    return 0.0, 0.0


def _event_layer(layer: LayerCounts, values: Values) -> dict[str, float]:
    add, mac, border = values["E_add"], values["E_mul"] + values["E_add"], values["borders"]
    events, exact = layer.input_events, layer.ac + layer.shift_adds
    fetched, added = (events * per_event for per_event in _kernel(layer))
    spread = _toward(min(exact, fetched or exact), fetched or exact, border)
    return {
        "operations": add * (_toward(exact, max(exact, added), border) + layer.bias_adds),
        "addressing": add * spread + (0.0 if layer.op == "linear" else mac * 2 * events),
        "inputs and outputs": events * _ram(QUEUE_BYTES, values),
        "parameters": (spread + layer.bias_adds) * _ram(layer.weights * _WORD_BYTES, values),
        "potentials": 2 * spread * _ram(layer.outputs * _WORD_BYTES, values),
    }


def _toward(low: float, high: float, share: float) -> float:
    return low + share * (high - low)


def _real_layer(layer: LayerCounts, counts: Counts, values: Values) -> dict[str, float]:
    add, mac, runs = values["E_add"], values["E_mul"] + values["E_add"], layer.evaluations
    convolution = layer.op != "linear"
    addresses = runs * (layer.inputs + layer.outputs)
    if convolution:
        weight = layer.shape.get("weight", ())
        addresses += runs * (weight[0] * math.prod(weight[2:]) if weight else layer.weights)
    reads = layer.mac if convolution else runs * layer.inputs
    in_out = reads * _ram(layer.inputs * _WORD_BYTES, values)
    if not any(one.kind == "neuron" for one in counts.per_layer):
        in_out += runs * layer.outputs * _ram(layer.outputs * _WORD_BYTES, values)
    return {
        "operations": layer.mac * mac + layer.bias_adds * add,
        "addressing": addresses * add,
        "inputs and outputs": in_out,
        "parameters": (layer.mac + layer.bias_adds) * _ram(layer.weights * _WORD_BYTES, values),
    }


def _neuron(layer: LayerCounts, counts: Counts, values: Values) -> dict[str, float]:
    add, mac, beyond = values["E_add"], values["E_mul"] + values["E_add"], values["beyond the paper"]
    sent = layer.output_events or layer.spikes or 0.0
    found = {
        "operations": add * sent,
        "inputs and outputs": sent * _ram(QUEUE_BYTES, values),
        "potentials": (layer.state_reads + layer.state_writes) * _ram(layer.states * _WORD_BYTES, values),
    }
    if layer.op in _NEURONS:
        found["operations"] += _NEURONS[layer.op] * layer.neuron_updates * mac
        return found
    multiplications, additions, _ = counts.neuron_operations.get(layer.op, (0, 0, 0))
    update = multiplications * values["E_mul"] + additions * add
    return {"beyond the paper": beyond * (sum(found.values()) + layer.neuron_updates * update)}


def _beyond(layer: LayerCounts, values: Values) -> dict[str, float]:
    add, events = values["E_add"], layer.ac + layer.shift_adds
    done = layer.mac * (values["E_mul"] + add) + layer.multiplies * values["E_mul"]
    done += add * (events + layer.adds + layer.activations + layer.bias_adds)
    reads, writes = _ram(layer.inputs * _WORD_BYTES, values), _ram(layer.outputs * _WORD_BYTES, values)
    stored, moved = _ram(layer.weights * _WORD_BYTES, values), layer.activation_writes * writes
    if layer.kind == "product":
        moved += (layer.mac + events) * (2 * reads + add)
    elif layer.lookups:
        moved += layer.lookups * reads + layer.activation_writes * stored
    else:
        moved += layer.activation_reads * reads + layer.weight_fetches * stored
    return {"beyond the paper": values["beyond the paper"] * (done + moved)}


def _price(layer: LayerCounts, counts: Counts, values: Values) -> Mapping[str, float]:
    if layer.kind == "move" and not layer.lookups:
        return {}
    if layer.kind == "neuron":
        return _neuron(layer, counts, values)
    if layer.kind != "synapse" or layer.op not in CONNECTIONS:
        found = _beyond(layer, values)
    elif layer.mac:
        found = _real_layer(layer, counts, values)
    else:
        found = _event_layer(layer, values)
    often = charged(layer, values["first layer"])
    return {part: pj * often for part, pj in found.items()}


def _unpriced(counts: Counts) -> Sequence[str]:
    known = {*_NEURONS, *counts.neuron_operations}
    return list(dict.fromkeys([*unknown_neurons(counts, known), *layers_with(counts, NO_PRICE)]))


MODEL = EnergyModel(
    name="lemaire2022",
    title="operations, addressing, memory by size, 45 nm (Lemaire 2022)",
    precision="int32",
    scope="convolutions, fully connected layers, IF and LIF neurons by the paper's equations, other layers by its "
    "rules; left out are static power, routing, DRAM, threshold tests, divisions, exponentials and roots",
    constants=_CONSTANTS,
    formulas=_FORMULAS,
    price=_price,
    technology_nm=45,
    choices=_CHOICES,
    unpriced=_unpriced,
    ends=_ENDS,
    refuse=without_memory,
)
