"""What crosses a chip: packets between cores, tiles they pass, how busy the busiest link is, and what a spike costs.

What a spike of a layer costs beside its synaptic operations hangs on where its neurons lie:

    c_l = mean over neurons of Σ over cores that a spike goes to of (E_packet + E_EW·h_x + E_NS·h_y) / E_sparse

with the constants of the energy model "loihi1-mapped", h_x and h_y the tiles passed in either direction. Relays send on
what a layer sent, and count for it. ``task.energy.per_layer`` takes these numbers (docs/energy_training.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hw.counts import Traffic
from hw.energy.loihi1 import MAPPED

if TYPE_CHECKING:
    from compiler.program import Program, Trace

_RELAY = ".relay"
"""Stands between the name of a population and the number of a relay of its spikes."""


def traffic(program: Program, trace: Trace, images: int) -> Traffic:
    """Return what a program did on its chip, mean per image.

    Args:
        program: mapped.
        trace: of ``images`` images.
        images: how many.

    Neurons are updated at every step of the chip, those of relays included; the steps are more than the network's,
    since every layer is one behind the other.
    """
    mapping, mesh, packets = program.mapping, program.chip.mesh, trace.packets[:-1]
    loads: dict[Any, float] = {}
    east_west = north_south = 0.0
    for source, target in zip(*np.nonzero(packets), strict=True):
        number = float(packets[source, target])
        for link in mesh.route(int(source), int(target)):
            loads[link] = loads.get(link, 0.0) + number
            (x, _), (x1, _) = link
            east_west += number if x != x1 else 0.0
            north_south += number if x == x1 else 0.0
    neurons = sum(core.neurons for core in mapping.cores)
    return Traffic(
        chip=program.chip.name,
        packets=float(packets.sum()) / images,
        hops_east_west=east_west / images,
        hops_north_south=north_south / images,
        host_packets=float(trace.packets[-1].sum()) / images,
        busiest_link=max(loads.values(), default=0.0) / images,
        cores=len(mapping.cores),
        neurons=neurons,
        steps=mapping.lowered.steps,
        synaptic_events=float(np.sum(trace.synaptic_events)) / images,
        neuron_updates=float(neurons * mapping.lowered.steps),
        fired=trace.fired / images,
    )


def layer_costs(program: Program, packets: bool = False) -> dict[str, float]:
    """Return what a message (spike) of each neuron layer costs on its way, in synaptic operations.

    Args:
        program: mapped.
        packets: give packets a message instead.

    Raises:
        CompileError: a program for this chip has no cores with axons.
    """
    mapping, mesh = program.mapping, program.chip.mesh
    price = {name: quantity.interval.to("pJ").nominal for name, quantity in MAPPED.constants.items()}
    layers = {one.population.name: one.layer for one in mapping.lowered.placed}
    sums: dict[str, float] = {}
    for projection, axons in zip(mapping.lowered.projections, mapping.axons, strict=True):
        if projection.source < 0:
            continue  # from the host
        placed = mapping.lowered.placed[projection.source]
        layer = layers[placed.population.name.partition(_RELAY)[0]]
        for source, target in zip(mapping.core_of[projection.source][axons.source], axons.core, strict=True):
            (x, y), (x1, y1) = mesh.position(int(source)), mesh.position(int(target))
            way = price["E_packet"] + abs(x - x1) * price["E_EW"] + abs(y - y1) * price["E_NS"]
            sums[layer] = sums.get(layer, 0.0) + (1.0 if packets else way / price["E_sparse"])
    sizes = {one.layer: one.population.size for one in mapping.lowered.placed if one.kind == "neuron"}
    return {_module(program, layer): sums[layer] / size for layer, size in sizes.items() if sums.get(layer)}


def _module(program: Program, signal: str) -> str:
    """Return what the network calls the layer that computes a signal of its graph."""
    return next((node.name for node in program.source_graph if signal in node.outputs), signal)
