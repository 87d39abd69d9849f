"""Copies: a population whose neurons reach more cores than one can address becomes several that do the same.

Every copy gets the same inputs and so fires the same spikes at the same steps, exactly; each sends them to its share of
the targets. No time is lost, and synapses onto the population are paid once a copy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array, diags_array

from compiler.mapping.axons import Ints
from compiler.mapping.partition import spatial_order
from compiler.network import Lowered, Placed, Projection, Unit


def copied(lowered: Lowered, index: int, count: int) -> Lowered:
    """Return the network with population ``index`` ``count`` times, each for a share of its targets."""
    original, first = lowered.placed[index], len(lowered.placed)
    numbers = [index, *range(first, first + count - 1)]
    copies = tuple(_copy(original, number) for number in range(1, count))
    projections: list[Projection] = []
    for p in lowered.projections:
        if p.source == index and p.target == index:  # a loop stays within each copy
            projections += [replace(p, source=number, target=number) for number in numbers]
        elif p.source == index:
            shares = np.array_split(spatial_order(lowered.placed[p.target]), count)
            projections += [
                replace(p, source=number, weights=_rows(p.weights, rows))
                for number, rows in zip(numbers, shares, strict=True)
            ]
        elif p.target == index:
            projections += [replace(p, target=number) for number in numbers]
        else:
            projections.append(p)
    units = tuple(replace(unit, drives=_drives(unit, index, numbers[1:])) for unit in lowered.units)
    return replace(lowered, placed=lowered.placed + copies, projections=tuple(projections), units=units)


def _drives(unit: Unit, index: int, numbers: list[int]) -> tuple[tuple[str, int], ...]:
    """What a unit writes into bias registers, into those of the copies as well."""
    more = tuple((signal, number) for signal, at in unit.drives if at == index for number in numbers)
    return unit.drives + more


def _copy(original: Placed, number: int) -> Placed:
    population = replace(original.population, name=f"{original.population.name}.copy{number}")
    return replace(original, population=population, kind="copy", layer="")


def _rows(weights: csr_array, rows: Ints) -> csr_array:
    """Keep some rows of a matrix; the others are empty."""
    chosen = np.zeros(weights.shape[0], np.int32)
    chosen[rows] = 1
    kept = csr_array(diags_array(chosen, dtype=np.int32) @ weights, dtype=weights.dtype)
    kept.eliminate_zeros()
    return kept
