"""Partition: cut every population into slices that fit a core.

Neurons are taken in (row, column, channel) order, so that a slice covers a compact patch and shares its inputs: on a
convolutional network this needs a quarter of the packets of torch's (channel, row, column) order. A population is cut
into the fewest equal slices that respect every limit of a core.

Most cuts are told from the number of synapses alone: a slice has more than a core can hold whatever its axons are, or
fits however they lie. Only where neither is so are its axons counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.errors import CompileError, Violation
from compiler.mapping.axons import Ints, memory_bits, reordered
from compiler.network import Placed, Projection
from hw.chip import Chip


@dataclass(frozen=True)
class Need:
    """What a set of neurons asks of a core."""

    neurons: int
    in_axons: int
    synapse_bits: int

    def exceeds(self, chip: Chip) -> tuple[str, str] | None:
        """Return what exceeds a core and the core's limit, in words, or None."""
        limits = dict(chip.core.items())
        for what, unit in (
            ("neurons", "compartments"),
            ("in_axons", "input axons"),
            ("synapse_bits", "bits of synapses"),
        ):
            if getattr(self, what) > limits[what]:
                return f"{getattr(self, what):,} {unit}", f"a core of {chip.name} has {limits[what]:,}"
        return None


def spatial_order(placed: Placed) -> Ints:
    """Return neuron numbers in (row, column, channel) order."""
    numbers = np.arange(placed.population.size).reshape(placed.shape)
    return (np.moveaxis(numbers, 0, -1) if numbers.ndim > 1 else numbers).ravel()


def slices_of(placed: Placed, incoming: list[Projection], chip: Chip, at_least: int = 1) -> list[Ints]:
    """Return the slices of a population as arrays of neuron numbers.

    Args:
        placed: the population.
        incoming: the projections that feed it.
        chip: whose cores must hold the slices.
        at_least: smallest number of slices (to spread out-axons).

    Raises:
        CompileError: a single neuron exceeds a core.
    """
    order = spatial_order(placed)
    fits = _Fits(order, incoming, chip)
    low = max(at_least, -(-len(order) // int(chip.core.neurons.value)))
    parts, found = low, fits.cut(low)
    while not found:
        if parts >= len(order):
            what, most = next(e for i in range(len(order)) if (e := fits.need(i, i + 1).exceeds(chip)) is not None)
            name = placed.population.name
            raise CompileError(Violation(name, f"{what} for one neuron", f"{most}; reduce the fan-in of that layer"))
        low, parts = parts + 1, min(2 * parts, len(order))
        found = fits.cut(parts)
    # The fewest slices lie between the last count that failed and the first that worked.
    high = parts
    while low < high:
        middle = (low + high) // 2
        if fits.cut(middle):
            high = middle
        else:
            low = middle + 1
    return np.array_split(order, high)


class _Fits:
    """Whether slices of a population, in order, fit the cores of a chip."""

    def __init__(self, order: Ints, incoming: list[Projection], chip: Chip):
        matrices = [(reordered(p.weights, order), p.weight_bits) for p in incoming if p.weights.nnz]
        self.size, self.chip = len(order), chip
        self.starts = [matrix.indptr.astype(np.int64) for matrix, _ in matrices]
        self.sources = [matrix.indices.astype(np.int64) for matrix, _ in matrices]
        self.used = [int(np.count_nonzero(np.bincount(sources))) for sources in self.sources]
        self.bits = [bits for _, bits in matrices]

    def cut(self, parts: int) -> bool:
        """Whether each of so many equal slices fits a core."""
        each, more = divmod(self.size, parts)
        numbers = np.arange(parts + 1)
        bounds = numbers * each + np.minimum(numbers, more)
        least, most = self._bounds(bounds)
        core = self.chip.core
        room = np.array([core.neurons.value, core.in_axons.value, core.synapse_bits.value])
        if bool((least > room).any()):
            return False
        unsure = np.flatnonzero((most > room).any(1))
        likely = unsure[np.argsort(-least[unsure, 2], kind="stable")]  # what fails is found early
        return all(self.need(int(bounds[k]), int(bounds[k + 1])).exceeds(self.chip) is None for k in likely)

    def _bounds(self, bounds: Ints) -> tuple[Ints, Ints]:
        """Return the least and the most that each slice can need, as far as its numbers of synapses tell: (parts, 3).

        Memory lies between that of synapses in full chunks, unrounded, and that of chunks which all are rounded up.
        """
        f, sizes = self.chip.synapses, np.diff(bounds)
        least, most = (np.zeros((len(sizes), 3), np.int64) for _ in range(2))
        least[:, 0] = most[:, 0] = sizes
        index_bits = {int(n): f.index_bits_for(int(n)) for n in np.unique(sizes)} if self.bits else {}
        width = np.array([index_bits.get(int(n), 0) for n in sizes], np.int64)
        for starts, used, weight_bits in zip(self.starts, self.used, self.bits, strict=True):
            synapses = np.diff(starts[bounds])
            per_row = np.diff(starts)
            axons = np.minimum(synapses, used)
            each = weight_bits + f.delay_bits + f.tag_bits + width
            least[:, 1] += np.maximum.reduceat(per_row, bounds[:-1]) if self.size else 0
            most[:, 1] += axons
            least[:, 2] += synapses * each
            chunks = synapses // f.chunk_weights + axons
            most[:, 2] += synapses * each + chunks * (f.chunk_header_bits + f.word_bits - 1)
        return least, most

    def need(self, start: int, stop: int) -> Need:
        """Return what the neurons from ``start`` to ``stop`` - 1 of the order need."""
        axons = bits = 0
        for starts, sources, weight_bits in zip(self.starts, self.sources, self.bits, strict=True):
            reached = np.bincount(sources[starts[start] : starts[stop]])
            lengths = reached[reached > 0]
            axons += len(lengths)
            bits += memory_bits(lengths, weight_bits, stop - start, self.chip.synapses)
        return Need(stop - start, axons, bits)
