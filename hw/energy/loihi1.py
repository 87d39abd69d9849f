"""Loihi 1 (14 nm): its published event energies on any counts, and SANA-FE's additive model on a mapped network.

    loihi1:         E = n_syn·E_syn + Σ_updates (E_active or E_inactive)
    loihi1-mapped:  E = n_syn·E_syn + N·T·E_access + n_upd·E_update + n_fired·E_fire
                        + n_packets·E_packet + hops_EW·E_EW + hops_NS·E_NS

| symbol | meaning | loihi1 | loihi1-mapped |
|---|---|---|---|
| E_syn | one synaptic operation | 23.6 pJ (the least, Davies), up to 35.5 | dense 35.5, sparse 33.6, conv 24.0 pJ |
| E_active, E_inactive | update of a neuron that is active, or not | 81, 52 pJ | |
| E_access | look at one of N mapped neurons at one of T steps | | 51.2 pJ |
| E_update, E_fire | update a neuron; send its spike | | 21.6, 69.3 pJ |
| E_packet | message out: one for each core a spike goes to | | 111 pJ |
| E_EW, E_NS | one hop between tiles, east-west or north-south | | 3.0, 4.2 pJ |

``loihi1`` needs counts only. No source says which share of the updates is active: a neuron that fires is; of the
others none (low), half (nominal) or all (high). KerasSpiking's 27.1 pJ a synaptic operation is 23.6 pJ + 3.5 **ns**.

``loihi1-mapped`` needs the traffic of a mapped network (``Counts.traffic``); its synapse and neuron numbers are those
of SANA-FE, calibrated, not the published ones. Which neurons are updated hangs on the simulator: all of them (nominal,
high) or those that fire (low).

Left out by both: the host, the x86 cores, learning, and idle power (add ``static``). Left out by ``loihi1``: routing.
What no core of Loihi does (multiply-accumulates with real numbers, norms, activations, pooling and sums outside of
neurons) is named, and the estimate then a lower bound; biases belong to the update of a neuron.

Sources: M. Davies et al., IEEE Micro 38(1), 2018, Table 2, as quoted in two public code bases; the least synaptic
energy also in Tang et al., Front. Neurosci. 17, 2023, Table 3; SANA-FE 2.2.9, arch/loihi.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hw.counts import Counts, LayerCounts
from hw.energy.model import Choice, EnergyModel, Values
from hw.energy.scope import NO_PRICE, layers_with, without_events
from hw.quantity import Quantity

BEYOND_EVENTS = ("mac", "multiplies", "adds", "activations", "lookups", *NO_PRICE)
"""Counts of what a core of events and neurons does not do."""

_DAVIES = "Davies et al., IEEE Micro 38(1), 2018, Table 2, as quoted in two public code bases"
_SANAFE = "SANA-FE 2.2.9, arch/loihi.yaml (calibrated)"
_SYNAPSE = "Davies et al. 2018, the least; Tang et al. 2023, Table 3; upper end: SANA-FE 2.2.9, arch/loihi.yaml, dense"
FORMATS = {"conv": 24.0, "sparse": 33.6, "dense": 35.5}


def beyond_events(counts: Counts) -> Sequence[str]:
    """Return the names of the layers that do what cores of events and neurons do not."""
    return layers_with(counts, BEYOND_EVENTS)


def _price(layer: LayerCounts, counts: Counts, values: Values) -> Mapping[str, float]:
    fired = min(layer.resets or layer.spikes or 0.0, layer.neuron_updates)
    active = fired + values["active share"] * (layer.neuron_updates - fired)
    return {
        "synapses": layer.synaptic_events * values["E_syn"],
        "neurons": active * values["E_active"] + (layer.neuron_updates - active) * values["E_inactive"],
    }


MODEL = EnergyModel(
    name="loihi1",
    title="Loihi 1, 14 nm: published energies of events and updates",
    precision="8-bit weights, 24-bit states",
    scope="synaptic operations and neuron updates; left out are routing, host, idle power and what Loihi does not do",
    constants={
        "E_syn": Quantity(23.6, "pJ", _SYNAPSE, high=35.5),
        "E_active": Quantity(81.0, "pJ", _DAVIES),
        "E_inactive": Quantity(52.0, "pJ", _DAVIES),
    },
    formulas={
        "synapses": "synaptic operations × E_syn",
        "neurons": "updates that are active × E_active + the others × E_inactive",
    },
    price=_price,
    technology_nm=14,
    choices={"active share": Choice("share of the updates without a spike that is active", 0.0, 0.5, 1.0)},
    unpriced=beyond_events,
    refuse=without_events,
    kind="spiking",
    ends={
        "low": "only neurons that fire are active; the least energy of a synaptic operation",
        "nominal": "half of the other updates are active",
        "high": "all updates are active; synaptic operations as SANA-FE calibrates its dense format",
    },
)


def _no_layer(layer: LayerCounts, counts: Counts, values: Values) -> Mapping[str, float]:
    return {}


def _traffic(counts: Counts, values: Values) -> Mapping[str, float]:
    t = counts.traffic
    if t is None:  # refused before
        return {}
    updates = t.fired + values["updated share"] * max(t.neuron_updates - t.fired, 0.0)
    return {
        "synapses": t.synaptic_events * values[f"E_{t.format}"],
        "neurons": t.neurons * t.steps * values["E_access"] + updates * values["E_update"] + t.fired * values["E_fire"],
        "packets": t.packets * values["E_packet"],
        "hops": t.hops_east_west * values["E_EW"] + t.hops_north_south * values["E_NS"],
    }


def _unmapped(counts: Counts) -> str | None:
    if counts.traffic is None:
        return (
            "it needs a network mapped on loihi1, and these counts are not; `snnkit simulate RUN` maps and prices one, "
            "or take 'loihi1'."
        )
    if counts.traffic.chip != "loihi1":
        return f"it prices networks mapped on loihi1, not on {counts.traffic.chip}."
    if counts.traffic.format not in FORMATS:
        return f"synapses stored as {counts.traffic.format!r} have no price; known are {', '.join(FORMATS)}."
    return None


MAPPED = EnergyModel(
    name="loihi1-mapped",
    title="Loihi 1, 14 nm, mapped: additive costs of SANA-FE",
    precision="8-bit weights, 24-bit states",
    scope="synaptic operations, neurons, packets and hops of a mapped network; left out are host and idle power",
    constants={
        **{f"E_{name}": Quantity(pj, "pJ", _SANAFE) for name, pj in FORMATS.items()},
        "E_access": Quantity(51.2, "pJ", _SANAFE),
        "E_update": Quantity(21.6, "pJ", _SANAFE),
        "E_fire": Quantity(69.3, "pJ", _SANAFE),
        "E_packet": Quantity(111.0, "pJ", _SANAFE),
        "E_EW": Quantity(3.0, "pJ", _SANAFE),
        "E_NS": Quantity(4.2, "pJ", _SANAFE),
    },
    formulas={
        "synapses": "synaptic operations × E_syn of the format",
        "neurons": "neurons × steps × E_access + updates × E_update + spikes × E_fire",
        "packets": "packets × E_packet",
        "hops": "hops east-west × E_EW + hops north-south × E_NS",
    },
    price=_no_layer,
    whole=_traffic,
    technology_nm=14,
    choices={"updated share": Choice("share of the neurons without a spike that is updated at a step", 0.0, 1.0, 1.0)},
    refuse=_unmapped,
    kind="spiking",
    ends={
        "low": "only neurons that fire are updated",
        "nominal": "every neuron is updated at every step",
        "high": "as nominal",
    },
)
MODELS = (MODEL, MAPPED)
