"""Lower: a quantised graph → populations of integer neurons and the synapses between them.

Every set of synapses costs one time step, so a population at depth d does at step t + d what the graph's neuron does at
step t. Three things keep that exact:

- a shortcut over several layers, or a delay, passes through relay populations, one a step, that repeat each spike;
- a bias acts only during a population's own T steps: it is delivered by always-on input lines (a clock line per depth)
  that start one step before it, as a sum of as many weights as it takes;
- a population driven by the host alone gets its bias register set and starts at step 0; where spikes reach it as well,
  the host sets the register for the population's own T steps.

Spikes of an earlier step need fewer relays, so that a loop of one step through one set of synapses is a projection of a
population to itself; a loop needs as many steps as it has sets of synapses. What the host (or a multiplier) does at
every step costs one step like a set of synapses, and comes back on input lines.

The readout only integrates, so it may be split without error: where its fan-in exceeds a core's input axons, several
populations each integrate a share of the inputs, and the host adds up their membranes. A neuron that fires may be split
where events carry numbers: populations without memory each add up a share of its current and send the sum, exactly, one
step later. With spikes of 0 and 1 a sum cannot be handed on, and the mapping refuses such a layer.

Neuron numbers follow torch's (C, H, W) order. What is made is proved to overflow nowhere (``ranges``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.sparse import csr_array, eye_array
from torch import Tensor

from compiler.analysis.currents import at_rest
from compiler.errors import CompileError, Violation
from compiler.graph import BINARY, Graph, Node, is_neuron
from compiler.network import INPUT, Lowered, Placed, Population, Projection, Unit
from compiler.targets.loihi.constants import MODES, RESETS
from compiler.targets.loihi.formats import Formats
from compiler.targets.loihi.links import Link, links
from compiler.targets.loihi.quantise import GATE, HOST, PRODUCT, READOUT
from compiler.targets.loihi.ranges import overflows
from compiler.targets.loihi.scale import split_bias
from compiler.targets.loihi.sizes import neurons_beyond, synapses_beyond
from compiler.targets.loihi.synapses import synapses
from compiler.targets.loihi.timing import depths_of
from hw.chip import Chip

_RELAY_THRESHOLD = 1  # below the smallest weight there is (2); du and dv keep nothing of it
_EXTERNAL, _FED, _CLOCK = "external", "fed", "clock"
"""Kinds of input lines: the network's own inputs, what units feed, clocks."""


@dataclass(frozen=True)
class _Lines:
    """A run of input lines of one kind that a matrix reads."""

    kind: str
    start: int = 0


@dataclass
class _Lowering:
    """Populations and projections under construction.

    ``neurons`` maps a graph signal to its population, ``relays`` (signal, delay) to the relay that gives it, ``fed`` a
    unit's signal to its first line.
    """

    graph: Graph
    formats: Formats
    in_axons: int
    depths: dict[str, int]
    found: dict[str, tuple[Link, ...]]
    placed: list[Placed] = field(default_factory=list)
    projections: list[tuple[Projection, _Lines]] = field(default_factory=list)
    neurons: dict[str, int] = field(default_factory=dict)
    relays: dict[tuple[str, int], int] = field(default_factory=dict)
    biases: list[tuple[int, list[tuple[Tensor, int]]]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    fed: dict[str, int] = field(default_factory=dict)
    external: int = 0
    fed_lines: int = 0

    def add(self, placed: Placed) -> int:
        """Add a population and return its number."""
        self.placed.append(placed)
        return len(self.placed) - 1

    def population(
        self, wanted: str, size: int, dv: int, vth: int, further: tuple[int, ...] | None = None
    ) -> Population:
        """Return a population under a name of its own."""
        name, count = wanted, 0
        while name in self.names:
            count += 1
            name = f"{wanted}#{count}"
        self.names.add(name)
        given = self._one_event() if further is None else further
        return Population.unbiased(name, size, self.formats.forget, dv, vth, given)

    def _one_event(self) -> tuple[int, ...]:
        """What a relay of single events has beyond decays and threshold."""
        f = self.formats
        return (1, MODES["threshold"], RESETS["hard"], f.state, f.unity.bit_length() - 1) if f.graded else ()

    def project(self, source: int, target: int, matrix: csr_array, exponent: int, lines: _Lines) -> None:
        """Add synapses; ``lines`` says which input lines the columns are, where the source is the input."""
        self.projections.append((Projection(source, target, matrix, exponent, self.formats.weight_bits), lines))

    def origin(self, source: str) -> tuple[int, _Lines]:
        """Return the population that makes a signal, or the input and which of its lines carry it."""
        size = math.prod(self.graph.shape(source))
        if source in self.graph.inputs:
            self.external = size
            return INPUT, _Lines(_EXTERNAL)
        if source in self.neurons:
            return self.neurons[source], _Lines(_EXTERNAL)
        if source not in self.fed:
            self.fed[source] = self.fed_lines
            self.fed_lines += size
        return INPUT, _Lines(_FED, self.fed[source])

    def source_at(self, link: Link, depth: int) -> tuple[int, _Lines]:
        """Return who sends a link's spikes just before a population at ``depth``: its source, or its last relay."""
        source, shape = link.source, self.graph.shape(link.source)
        previous, lines = self.origin(source)
        for step in range(1, depth - self.depths[source] + link.delay):
            key = (source, step)
            if key not in self.relays:
                self.relays[key] = self._relay(source, shape, step)
                eye = eye_array(math.prod(shape), dtype=np.int32, format="csr")
                self.project(previous, self.relays[key], csr_array(self.formats.weight_step * eye), 0, lines)
            previous, lines = self.relays[key], _Lines(_EXTERNAL)
        return previous, lines

    def _relay(self, source: str, shape: tuple[int, ...], step: int) -> int:
        name, kind = f"{source}.relay{step}", self.graph.type(source)
        further, most = None, max(1, kind.high)
        if kind != BINARY:  # one unit a level, rounded to what it is
            f = self.formats
            further = (most, MODES["half_even"], RESETS["hard"], f.state, f.unity.bit_length() - 1)
        if kind.low < 0:
            limit = "relays repeat levels from 0 up; put a neuron on the shorter way"
            raise CompileError(Violation(source, f"events {kind} on a shortcut over several layers", limit))
        population = self.population(name, math.prod(shape), self.formats.forget, _RELAY_THRESHOLD, further)
        depth = self.depths[source] + step
        return self.add(Placed(population, "relay", source, "", shape, depth, levels=(0, most)))


def lower(graph: Graph, chip: Chip) -> Lowered:
    """Return the populations and synapses of a quantised graph, no readout wider than a core of ``chip`` can take.

    Raises:
        CompileError: it is larger than the chip, or an accumulator could overflow (names layer, need and limit).
    """
    neurons = [node for node in graph if is_neuron(node) and node.role not in (HOST, PRODUCT)]
    if beyond := neurons_beyond(graph, neurons, chip):
        raise CompileError(*beyond)
    made = {signal for node in graph if node.role in (HOST, PRODUCT) for signal in node.outputs}
    found = {
        node.output: () if node.attributes["drive"] == "bias" else links(graph, node.inputs[0], node.name, stops=made)
        for node in neurons
    }
    if beyond := synapses_beyond(graph, [(name, link) for name, read in found.items() for link in read], chip):
        raise CompileError(*beyond)
    drives = {node.output: _drive_of(node) for node in neurons if node.attributes["drive"] == "both"}
    work = _Lowering(graph, Formats.of(chip), int(chip.core.in_axons.value), {}, found)
    sized = [(node, _shares_of(work, node, chip)) for node in neurons]
    split = {node.output for node, shares in sized if len(shares) > 1 and node.role != READOUT}
    work.depths = depths_of(graph, found, drives, chip.name, split)
    for node, shares in sized:
        _add_population(work, node, len(shares) if node.role == READOUT else 1)
    for node, shares in sized:
        _connect(work, node, shares)
    clocks = tuple(sorted({work.placed[index].depth for index, _ in work.biases}))
    _add_biases(work, clocks)
    placed, projections = _in_order(work.placed, _fit_input(work, clocks))
    units = _units(work, placed)
    kind = graph.type(graph.inputs[0])
    levels = (kind.low, kind.high) if kind.is_event else (0, 1)
    lowered = Lowered(placed, projections, work.external, clocks, graph.timesteps, units, work.fed_lines, levels)
    wrong = overflows(lowered, chip)
    if wrong:
        raise CompileError(*wrong)
    return lowered


def _in_order(
    placed: list[Placed], projections: tuple[Projection, ...]
) -> tuple[tuple[Placed, ...], tuple[Projection, ...]]:
    """Sort populations by depth, so that those that talk to each other come to lie on cores side by side."""
    order = sorted(range(len(placed)), key=lambda index: placed[index].depth)
    new = {old: index for index, old in enumerate(order)} | {INPUT: INPUT}
    moved = (replace(p, source=new[p.source], target=new[p.target]) for p in projections)
    return tuple(placed[index] for index in order), tuple(sorted(moved, key=lambda p: p.target))


def _add_population(work: _Lowering, node: Node, shares: int) -> None:
    """Add the population of a neuron, or the ``shares`` that a readout is split into."""
    graph, a, depth = work.graph, node.attributes, work.depths[node.output]
    shape, layer = graph.shape(node.output), str(a.get("layer", node.output))
    kind = "readout" if node.role == READOUT else "gate" if node.role == GATE else "neuron"
    drive = _drive_of(node)
    for share in range(shares):
        name = f"{node.name}.{share}" if shares > 1 else node.name
        population = work.population(name, math.prod(shape), a["dv"], a["vth"], _further(node))
        sent = graph.type(node.output)
        resets = a.get("reset", "hard") == "hard"
        index = work.add(
            Placed(population, kind, node.output, layer, shape, depth, drive, (sent.low, sent.high), resets)
        )
        work.neurons.setdefault(node.output, index)


def _further(node: Node) -> tuple[int, ...]:
    """What a neuron has beyond decays and threshold, in the order of ``graded.arithmetic.row_step``."""
    a = node.attributes
    if node.op != "lif_graded":
        return ()
    return (a["levels"], MODES[a["mode"]], RESETS[a["reset"]], a["limit"], a["decay_bits"])


def _drive_of(node: Node) -> str:
    """Return the signal that the host writes into a population's bias registers, "" without one."""
    kind = node.attributes["drive"]
    return "" if kind == "current" else node.inputs[1 if kind == "both" else 0]


def _shares_of(work: _Lowering, node: Node, chip: Chip) -> list[list[csr_array]]:
    """Return the synapses of each link, for each share of a neuron's current: one, where a core takes it whole."""
    matrices = [synapses(link, math.prod(work.graph.shape(link.source))) for link in work.found[node.output]]
    if node.role == READOUT:
        shares = _shares(matrices, work.in_axons)
    else:
        widest = _widest(matrices)
        sums = work.formats.graded and 2 ** (chip.arithmetic.payload_bits - 1) > work.formats.state // work.formats.unit
        shares = max(1, -(-widest // max(1, work.in_axons - 8))) if sums else 1
    if shares == 1:
        return [matrices]
    while True:
        parts = [[_columns(matrix, share, shares) for matrix in matrices] for share in range(shares)]
        if node.role == READOUT or max(map(_widest, parts)) <= work.in_axons or shares > work.in_axons:
            return parts
        shares += 1


def _widest(matrices: list[csr_array]) -> int:
    """Return the input axons of the neuron that has most."""
    return int(sum(np.diff(matrix.indptr) for matrix in matrices).max()) if matrices else 0


def _connect(work: _Lowering, node: Node, shares: list[list[csr_array]]) -> None:
    """Add what reaches a neuron's populations, and note their bias."""
    found, first = work.found[node.output], work.neurons[node.output]
    depth, targets = work.depths[node.output], [work.neurons[node.output] + share for share in range(len(shares))]
    if len(shares) > 1 and node.role != READOUT:
        depth -= 1
        targets = [_part(work, node, share, depth) for share in range(len(shares))]
    sources = [work.source_at(link, depth) for link in found]
    for target, matrices in zip(targets, shares, strict=True):
        for (source, lines), matrix, link in zip(sources, matrices, found, strict=True):
            if matrix.nnz:
                work.project(source, target, matrix, link.exponent, lines)
    if node.attributes["drive"] != "bias":
        stops = {signal for other in work.graph if other.role in (HOST, PRODUCT) for signal in other.outputs}
        rest = at_rest(work.graph, node.inputs[0], stops).reshape(-1)
        parts, _ = split_bias(rest, work.formats)
        if parts := [(mantissa, e) for mantissa, e in parts if bool(mantissa.any())]:
            work.biases.append((first, parts))


def _part(work: _Lowering, node: Node, share: int, depth: int) -> int:
    """Add a population that sums up a share of a neuron's current and hands the sum on to it."""
    f, shape = work.formats, work.graph.shape(node.output)
    further = (1, MODES["sum"], RESETS["hard"], f.state, f.unity.bit_length() - 1)
    size, most = math.prod(shape), f.state // f.unit
    population = work.population(f"{node.name}.part{share}", size, f.forget, f.threshold, further)
    index = work.add(Placed(population, "part", node.output, "", shape, depth, levels=(-most, most)))
    eye = csr_array(eye_array(size, dtype=np.int32, format="csr"))
    work.project(index, work.neurons[node.output], eye, 0, _Lines(_EXTERNAL))
    return index


def _units(work: _Lowering, placed: tuple[Placed, ...]) -> tuple[Unit, ...]:
    """Return what runs between the chip's steps, by the step it runs at."""
    by_depth: dict[int, list[Node]] = {}
    for node in work.graph:
        if node.role in (HOST, PRODUCT):
            by_depth.setdefault(work.depths[node.output], []).append(node)
    units = []
    for depth, nodes in sorted(by_depth.items()):
        made = tuple(signal for node in nodes for signal in node.outputs if signal in work.fed)
        first = tuple(work.external + work.fed[signal] for signal in made)
        kinds = [work.graph.type(signal) for signal in made]
        levels = tuple((kind.low, kind.high) for kind in kinds)
        outputs = {signal for node in nodes for signal in node.outputs}
        drives = tuple((p.drive, index) for index, p in enumerate(placed) if p.drive in outputs)
        units.append(Unit(tuple(node.name for node in nodes), made, first, levels, depth, drives))
    return tuple(units)


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
    for index, parts in work.biases:
        line = clocks.index(work.placed[index].depth)
        for mantissa, exponent in parts:
            values = mantissa.numpy().astype(np.int32)
            rows = np.flatnonzero(values)
            matrix = csr_array((values[rows], (rows, np.zeros(len(rows), np.int64))), shape=(len(values), 1))
            work.project(INPUT, index, matrix, exponent, _Lines(_CLOCK, line))


def _fit_input(work: _Lowering, clocks: tuple[int, ...]) -> tuple[Projection, ...]:
    """Widen the matrices that read the input to all its lines."""
    starts = {_EXTERNAL: 0, _FED: work.external, _CLOCK: work.external + work.fed_lines}
    lines, fitted = starts[_CLOCK] + len(clocks), []
    for p, read in work.projections:
        if p.source == INPUT:
            columns = p.weights.indices + starts[read.kind] + read.start
            wide = csr_array((p.weights.data, columns, p.weights.indptr), shape=(p.weights.shape[0], lines))
            p = Projection(p.source, p.target, wide, p.weight_exp, p.weight_bits)
        fitted.append(p)
    return tuple(fitted)
