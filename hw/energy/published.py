"""Other chips: the energy of a synaptic operation that was published for each, times the synaptic operations.

    E = n_syn · E_SOP (+ n_upd · E_update, where one was published)

| model | chip | node | E_SOP | remark |
|---|---|---|---|---|
| odin | ODIN | 28 nm | 12.7 pJ | measured in silicon |
| truenorth | TrueNorth | 28 nm | 2.5 pJ; 26 pJ | ten times apart: two definitions; the upper one was not checked |
| tianjic | Tianjic | 28 nm | 1.54 pJ | |
| reckon | ReckOn | 28 nm | 5.3 pJ | |
| ubrain | µBrain | 40 nm | 26 pJ | |
| neuronflow | NeuronFlow | 28 nm | 20 pJ | |
| seneca | SENECA | 22 nm | 2.8 pJ | |
| spinnaker1 | SpiNNaker | 130 nm | 45 pJ | |
| spinnaker2 | SpiNNaker 2 | 22 nm | 10 pJ; 450 pJ + 2190 pJ an update | 45 times apart |
| darwin3 | Darwin3 | 22 nm | 5.47 pJ | not checked against its source: assumed |
| loihi2 | Loihi 2 | Intel 4 | none | refused: "about 1 pJ" is in blogs only |

Such a number is the power of a chip at some load over the operations it then did: neurons, routing and leakage are in
it as far as they were in that load, and what a synaptic operation is differs between chips ("only mentioned for
high-level comparison", Tang et al.). So it tells the order of magnitude, not which chip is better; and chips of
different nodes do not compare without saying so. The nodes of ReckOn, µBrain, NeuronFlow, SENECA and SpiNNaker are
those of the chips' own papers, from memory.

Left out: everything that is not an event. Layers with multiply-accumulates, norms, activations, pooling or sums outside
of neurons are named, and the estimate is then a lower bound. Idle power is a part of its own (``static``).

Sources: G. Tang et al., Front. Neurosci. 17:1187252, 2023, Table 3 (PMC10326429); ODIN: C. Frenkel et al., 2018; the
upper ends: P. Merolla et al., 2014 (not checked), KerasSpiking (which cites arXiv 1903.08941).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hw.counts import Counts, LayerCounts
from hw.energy.loihi1 import beyond_events
from hw.energy.model import EnergyModel, Values
from hw.energy.scope import without_events
from hw.quantity import Quantity

_TANG = "Tang et al., Front. Neurosci. 17, 2023, Table 3 (PMC10326429)"

_SOP = "synaptic operations × E_SOP"
_SCOPE = (
    "synaptic operations at the published energy of one, which holds what that measurement held; "
    "left out are idle power and all that is not an event"
)


def _price(layer: LayerCounts, counts: Counts, values: Values) -> Mapping[str, float]:
    found = {"synapses": layer.synaptic_events * values["E_SOP"]}
    if "E_update" in values:
        found["neurons"] = layer.neuron_updates * values["E_update"]
    return found


def _none_published(counts: Counts) -> str:
    return (
        "no energy of a synaptic operation was published for Loihi 2 (Tang et al. 2023, Table 3: NA; "
        "what blogs say has no source); take 'loihi1', or measured power with hw.energy.static."
    )


def _chip(
    name: str,
    title: str,
    nm: float | None,
    sop: Quantity,
    update: Quantity | None = None,
    refuse: Callable[[Counts], str | None] = without_events,
) -> EnergyModel:
    return EnergyModel(
        name=name,
        title=title if refuse is _none_published else f"{title}: published energy of a synaptic operation",
        precision="of the chip",
        scope=_SCOPE,
        constants={"E_SOP": sop, **({"E_update": update} if update else {})},
        formulas={"synapses": _SOP, **({"neurons": "neuron updates × E_update"} if update else {})},
        price=_price,
        technology_nm=nm,
        unpriced=beyond_events,
        refuse=refuse,
        kind="spiking",
        ends={
            "low": "the least that was published",
            "nominal": "Tang et al. 2023, Table 3, where it lists the chip",
            "high": "the most that was published",
        },
    )


def _tang(pj: float) -> Quantity:
    return Quantity(pj, "pJ", _TANG)


ODIN = _chip(
    "odin", "ODIN, 28 nm", 28, Quantity(12.7, "pJ", f"Frenkel et al. 2018, measured in silicon, abstract; {_TANG}")
)
TRUENORTH = _chip(
    "truenorth",
    "TrueNorth, 28 nm",
    28,
    Quantity(2.5, "pJ", f"{_TANG}; upper end: Merolla et al. 2014, not checked", high=26.0, confirmed=False),
)
SPINNAKER2 = _chip(
    "spinnaker2",
    "SpiNNaker 2, 22 nm",
    22,
    Quantity(10.0, "pJ", f"{_TANG}; upper end: KerasSpiking, citing arXiv 1903.08941", high=450.0),
    Quantity(0.0, "pJ", f"in E_SOP by {_TANG}; upper end: KerasSpiking, citing arXiv 1903.08941", high=2190.0),
)
DARWIN3 = _chip(
    "darwin3",
    "Darwin3, 22 nm",
    22,
    Quantity(5.47, "pJ", "Darwin3, Natl. Sci. Rev. 2024, not checked", confirmed=False),
)
LOIHI2 = _chip(
    "loihi2",
    "Loihi 2: refused, since no energy was published",
    None,
    Quantity(0.0, "pJ", f"none: {_TANG}", confirmed=False),
    refuse=_none_published,
)

MODELS = (
    ODIN,
    TRUENORTH,
    _chip("tianjic", "Tianjic, 28 nm", 28, _tang(1.54)),
    _chip("reckon", "ReckOn, 28 nm", 28, _tang(5.3)),
    _chip("ubrain", "µBrain, 40 nm", 40, _tang(26.0)),
    _chip("neuronflow", "NeuronFlow, 28 nm", 28, _tang(20.0)),
    _chip("seneca", "SENECA, 22 nm", 22, _tang(2.8)),
    _chip("spinnaker1", "SpiNNaker 1, 130 nm", 130, _tang(45.0)),
    SPINNAKER2,
    DARWIN3,
    LOIHI2,
)
