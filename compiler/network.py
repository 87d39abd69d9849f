"""The integer network as data: what targets produce, and mapping, simulators and exchange formats consume.

``Network`` is a network with its input, ready to run step by step. ``Lowered`` is the same without input data, but with
where in the graph and in time every population belongs.

Shapes: N neurons of one population, N0 input lines, T steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

INPUT = -1
"""The source of a projection that is fed by the network's input."""


@dataclass(frozen=True, eq=False)
class Population:
    """N neurons with one set of decays and one threshold; units are those of the target's arithmetic.

    ``du``, ``dv``: decay constants; ``vth``: threshold before its shift; ``bias_mant``, ``bias_exp``: int32 (N,), the
    bias is ``bias_mant << bias_exp``; ``further``: what the neurons of a target have beyond these.
    """

    name: str
    du: int
    dv: int
    vth: int
    bias_mant: NDArray[np.int32]
    bias_exp: NDArray[np.int32]
    further: tuple[int, ...] = ()

    @staticmethod
    def unbiased(name: str, size: int, du: int, dv: int, vth: int, further: tuple[int, ...] = ()) -> Population:
        """Return N = ``size`` neurons whose bias is 0."""
        return Population(name, du, dv, vth, np.zeros(size, np.int32), np.zeros(size, np.int32), further)

    @property
    def row(self) -> tuple[int, ...]:
        """What the target's step takes, for each neuron."""
        return (self.du, self.dv, self.vth, *self.further)

    @property
    def size(self) -> int:
        """Number of neurons N."""
        return len(self.bias_mant)

    @cached_property
    def bias(self) -> NDArray[np.int64]:
        """What is added to the voltage at every step, (N,)."""
        return self.bias_mant.astype(np.int64) << self.bias_exp


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from ``source`` (a population index or ``INPUT``) to population ``target``.

    ``weights``: int32 csr_array (neurons of the target, neurons of the source) as written, before the chip stores them;
    ``weight_exp``: shift of each neuron's sum; ``weight_bits``: bits a weight.
    """

    source: int
    target: int
    weights: csr_array
    weight_exp: int
    weight_bits: int

    def __post_init__(self) -> None:
        # One stored entry a synapse: range and rounding are about synapses. Leaves the matrix's meaning as it is.
        self.weights.sum_duplicates()


@dataclass(frozen=True, eq=False)
class Network:
    """Populations, the projections between them, and the input spikes ``inputs``, uint8 (N0, T) of 0 and 1."""

    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    inputs: NDArray[np.uint8]

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return int(self.inputs.shape[1])

    def source_size(self, source: int) -> int:
        """Neurons of population ``source``, or input lines for ``INPUT``."""
        return int(self.inputs.shape[0]) if source == INPUT else self.populations[source].size


@dataclass(frozen=True, eq=False)
class Placed:
    """A population in the lowered network: its place in the graph and in time.

    ``kind`` is "neuron", "gate", "relay", "part" (of a current that is too wide for a core) or "readout"; ``signal``
    the quantised graph's signal that it computes, ``layer`` the signal of the source graph that it stands for,
    ``depth`` its delay in steps. ``drive`` is the signal of the current that the host writes into its bias register,
    "" where spikes alone drive it. ``levels``: the least and the most that it sends at once; ``resets``: whether a
    spike leaves its membrane at 0, whatever it was.
    """

    population: Population
    kind: str
    signal: str
    layer: str
    shape: tuple[int, ...]
    depth: int
    drive: str = ""
    levels: tuple[int, int] = (0, 1)
    resets: bool = True

    @property
    def host_driven(self) -> bool:
        """Whether the host sets its bias and no spikes reach it."""
        return bool(self.drive) and self.depth == 0


@dataclass(frozen=True, eq=False)
class Unit:
    """Nodes of the quantised graph that run between the chip's steps: on the host, or in the chip's multipliers.

    ``nodes`` at step t of the graph run at step t + ``depth`` of the chip, on spikes that came before; ``made`` are
    their signals that enter the chip as events of ``levels[i]``, from line ``first[i]`` on. A signal in ``drives``
    goes into the bias registers of a population, by its number.
    """

    nodes: tuple[str, ...]
    made: tuple[str, ...]
    first: tuple[int, ...]
    levels: tuple[tuple[int, int], ...]
    depth: int
    drives: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Lowered:
    """A network without input data: populations, projections, and what its input lines carry.

    Lines 0 … ``external`` − 1 are the network's spiking inputs; then come those that ``units`` feed, and one clock line
    for each depth in ``clocks``.
    """

    placed: tuple[Placed, ...]
    projections: tuple[Projection, ...]
    external: int
    clocks: tuple[int, ...]
    timesteps: int
    units: tuple[Unit, ...] = ()
    fed: int = 0
    levels: tuple[int, int] = (0, 1)

    @property
    def steps(self) -> int:
        """Time steps of a run: T plus the depth of the deepest population that computes, which is the readout."""
        depths = [p.depth for p in self.placed if p.kind != "relay"]
        return self.timesteps + max(depths + [u.depth for u in self.units])

    @property
    def lines(self) -> int:
        """Number of input lines."""
        return self.first_clock + len(self.clocks)

    def line_levels(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the lowest (≤ 0) and highest (≥ 0) level of every input line."""
        low, high = np.zeros(self.lines, np.int64), np.ones(self.lines, np.int64)
        low[: self.external], high[: self.external] = min(self.levels[0], 0), max(self.levels[1], 0)
        fed = [pair for unit in self.units for pair in zip(unit.first, unit.levels, strict=True)]
        for start, (least, most) in sorted(fed):  # each up to where the next begins
            low[start : self.first_clock], high[start : self.first_clock] = min(least, 0), max(most, 0)
        return low, high

    @property
    def first_clock(self) -> int:
        """Number of the first clock line."""
        return self.external + self.fed

    @property
    def neurons(self) -> int:
        """Neurons of all populations."""
        return sum(p.population.size for p in self.placed)

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
