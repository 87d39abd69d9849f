"""What crosses a chip: packets between cores, the tiles they pass, and how busy the busiest link is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hw.counts import Traffic

if TYPE_CHECKING:
    from compiler.program import Program, Trace


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
