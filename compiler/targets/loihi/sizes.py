"""Sizes: what is too large for a chip whatever its cores hold, told before any synapse is unrolled.

Unrolling takes time and memory in proportion to the synapses; numbers of neurons and of weights that meet values inside
the maps take neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from compiler.errors import Violation
from compiler.graph import Graph, Node
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.links import Link
from compiler.targets.loihi.synapses import count, most
from hw.chip import Chip

HOPELESS = 8
"""A float network with so many times the synapses of a chip is refused: quantising makes some of them 0, not most."""


def neurons_beyond(graph: Graph, neurons: list[Node], chip: Chip) -> list[Violation]:
    """Return what to say of more neurons than the chip has."""
    sizes = {node.name: math.prod(graph.shape(node.output)) for node in neurons}
    return _beyond(sizes, "neurons", int(chip.cores.value * chip.core.neurons.value), 1, chip)


def synapses_beyond(graph: Graph, links: Sequence[tuple[str, Link]], chip: Chip, times: int = 1) -> list[Violation]:
    """Return what to say of more synapses than ``times`` what all memory of the chip holds.

    ``links``: each with the name of its reader. With ``times`` = 1 weights are whole numbers, none of which changes;
    else they are floats, and those that are small beside the largest of their layer may become 0.
    """
    formats, f = Formats.of(chip), chip.synapses
    each = formats.weight_bits + f.delay_bits + f.tag_bits + min(f.index_bits)
    room = int(chip.cores.value * chip.core.synapse_bits.value) // each
    if sum(most(link) for _, link in links) <= times * room:
        return []  # told without looking at every weight
    share = formats.weight_step / formats.weight_limit if times > 1 else 0.0
    sizes: dict[str, int] = {}
    for name, link in links:
        sizes[name] = sizes.get(name, 0) + count(link, math.prod(graph.shape(link.source)), share)
    return _beyond(sizes, "synapses", room, times, chip)


def _beyond(sizes: dict[str, int], unit: str, room: int, times: int, chip: Chip) -> list[Violation]:
    total = sum(sizes.values())
    if total <= times * room:
        return []
    by_size = sorted(((size, name) for name, size in sizes.items()), reverse=True)
    largest = ", ".join(f"{name} {size:,}" for size, name in by_size[:3])
    holds = "has" if unit == "neurons" else "holds at most"
    advice = "Make these narrower, or lower the image size"
    limit = f"{chip.name} {holds} {room:,}; the largest layers: {largest}. {advice}"
    return [Violation("the network", f"{total:,} {unit}", limit, kind=unit)]
