"""Lower: a quantised graph → populations of integer neurons and the synapses between them.

Every set of synapses costs one time step, so a population at depth d does at step t + d what the graph's neuron does at
step t. Three things keep that exact:

- a shortcut over several layers passes through relay populations, one a step, that repeat each spike;
- a bias acts only during a population's own T steps: it is delivered by always-on input lines (a clock line per depth)
  that start one step before it, split into a coarse and a fine weight where 8 bits do not suffice;
- a population driven by the host gets its bias register set and starts at step 0.

The readout only integrates, so it may be split without error: where its fan-in exceeds a core's input axons, several
populations each integrate a share of the inputs, and the host adds up their membranes.

Neuron numbers follow torch's (C, H, W) order.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array
from torch import Tensor

from compiler.errors import CompileError
from compiler.graph import Graph, Node
from compiler.operations import is_neuron
from compiler.passes.quantise import READOUT, split_bias
from compiler.passes.terms import Term, terms
from compiler.simulate.artifact import INPUT, Population, Projection
from hw.chip import Chip

RELAY_WEIGHT, RELAY_THRESHOLD = 2, 1  # 2 << 6 exceeds 1 << 6; du = dv = 4095 keeps nothing of it


@dataclass(frozen=True)
class Placed:
    """A population in the lowered network: its place in the graph and in time.

    ``kind`` is "neuron", "relay" or "readout"; ``signal`` the graph signal it computes, ``depth`` its delay in steps.
    """

    population: Population
    kind: str
    signal: str
    shape: tuple[int, ...]
    depth: int
    host_driven: bool = False


@dataclass(frozen=True)
class Lowered:
    """A network without input data: populations, projections, and what its input lines carry.

    Lines 0 … ``external`` − 1 are the network's spiking inputs; then comes one clock line for each depth in ``clocks``.
    """

    placed: tuple[Placed, ...]
    projections: tuple[Projection, ...]
    external: int
    clocks: tuple[int, ...]
    timesteps: int

    @property
    def steps(self) -> int:
        """Time steps of a run: T plus the depth of the deepest population."""
        return self.timesteps + max(p.depth for p in self.placed)

    @property
    def lines(self) -> int:
        """Number of input lines."""
        return self.external + len(self.clocks)

    @property
    def readouts(self) -> tuple[int, ...]:
        """Numbers of the populations whose membranes, added up, are the output."""
        return tuple(i for i, p in enumerate(self.placed) if p.kind == "readout")

    def clock_lines(self) -> NDArray[np.uint8]:
        """Return the clock lines (len(clocks), steps): depth d ticks from d − 1 for T steps."""
        ticks = np.zeros((len(self.clocks), self.steps), np.uint8)
        for row, depth in enumerate(self.clocks):
            ticks[row, depth - 1 : depth - 1 + self.timesteps] = 1
        return ticks


@dataclass
class _Lowering:
    """Populations and projections under construction; ``delayed`` maps (source, delay) to the relay that gives it."""

    graph: Graph
    in_axons: int
    placed: list[Placed] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    delayed: dict[tuple[str, int], int] = field(default_factory=dict)
    biases: list[tuple[int, list[tuple[Tensor, int]]]] = field(default_factory=list)
    spiking_input: int = 0

    def depth_of(self, source: str) -> int:
        return 0 if source in self.graph.inputs else self.placed[self._neuron(source)].depth

    def _neuron(self, signal: str) -> int:
        return next(i for i, p in enumerate(self.placed) if p.signal == signal and p.kind == "neuron")

    def source_at(self, source: str, depth: int) -> int:
        """Return the population whose spikes are those of ``source``, ready to reach a population at ``depth``."""
        delay = depth - 1 - self.depth_of(source)
        previous = INPUT if source in self.graph.inputs else self._neuron(source)
        size = _size(self.graph.shape(source))
        for step in range(1, delay + 1):
            key = (source, step)
            if key not in self.delayed:
                relay = _population(f"{source}.relay{step}", size, 4095, 4095, RELAY_THRESHOLD)
                at = self.depth_of(source) + step
                self.placed.append(Placed(relay, "relay", source, self.graph.shape(source), at))
                self.delayed[key] = len(self.placed) - 1
                matrix = csr_array(RELAY_WEIGHT * eye_array(size, dtype=np.int32, format="csr"))
                self.projections.append(Projection(previous, self.delayed[key], matrix, 0, 8))
            previous = self.delayed[key]
        return previous


def lower(graph: Graph, chip: Chip) -> Lowered:
    """Return the populations and synapses of a quantised graph, no readout wider than a core of ``chip`` can take.

    Raises:
        CompileError: nothing in the graph runs on the chip.
    """
    work = _Lowering(graph, int(chip.core.in_axons.value))
    for name in graph.inputs:
        if graph.type(name).is_event:
            work.spiking_input = _size(graph.shape(name))
    neurons = [node for node in graph if is_neuron(node)]
    if not neurons:
        raise CompileError("the network has no neurons; only spiking networks go onto this chip.")
    _check_size(graph, neurons, chip)
    for node in neurons:
        _add_population(work, node)
    clocks = tuple(sorted({work.placed[index].depth for index, _ in work.biases}))
    _add_biases(work, clocks)
    return Lowered(tuple(work.placed), _fit_input(work, clocks), work.spiking_input, clocks, graph.timesteps)


def _check_size(graph: Graph, neurons: list[Node], chip: Chip) -> None:
    """Refuse at once what has more neurons than the chip: unrolling its synapses would take long for nothing."""
    sizes = sorted(((_size(graph.shape(node.output)), node.name) for node in neurons), reverse=True)
    total, room = sum(size for size, _ in sizes), int(chip.cores.value * chip.core.neurons.value)
    if total > room:
        largest = ", ".join(f"{name} {size:,}" for size, name in sizes[:3])
        raise CompileError(
            f"the network needs {total:,} neurons, {chip.name} has {room:,}; the largest layers: {largest}. "
            "Make these narrower, or lower the image size."
        )


def _add_population(work: _Lowering, node: Node) -> None:
    graph, a = work.graph, node.attributes
    shape = graph.shape(node.output)
    host = a["drive"] == "bias"
    summands = () if host else terms(graph, node.inputs[0], node.name)
    depth = 0 if host else 1 + max(work.depth_of(term.source) for term in summands)
    sources = [work.source_at(term.source, depth) for term in summands]
    matrices = [synapses(graph, term, shape) for term in summands]
    shares = _shares(matrices, work.in_axons) if node.name == READOUT else 1
    for share in range(shares):
        name = f"{node.name}.{share}" if shares > 1 else node.name
        population = _population(name, _size(shape), a["du"], a["dv"], a["vth"])
        index = len(work.placed)
        kind = "readout" if node.name == READOUT else "neuron"
        work.placed.append(Placed(population, kind, node.output, shape, depth, host))
        for source, matrix, term in zip(sources, matrices, summands, strict=True):
            layer = term.layer
            assert layer is not None  # quantise gives every term its weights
            part = _columns(matrix, share, shares) if shares > 1 else matrix
            exponent = int(layer.attributes["weight_exponent"])
            work.projections.append(Projection(source, index, part, exponent, 8))
            if "bias" in layer.parameters and share == 0:
                parts, _ = split_bias(layer.parameters["bias"])
                work.biases.append((index, [(_spread(m, shape), e) for m, e in parts]))


def _shares(matrices: list[csr_array], in_axons: int) -> int:
    """Return into how many populations a readout must be split; a few axons of each core are left for biases."""
    axons = sum(len(np.unique(matrix.indices)) for matrix in matrices)
    return max(1, -(-axons // max(1, in_axons - 2 * len(matrices))))


def _columns(matrix: csr_array, share: int, shares: int) -> csr_array:
    """Keep every synapse of one share of the sources; a share is a run of sources that are used."""
    used = np.unique(matrix.indices)
    chosen = np.zeros(matrix.shape[1], bool)
    chosen[np.array_split(used, shares)[share]] = True
    entries = matrix.tocoo()
    rows, cols = entries.coords
    kept = chosen[cols]
    return csr_array((entries.data[kept], (rows[kept], cols[kept])), shape=matrix.shape)


def _spread(bias: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeat a bias per channel over the positions of each channel."""
    return bias.repeat_interleave(_size(shape) // len(bias))


def _add_biases(work: _Lowering, clocks: tuple[int, ...]) -> None:
    lines = work.spiking_input + len(clocks)
    for index, parts in work.biases:
        line = work.spiking_input + clocks.index(work.placed[index].depth)
        for mantissa, exponent in parts:
            values = mantissa.numpy().astype(np.int32)
            rows = np.flatnonzero(values)
            matrix = csr_array((values[rows], (rows, np.full(len(rows), line))), shape=(len(values), lines))
            if len(rows):
                work.projections.append(Projection(INPUT, index, matrix, exponent, 8))


def _fit_input(work: _Lowering, clocks: tuple[int, ...]) -> tuple[Projection, ...]:
    """Widen the matrices that read the input to all its lines."""
    lines, fitted = work.spiking_input + len(clocks), []
    for p in work.projections:
        if p.source == INPUT and p.weights.shape[1] != lines:
            wide = csr_array((p.weights.data, p.weights.indices, p.weights.indptr), shape=(p.weights.shape[0], lines))
            p = Projection(p.source, p.target, wide, p.weight_exp, p.weight_bits)
        fitted.append(p)
    return tuple(fitted)


def synapses(graph: Graph, term: Term, shape: tuple[int, ...]) -> csr_array:
    """Return the weights of a term as a sparse matrix (neurons of the target, neurons of the source), int32."""
    layer = term.layer
    assert layer is not None
    weight = layer.parameters["weight"].numpy()
    if layer.op == "scale":
        matrix = csr_array(int(weight) * eye_array(_size(shape), dtype=np.int32, format="csr"))
    elif layer.op == "linear":
        matrix = csr_array(weight.astype(np.int32))
    else:
        matrix = _convolution(layer, weight.astype(np.int32), graph.shape(layer.inputs[0]), shape)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _convolution(layer: Node, weight: NDArray[np.int32], source: tuple[int, ...], target: tuple[int, ...]) -> csr_array:
    """Unroll a convolution: one entry for each weight that meets each input inside the image."""
    a = layer.attributes
    (height, width), (out_channels, out_height, out_width) = source[1:], target
    in_per_group, out_per_group = weight.shape[1], out_channels // a["groups"]
    rows, cols, values = [], [], []
    y, x = np.arange(out_height), np.arange(out_width)
    o, i = np.divmod(np.arange(out_channels * in_per_group), in_per_group)
    channel_in = (o // out_per_group) * in_per_group + i
    for ky in range(weight.shape[2]):
        for kx in range(weight.shape[3]):
            sy = y * a["stride"][0] - a["padding"][0] + ky * a["dilation"][0]
            sx = x * a["stride"][1] - a["padding"][1] + kx * a["dilation"][1]
            iy, ix = np.flatnonzero((sy >= 0) & (sy < height)), np.flatnonzero((sx >= 0) & (sx < width))
            out_at = (iy[:, None] * out_width + ix).ravel()
            in_at = (sy[iy][:, None] * width + sx[ix]).ravel()
            rows.append((o[:, None] * (out_height * out_width) + out_at).ravel())
            cols.append((channel_in[:, None] * (height * width) + in_at).ravel())
            values.append(np.repeat(weight[:, :, ky, kx].ravel(), len(out_at)))
    shape = (_size(target), _size(source))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols)))
    return csr_array(entries, shape=shape)


def _population(name: str, size: int, du: int, dv: int, vth: int) -> Population:
    return Population(name, du, dv, vth, np.zeros(size, np.int32), np.zeros(size, np.int32))


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size
