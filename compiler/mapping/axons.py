"""Axons: synapses grouped the way a core stores them.

An axon is what one source sends to one core within one projection; a spike travels to the core once per axon and is
spread there over the axon's synapses.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from hw.chip import SynapseFormat

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Axons:
    """Axons of one projection, sorted by source and then core.

    ``source`` and ``core`` (A,); synapses of axon k are ``target[start[k]:start[k+1]]`` with ``weight``.
    """

    source: Ints
    core: Ints
    start: Ints
    target: NDArray[np.int32]
    weight: NDArray[np.int32]

    @property
    def lengths(self) -> Ints:
        """Synapses of each axon, (A,)."""
        return np.diff(self.start)


def group(weights: csr_array, core_of_target: Ints) -> Axons:
    """Group the synapses of ``weights`` (target, source) into axons; ``core_of_target`` has one core per target."""
    order = np.argsort(core_of_target, kind="stable")
    # Columns list their entries in the order of the rows: by core, and within a core by target.
    by_source = reordered(weights, order).tocsc()
    cores = core_of_target[order].astype(np.int32)[by_source.indices]
    new = np.ones(len(cores), bool)
    np.not_equal(cores[1:], cores[:-1], out=new[1:])
    columns = by_source.indptr[:-1]
    new[columns[columns < len(cores)]] = True
    first = np.flatnonzero(new)
    source = np.searchsorted(by_source.indptr, first, side="right") - 1
    return Axons(
        source=source.astype(np.int64),
        core=cores[first].astype(np.int64),
        start=np.append(first, len(cores)).astype(np.int64),
        target=order.astype(np.int32)[by_source.indices],
        weight=by_source.data.astype(np.int32, copy=False),
    )


@dataclass(frozen=True)
class Arrivals:
    """Axons of one projection without their synapses, sorted by slice of the target and then source.

    ``part`` (A,) numbers the slices of the target, ``source`` (A,) the sources, ``length`` (A,) counts synapses.
    """

    part: Ints
    source: Ints
    length: Ints

    @staticmethod
    def nothing() -> Arrivals:
        """Return no axons."""
        return Arrivals(*(np.zeros(0, np.int64) for _ in range(3)))


def arrivals_of(weights: csr_array, slices: list[Ints]) -> Arrivals:
    """Return the axons that bring ``weights`` (target, source) to the ``slices`` of the target's neurons."""
    moved = reordered(weights, np.concatenate(slices))
    bounds = moved.indptr[np.cumsum([0, *map(len, slices)])]
    sources, lengths = [], []
    for start, stop in itertools.pairwise(bounds):
        reached = np.bincount(moved.indices[start:stop])
        sources.append(np.flatnonzero(reached))
        lengths.append(reached[sources[-1]])
    part = np.repeat(np.arange(len(slices)), [len(found) for found in sources])
    return Arrivals(part, np.concatenate(sources), np.concatenate(lengths))


def reordered(weights: csr_array, order: Ints) -> csr_array:
    """Return the rows of a matrix in another order, itself where that is its own."""
    return weights if bool((order == np.arange(len(order))).all()) else weights[order]


def memory_bits(lengths: Ints, weight_bits: int, neurons: int, synapses: SynapseFormat) -> int:
    """Return the synapse memory that axons of these lengths take on a core with ``neurons`` compartments."""
    return int(axon_bits(lengths, weight_bits, neurons, synapses).sum())


def axon_bits(lengths: Ints, weight_bits: int, neurons: int, synapses: SynapseFormat) -> Ints:
    """Return the memory of each of the axons of these lengths on a core with ``neurons`` compartments."""
    if not len(lengths):
        return np.zeros(0, np.int64)
    longest, index_bits = int(lengths.max()), synapses.index_bits_for(neurons)
    return _table(synapses, weight_bits, index_bits, max(1024, 1 << longest.bit_length()))[lengths]


@lru_cache(maxsize=64)
def _table(synapses: SynapseFormat, weight_bits: int, index_bits: int, longest: int) -> Ints:
    """Return the memory of axons of 0 … ``longest`` synapses."""
    neurons = 2**index_bits
    return np.array([synapses.axon_bits(length, weight_bits, neurons) for length in range(longest + 1)], np.int64)
