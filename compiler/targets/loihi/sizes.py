"""Sizes: what is too large for a chip whatever its cores hold, told before any synapse is unrolled.

Unrolling takes time and memory in proportion to the synapses; numbers of neurons and of weights that meet values inside
the maps take neither. Which weights rounding makes 0 hangs on scales that quantising finds, which takes long as well:
``float_synapses_beyond`` counts those that stay at the smallest scale that can come out.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

import torch

from compiler.analysis.currents import NOTHING, at_rest, since_neurons
from compiler.analysis.windows import synapses_of
from compiler.errors import Violation
from compiler.graph import Graph, Node
from compiler.targets.loihi.constants import neuron_of
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.links import Link
from compiler.targets.loihi.synapses import count, most
from hw.chip import Chip

HOPELESS = 8
"""A float network with so many times the synapses of a chip is refused whatever its scales: quantising makes some of
them 0, not most."""
_MARGIN = 0.98
"""A scale that does not fit is lowered by this factor, and may fit with more to spare."""


@dataclass(frozen=True, eq=False)
class Read:
    """What spikes bring to a population before any number is chosen.

    ``node``: its neurons (None: the output), named ``name``; ``signal``: its current; ``links``: what it reads;
    ``whole``: whether these are all of it, and nothing comes from the host.
    """

    name: str
    node: Node | None
    signal: str
    links: tuple[Link, ...]
    whole: bool


def neurons_beyond(graph: Graph, neurons: list[Node], chip: Chip) -> list[Violation]:
    """Return what to say of more neurons than the chip has."""
    sizes = {node.name: math.prod(graph.shape(node.output)) for node in neurons}
    return _beyond(sizes, "neurons", int(chip.cores.value * chip.core.neurons.value), chip)


def synapses_beyond(graph: Graph, links: Sequence[tuple[str, Link]], chip: Chip) -> list[Violation]:
    """Return what to say of more synapses than all memory of the chip holds.

    ``links``: of a quantised graph, whose weights are whole numbers, each with the name of its reader.
    """
    room = _room(chip)
    if sum(most(link) for _, link in links) <= room:
        return []  # told without looking at every weight
    return _beyond(_counted(graph, [(name, link, 0.0) for name, link in links]), "synapses", room, chip)


def float_synapses_beyond(
    graph: Graph, reads: Sequence[Read], chip: Chip, stops: Container[str] = NOTHING
) -> list[Violation]:
    """Return what to say of a float network of which more synapses will be left than the chip's memory holds.

    ``stops``: where paths of currents begin, beside neurons and inputs. The number that is said is the float network's.
    """
    room, formats = _room(chip), Formats.of(chip)
    largest = sum(most(link) for read in reads for link in read.links)
    if largest <= room:
        return []
    # Where a layer uses all bits of its weights, those above this share of its largest stay.
    fine = formats.weight_step / formats.weight_limit
    pairs = [(read.name, link) for read in reads for link in read.links]
    hopeless = HOPELESS * room
    refused = largest > hopeless and sum(_counted(graph, [(n, link, fine) for n, link in pairs]).values()) > hopeless
    if not refused:
        left, graph = [], graph.double()
        for read in reads:
            scale = _least_scale(graph, read, formats, stops)
            left += [(read.name, link, max(fine, _share(link, scale, formats))) for link in read.links]
        refused = sum(_counted(graph, left).values()) > room
    return _beyond(_counted(graph, [(n, link, 0.0) for n, link in pairs]), "synapses", room, chip) if refused else []


def further_beyond(
    graph: Graph, neurons: Sequence[Node], found: list[Violation], chip: Chip, stops: Container[str]
) -> list[Violation]:
    """Return what to say of too many neurons (``found``), or of synapses, where these exceed the chip further.

    They are counted from shapes and zeros alone: not even a number for each neuron is written down.
    """
    ends = [(node.name, node.inputs[0]) for node in neurons] + [("the output", output) for output in graph.outputs]
    sizes = {
        name: sum(synapses_of(graph, node) for node in since_neurons(graph, signal, stops)) for name, signal in ends
    }
    return max(found, _beyond(sizes, "synapses", _room(chip), chip), key=_excess)


def _excess(found: list[Violation]) -> float:
    return max(((v.need_value or 0.0) / (v.limit_value or 1.0) for v in found), default=0.0)


def _room(chip: Chip) -> int:
    """How many synapses all memory of a chip holds."""
    f = chip.synapses
    each = Formats.of(chip).weight_bits + f.delay_bits + f.tag_bits + min(f.index_bits)
    return int(chip.cores.value * chip.core.synapse_bits.value) // each


def _counted(graph: Graph, links: Sequence[tuple[str, Link, float]]) -> dict[str, int]:
    """How many synapses each reader has, of weights above a share of the link's largest."""
    sizes: dict[str, int] = {}
    for name, link, share in links:
        more = count(link, math.prod(graph.shape(link.source)), share) if share < 1 else 0
        sizes[name] = sizes.get(name, 0) + more
    return sizes


def _share(link: Link, drive: float, f: Formats) -> float:
    """The share of a link's largest weight above which one surely stays, where a scale is ``drive`` or more."""
    peak = float(link.weight.detach().abs().max()) if link.weight.numel() else 0.0
    return f.weight_step / 2 / (peak * drive) if peak * drive > 0 else 1.0


@torch.no_grad()
def _least_scale(graph: Graph, read: Read, f: Formats, stops: Container[str]) -> float:
    """Return what quantising multiplies the weights of a population by at least, 0 where nothing is known.

    Quantising takes the largest scale at which no sum leaves its range (``scale``). None does where all weights of a
    neuron, each rounded up, stay inside in all T steps together, whatever leaks, and with a threshold on top.
    """
    neuron = None if read.node is None else neuron_of(read.node, f)
    plain = neuron is None or (neuron.mode == "threshold" and neuron.threshold > 0)
    if not (read.whole and plain) or any(link.op == "conv_transpose" for link in read.links):
        return 0.0
    gain, threshold = (1.0, 0.0) if neuron is None else (neuron.gain, neuron.threshold)
    total = at_rest(graph, read.signal, stops).reshape(-1).abs()
    fixed, growing, peaks = f.weight_step / 2, 0.0, []
    for link in read.links:
        sources, peak = math.prod(graph.shape(link.source)), float(link.weight.abs().max()) * gain
        total = total + link.run(link.weight.abs(), torch.full((sources,), link.most, dtype=torch.float64)).reshape(-1)
        met = link.most * (1 if link.op == "scale" else link.weight[0].numel())
        fixed += met * f.weight_step / 2
        growing += met * f.weight_step * peak / f.weight_limit
        peaks += [peak] if peak > 0 else []
    if not peaks:
        return 0.0
    steps, held = graph.timesteps, min(f.threshold, f.state // f.unit)
    ends = [(held - steps * fixed) / (steps * (float(total.max()) * gain + growing) + threshold)]
    ends += [f.weight_limit / min(peaks), f.weight_limit * 2**f.exponents / max(peaks)]
    ends += [f.threshold / threshold] if threshold else []
    whole = 1 / threshold if threshold else 0.0  # thresholds are whole numbers
    return max((_MARGIN * min(ends) - whole) * gain, 0.0)


def _beyond(sizes: dict[str, int], unit: str, room: int, chip: Chip) -> list[Violation]:
    total = sum(sizes.values())
    if total <= room:
        return []
    by_size = sorted(((size, name) for name, size in sizes.items()), reverse=True)
    largest = ", ".join(f"{name} {size:,}" for size, name in by_size[:3])
    advice = "Make these narrower, or lower the image size"
    limit = f"{chip.name} has {room:,}; the largest layers: {largest}. {advice}"
    return [Violation("the network", f"{total:,} {unit}", limit, "", unit, total, room)]
