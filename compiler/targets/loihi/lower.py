"""Lower: a quantised graph → populations of integer neurons and the synapses between them.

Every set of synapses costs one time step, so a population at depth d does at step t + d what the graph's neuron does at
step t. Three things keep that exact:

- a shortcut over several layers passes through relay populations, one a step, that repeat each spike;
- a bias acts only during a population's own T steps: it is delivered by always-on input lines (a clock line per depth)
  that start one step before it, as a sum of as many weights as it takes;
- a population driven by the host gets its bias register set and starts at step 0.

The readout only integrates, so it may be split without error: where its fan-in exceeds a core's input axons, several
populations each integrate a share of the inputs, and the host adds up their membranes.

Neuron numbers follow torch's (C, H, W) order. What is made is proved to overflow nowhere (``ranges``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array, eye_array
from torch import Tensor

from compiler.analysis.currents import at_rest
from compiler.errors import CompileError, Violation
from compiler.graph import Graph, Node, is_neuron
from compiler.network import INPUT, Lowered, Placed, Population, Projection
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.links import links
from compiler.targets.loihi.quantise import READOUT
from compiler.targets.loihi.ranges import overflows
from compiler.targets.loihi.scale import split_bias
from compiler.targets.loihi.synapses import synapses
from hw.chip import Chip

_RELAY_THRESHOLD = 1  # below the smallest weight there is (2); du and dv keep nothing of it


@dataclass
class _Lowering:
    """Populations and projections under construction.

    ``neurons`` maps a graph signal to its population, ``relays`` (signal, delay) to the relay that gives it.
    """

    graph: Graph
    formats: Formats
    in_axons: int
    placed: list[Placed] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    neurons: dict[str, int] = field(default_factory=dict)
    relays: dict[tuple[str, int], int] = field(default_factory=dict)
    biases: list[tuple[int, list[tuple[Tensor, int]]]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    external: int = 0

    def add(self, placed: Placed) -> int:
        """Add a population and return its number."""
        self.placed.append(placed)
        return len(self.placed) - 1

    def population(self, wanted: str, size: int, dv: int, vth: int) -> Population:
        """Return a population under a name of its own."""
        name, count = wanted, 0
        while name in self.names:
            count += 1
            name = f"{wanted}#{count}"
        self.names.add(name)
        return Population.unbiased(name, size, self.formats.forget, dv, vth)

    def project(self, source: int, target: int, matrix: csr_array, exponent: int) -> None:
        """Add synapses."""
        self.projections.append(Projection(source, target, matrix, exponent, self.formats.weight_bits))

    def depth_of(self, source: str) -> int:
        """When a signal is there, in steps behind the graph."""
        return 0 if source in self.graph.inputs else self.placed[self.neurons[source]].depth

    def source_at(self, source: str, depth: int) -> int:
        """Return the population whose spikes are those of ``source``, ready to reach a population at ``depth``."""
        previous = INPUT if source in self.graph.inputs else self.neurons[source]
        shape = self.graph.shape(source)
        if previous == INPUT:
            self.external = math.prod(shape)
        for step in range(1, depth - self.depth_of(source)):
            key = (source, step)
            if key not in self.relays:
                relay = self.population(
                    f"{source}.relay{step}", math.prod(shape), self.formats.forget, _RELAY_THRESHOLD
                )
                at = self.depth_of(source) + step
                self.relays[key] = self.add(Placed(relay, "relay", source, "", shape, at))
                eye = eye_array(relay.size, dtype=np.int32, format="csr")
                self.project(previous, self.relays[key], csr_array(self.formats.weight_step * eye), 0)
            previous = self.relays[key]
        return previous


def lower(graph: Graph, chip: Chip) -> Lowered:
    """Return the populations and synapses of a quantised graph, no readout wider than a core of ``chip`` can take.

    Raises:
        CompileError: it is larger than the chip, or an accumulator could overflow (names layer, need and limit).
    """
    work = _Lowering(graph, Formats.of(chip), int(chip.core.in_axons.value))
    neurons = [node for node in graph if is_neuron(node)]
    _check_size(graph, neurons, chip)
    for node in neurons:
        _add_population(work, node)
    clocks = tuple(sorted({work.placed[index].depth for index, _ in work.biases}))
    _add_biases(work, clocks)
    lowered = Lowered(tuple(work.placed), _fit_input(work, clocks), work.external, clocks, graph.timesteps)
    found = overflows(lowered, chip)
    if found:
        raise CompileError(*found)
    return lowered


def _check_size(graph: Graph, neurons: list[Node], chip: Chip) -> None:
    """Refuse at once what has more neurons than the chip: unrolling its synapses would take long for nothing."""
    sizes = sorted(((math.prod(graph.shape(node.output)), node.name) for node in neurons), reverse=True)
    total, room = sum(size for size, _ in sizes), int(chip.cores.value * chip.core.neurons.value)
    if total > room:
        largest = ", ".join(f"{name} {size:,}" for size, name in sizes[:3])
        limit = f"{chip.name} has {room:,}; the largest layers: {largest}. Make these narrower, or lower the image size"
        raise CompileError(Violation("the network", f"{total:,} neurons", limit))


def _add_population(work: _Lowering, node: Node) -> None:
    graph, a = work.graph, node.attributes
    shape, layer = graph.shape(node.output), str(a.get("layer", node.output))
    if a["drive"] == "bias":
        population = work.population(node.name, math.prod(shape), a["dv"], a["vth"])
        work.neurons[node.output] = work.add(
            Placed(population, "neuron", node.output, layer, shape, 0, drive=node.inputs[0])
        )
        return
    found = links(graph, node.inputs[0], node.name)
    depth = 1 + max((work.depth_of(link.source) for link in found), default=0)
    sources = [work.source_at(link.source, depth) for link in found]
    matrices = [synapses(link, math.prod(graph.shape(link.source))) for link in found]
    readout = node.role == READOUT
    shares = _shares(matrices, work.in_axons) if readout else 1
    for share in range(shares):
        name = f"{node.name}.{share}" if shares > 1 else node.name
        population = work.population(name, math.prod(shape), a["dv"], a["vth"])
        index = work.add(Placed(population, "readout" if readout else "neuron", node.output, layer, shape, depth))
        work.neurons[node.output] = index
        for source, matrix, link in zip(sources, matrices, found, strict=True):
            part = _columns(matrix, share, shares) if shares > 1 else matrix
            work.project(source, index, part, link.exponent)
        if share == 0:
            parts, _ = split_bias(at_rest(graph, node.inputs[0]).reshape(-1), work.formats)
            if parts := [(mantissa, e) for mantissa, e in parts if bool(mantissa.any())]:
                work.biases.append((index, parts))


def _shares(matrices: list[csr_array], in_axons: int) -> int:
    """Return into how many populations a readout must be split; a few axons of each core are left for biases."""
    axons = sum(len(np.unique(matrix.indices)) for matrix in matrices)
    return max(1, -(-axons // max(1, in_axons - 8)))


def _columns(matrix: csr_array, share: int, shares: int) -> csr_array:
    """Keep every synapse of one share of the sources; a share is a run of sources that are used."""
    used = np.unique(matrix.indices)
    chosen = np.zeros(matrix.shape[1], bool)
    chosen[np.array_split(used, shares)[share]] = True
    entries = matrix.tocoo()
    rows, cols = entries.coords
    kept = chosen[cols]
    return csr_array((entries.data[kept], (rows[kept], cols[kept])), shape=matrix.shape)


def _add_biases(work: _Lowering, clocks: tuple[int, ...]) -> None:
    lines = work.external + len(clocks)
    for index, parts in work.biases:
        line = work.external + clocks.index(work.placed[index].depth)
        for mantissa, exponent in parts:
            values = mantissa.numpy().astype(np.int32)
            rows = np.flatnonzero(values)
            matrix = csr_array((values[rows], (rows, np.full(len(rows), line))), shape=(len(values), lines))
            work.project(INPUT, index, matrix, exponent)


def _fit_input(work: _Lowering, clocks: tuple[int, ...]) -> tuple[Projection, ...]:
    """Widen the matrices that read the input to all its lines."""
    lines, fitted = work.external + len(clocks), []
    for p in work.projections:
        if p.source == INPUT and p.weights.shape[1] != lines:
            wide = csr_array((p.weights.data, p.weights.indices, p.weights.indptr), shape=(p.weights.shape[0], lines))
            p = Projection(p.source, p.target, wide, p.weight_exp, p.weight_bits)
        fitted.append(p)
    return tuple(fitted)
