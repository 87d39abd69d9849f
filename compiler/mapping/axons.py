"""Axons: synapses grouped the way a core stores them.

An axon is what one source sends to one core within one projection; a spike travels to the core once per axon and is
spread there over the axon's synapses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

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
    target: Ints
    weight: NDArray[np.int32]

    @property
    def lengths(self) -> Ints:
        """Synapses of each axon, (A,)."""
        return np.diff(self.start)


def group(weights: csr_array, core_of_target: Ints) -> Axons:
    """Group the synapses of ``weights`` (target, source) into axons; ``core_of_target`` has one core per target."""
    entries = coo_array(weights)
    rows, cols = (axis.astype(np.int64) for axis in entries.coords)
    cores = core_of_target[rows]
    order = np.lexsort((rows, cores, cols))
    rows, cols, cores = rows[order], cols[order], cores[order]
    new = np.ones(len(rows), bool)
    new[1:] = (cols[1:] != cols[:-1]) | (cores[1:] != cores[:-1])
    first = np.flatnonzero(new)
    start = np.append(first, len(rows)).astype(np.int64)
    return Axons(cols[first], cores[first], start, rows, entries.data[order].astype(np.int32))


def memory_bits(lengths: Ints, weight_bits: int, neurons: int, synapses: SynapseFormat) -> int:
    """Return the synapse memory that axons of these lengths take on a core with ``neurons`` compartments."""
    values, counts = np.unique(lengths, return_counts=True)
    return sum(
        int(count) * synapses.axon_bits(int(length), weight_bits, neurons)
        for length, count in zip(values, counts, strict=True)
    )
