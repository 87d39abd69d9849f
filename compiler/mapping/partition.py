"""Partition: cut every population into slices that fit a core.

Neurons are taken in (row, column, channel) order, so that a slice covers a compact patch and shares its inputs: on a
convolutional network this needs a quarter of the packets of torch's (channel, row, column) order. A population is cut
into the fewest equal slices that respect every limit of a core.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compiler.errors import CompileError, Violation
from compiler.mapping.axons import Ints, memory_bits
from compiler.network import Lowered, Placed, Projection
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


def need(neurons: Ints, incoming: list[Projection], chip: Chip) -> Need:
    """Return what ``neurons`` need, given the projections that feed their population."""
    axons = bits = 0
    for projection in incoming:
        reached = np.bincount(projection.weights[neurons].indices, minlength=1)
        lengths = reached[reached > 0].astype(np.int64)
        axons += len(lengths)
        bits += memory_bits(lengths, projection.weight_bits, len(neurons), chip.synapses)
    return Need(len(neurons), axons, bits)


def partition(lowered: Lowered, chip: Chip, at_least: dict[int, int] | None = None) -> list[list[Ints]]:
    """Return, for each population, its slices as arrays of neuron numbers.

    Args:
        lowered: the network.
        chip: whose cores must hold the slices.
        at_least: smallest number of slices for some populations (to spread out-axons).

    Raises:
        CompileError: a single neuron exceeds a core.
    """
    return [
        _slices(lowered, index, placed, chip, (at_least or {}).get(index, 1))
        for index, placed in enumerate(lowered.placed)
    ]


def _slices(lowered: Lowered, index: int, placed: Placed, chip: Chip, at_least: int) -> list[Ints]:
    order = spatial_order(placed)
    incoming = [p for p in lowered.projections if p.target == index]
    limit = int(chip.core.neurons.value)

    def cut(parts: int) -> list[Ints] | None:
        slices = np.array_split(order, parts)
        return slices if all(need(s, incoming, chip).exceeds(chip) is None for s in slices) else None

    low = max(at_least, -(-len(order) // limit))
    parts, found = low, cut(low)
    while found is None:
        if parts >= len(order):
            alone = (need(order[i : i + 1], incoming, chip).exceeds(chip) for i in range(len(order)))
            what, most = next(exceeds for exceeds in alone if exceeds is not None)
            name = placed.population.name
            raise CompileError(Violation(name, f"{what} for one neuron", f"{most}; reduce the fan-in of that layer"))
        low, parts = parts + 1, min(2 * parts, len(order))
        found = cut(parts)
    # The fewest slices lie between the last count that failed and the first that worked.
    high = parts
    while low < high:
        middle = (low + high) // 2
        attempt = cut(middle)
        if attempt is None:
            low = middle + 1
        else:
            high, found = middle, attempt
    return found
