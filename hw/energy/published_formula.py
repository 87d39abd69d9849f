"""The formula of the spiking-transformer papers, as they apply it: to be put beside an exact count, not in its place.

    E = E_MAC · FL_first + E_AC · Σ_l SOP_l        SOP_l = fr_l · T · FL_l

| symbol | meaning |
|---|---|
| FL_l | dense multiply-accumulates of layer l in one time step, padded borders included |
| fr_l | firing rate of the signal that layer l reads: its share of values that are not zero |
| T | time steps |
| E_MAC, E_AC | 4.6 pJ and 0.9 pJ: 32-bit floating point, 45 nm |

Sources: Spikformer (arXiv 2209.15425), Spike-driven Transformer (2307.01694), and the logs of Spikingformer, whose
tool has habits of its own: a layer with real input at every step is charged T times even where that input never
changes, biases are operations that are multiplied with the rate like weights, and attention comes from
``ssa_accumulates`` rather than from what was measured.

The formula leaves out weights and states that are fetched, the updates of neurons, what routing costs, static power,
and where spikes lie: at a border or under a stride an event meets fewer weights than the mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hw.counts import Counts, LayerCounts
from hw.energy.constants import FP32

E_MAC_PJ, E_AC_PJ = FP32.mac.value, FP32.ac.value
FIRST_LAYER = ("once", "each step")
_FOLDED = ("batch_norm", "scale")


@dataclass(frozen=True)
class PaperLayer:
    """One line of a paper's table: dense ``operations`` of all time steps, and the ``rate`` of the signal it reads.

    ``real`` marks what is charged as multiply-accumulates, whole, whatever the rate.
    """

    name: str
    operations: float
    rate: float
    real: bool = False

    @property
    def macs(self) -> float:
        """Multiply-accumulates that the formula charges."""
        return self.operations if self.real else 0.0

    @property
    def accumulates(self) -> float:
        """Accumulates that the formula charges."""
        return 0.0 if self.real else self.operations * self.rate

    def energy_mj(self, e_mac_pj: float = E_MAC_PJ, e_ac_pj: float = E_AC_PJ) -> float:
        """Return the layer's energy in mJ."""
        return (self.macs * e_mac_pj + self.accumulates * e_ac_pj) * 1e-9


@dataclass(frozen=True)
class PaperEnergy:
    """What the formula says: operations per sample, and energy in mJ."""

    layers: tuple[PaperLayer, ...]
    macs: float
    accumulates: float
    energy_mj: float


def published_formula(
    layers: Iterable[PaperLayer], e_mac_pj: float = E_MAC_PJ, e_ac_pj: float = E_AC_PJ
) -> PaperEnergy:
    """Price the lines of a paper's table, or those that ``paper_layers`` reads off counts."""
    rows = tuple(layers)
    macs, accumulates = sum(row.macs for row in rows), sum(row.accumulates for row in rows)
    return PaperEnergy(rows, macs, accumulates, (macs * e_mac_pj + accumulates * e_ac_pj) * 1e-9)


def implied_rate(energy_mj: float, layers: Iterable[PaperLayer]) -> float:
    """Return the one firing rate, alike in every layer that is not ``real``, that makes the formula give ``energy_mj``.

    Above 1 no network can have it; below 0 the multiply-accumulates alone cost more.

    Raises:
        ValueError: no layer reads spikes.
    """
    rows = tuple(layers)
    spiking = sum(row.operations for row in rows if not row.real)
    if not spiking:
        raise ValueError("no layer reads spikes, so that no firing rate follows from the energy.")
    return (energy_mj * 1e9 - E_MAC_PJ * sum(row.macs for row in rows)) / (E_AC_PJ * spiking)


def paper_layers(counts: Counts, first_layer: str = "once") -> tuple[PaperLayer, ...]:
    """Read the formula's lines off exact counts: dense operations and mean rates, as a paper would have measured them.

    Norms and factors that are layers of their own are left out: papers fold them.

    Args:
        counts: of the network.
        first_layer: "once" or "each step": how often a layer is charged whose input is the same at every step.

    Raises:
        ValueError: ``first_layer`` is something else.
    """
    if first_layer not in FIRST_LAYER:
        raise ValueError(f"first_layer={first_layer!r}; allowed are {' and '.join(map(repr, FIRST_LAYER))}.")
    found = []
    for layer in charged_layers(counts):
        repeats = layer.static_repeats if layer.static and first_layer == "each step" else 1
        real = layer.mac > 0
        rate = 1.0 if real else input_rate(layer)
        found.append(PaperLayer(layer.name, layer.dense_macs * repeats, rate, real))
    return tuple(found)


def charged_layers(counts: Counts) -> tuple[LayerCounts, ...]:
    """Return the layers that papers charge: weights that meet a signal, and products of two signals."""
    kinds = ("synapse", "product")
    return tuple(layer for layer in counts.per_layer if layer.kind in kinds and layer.op not in _FOLDED)


def input_rate(layer: LayerCounts) -> float:
    """Return the share of a layer's input values that are not zero.

    Of a product of two signals it is the share of its operations that was done, since papers differ in what they take.
    """
    if layer.kind == "synapse" and layer.inputs:
        return layer.input_events / (layer.inputs * layer.evaluations)
    return layer.synaptic_events / layer.dense_macs if layer.dense_macs else 0.0


def ssa_accumulates(
    timesteps: int, heads: int, tokens: int, width: int, rate_q: float, rate_k: float, rate_v: float
) -> float:
    """Return the accumulates that Spikingformer's tool charges a block's attention, q (kᵀ v), from three firing rates.

    T · heads · N · (D/heads)² · (min(r_k, r_v) + r_q). Where spikes of k and v are independent their product meets
    r_k · r_v of the positions, which is less than the smaller of the two.
    """
    return timesteps * heads * tokens * (width / heads) ** 2 * (min(rate_k, rate_v) + rate_q)
