"""Mapping: which neurons lie on which core, what each core then holds, and how far spikes travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from compiler.errors import CompileError, Violation
from compiler.mapping.axons import Arrivals, Axons, Ints, arrivals_of, axon_bits, group
from compiler.mapping.copies import copied
from compiler.mapping.partition import slices_of
from compiler.network import INPUT, Lowered, Projection
from hw.chip import Chip


@dataclass(frozen=True)
class CoreLoad:
    """What one core holds; compare with the chip's ``core`` limits."""

    id: int
    x: int
    y: int
    population: str
    neurons: int
    in_axons: int
    out_axons: int
    synapses: int
    synapse_bits: int


@dataclass(frozen=True)
class Mapping:
    """A placed network.

    ``core_of`` gives, for each population, the core of every neuron; ``axons`` the axons of each projection;
    ``cores`` the load of each core in use.
    """

    chip: Chip
    lowered: Lowered
    core_of: tuple[Ints, ...]
    axons: tuple[Axons, ...]
    cores: tuple[CoreLoad, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        chip = self.chip
        populations = [
            {
                "name": p.population.name,
                "kind": p.kind,
                "neurons": p.population.size,
                "depth": p.depth,
                "cores": sorted({int(core) for core in self.core_of[index]}),
                "weight_bits": max((q.weight_bits for q in self.lowered.projections if q.target == index), default=0),
            }
            for index, p in enumerate(self.lowered.placed)
        ]
        return {
            "chip": chip.name,
            "mesh": {"width": chip.mesh.width, "height": chip.mesh.height, "cores_per_tile": chip.mesh.cores_per_tile},
            "limits": {"cores": int(chip.cores.value), **dict(chip.core.items())},
            "populations": populations,
            "cores": [asdict(core) for core in self.cores],
            "steps": self.lowered.steps,
        }


Stored = Callable[[csr_array, int], csr_array]
"""Weights as written and their bits → weights as a core keeps them; what becomes of one hangs on its value and on the
smallest and the largest of them."""


class _TooWideError(Exception):
    """A neuron of population ``index`` reaches so many cores that it takes ``copies`` of it to address them."""

    def __init__(self, index: int, copies: int):
        super().__init__(index, copies)
        self.index, self.copies = index, max(2, copies)


def place(lowered: Lowered, chip: Chip, stored: Stored) -> Mapping:
    """Partition a network and lay its slices on consecutive cores; ``stored`` is the target's.

    A population whose neurons reach more cores than one can address is there several times (``copies``).

    Raises:
        CompileError: the network needs more cores than the chip has, or a core's limit cannot be met.
    """
    while True:
        try:
            return _placed(lowered, chip, stored)
        except _TooWideError as error:
            lowered = copied(lowered, error.index, error.copies)


def _placed(lowered: Lowered, chip: Chip, stored: Stored) -> Mapping:
    # What the chip stores, not what was asked for: a sign mode may drop a bit, or a whole weight.
    kept = tuple(_kept(p, stored) for p in lowered.projections)
    incoming: list[list[Projection]] = [[] for _ in lowered.placed]
    for projection in lowered.projections:
        incoming[projection.target].append(projection)
    at_least = dict.fromkeys(range(len(lowered.placed)), 1)
    slices: list[list[Ints]] = [[] for _ in lowered.placed]
    arrivals: list[Arrivals] = [Arrivals.nothing()] * len(kept)
    changed = set(at_least)
    while changed:
        for index in sorted(changed):
            slices[index] = slices_of(lowered.placed[index], incoming[index], chip, at_least[index])
        _check_cores(lowered, slices, chip)
        for number, projection in enumerate(lowered.projections):
            if projection.target in changed:
                arrivals[number] = arrivals_of(kept[number], slices[projection.target])
        core_of = _lay_out(slices)
        loads = _loads(lowered, chip, core_of, slices, arrivals)
        changed = _crowded(lowered, chip, core_of, slices, loads, at_least)
    axons = tuple(group(w, core_of[p.target]) for w, p in zip(kept, lowered.projections, strict=True))
    return Mapping(chip, lowered, core_of, axons, loads)


def _kept(projection: Projection, stored: Stored) -> csr_array:
    """Return what the chip stores of a projection: its own matrix, where that loses nothing."""
    weights, bits = projection.weights, projection.weight_bits
    if not weights.nnz:
        return weights
    smallest = int(weights.data.min())
    values = smallest + np.flatnonzero(np.bincount(weights.data - smallest))
    alone = stored(csr_array(values[None]), bits).toarray()[0]
    return weights if bool((values == alone).all() and values.all()) else stored(weights, bits)


def _crowded(
    lowered: Lowered,
    chip: Chip,
    core_of: tuple[Ints, ...],
    slices: list[list[Ints]],
    loads: tuple[CoreLoad, ...],
    at_least: dict[int, int],
) -> set[int]:
    """Ask for more slices of populations whose cores have too many output axons; return which these are."""
    limit, changed = int(chip.core.out_axons.value), set()
    over = {core.id: core for core in loads if core.out_axons > limit}
    for index in range(len(lowered.placed)) if over else ():
        cores = core_of[index]
        crowded = [over[int(core)] for core in np.unique(cores) if int(core) in over]
        if crowded:
            parts = len(slices[index])
            one = max(-(-core.out_axons // core.neurons) for core in crowded)
            if one > limit or parts >= len(cores):
                raise _TooWideError(index, -(-one // limit))
            factor = max(core.out_axons for core in crowded) / limit
            at_least[index] = min(len(cores), max(parts + 1, int(parts * factor)))
            changed.add(index)
    return changed


def _check_cores(lowered: Lowered, slices: list[list[Ints]], chip: Chip) -> None:
    needed, available = sum(len(s) for s in slices), int(chip.cores.value)
    if needed <= available:
        return
    sizes = sorted(((len(s), p.population.name) for s, p in zip(slices, lowered.placed, strict=True)), reverse=True)
    largest = ", ".join(f"{name} {count}" for count, name in sizes[:3])
    limit = (
        f"{chip.name} has {available:,}; the largest layers: {largest}. Make these narrower, or lower the image size"
    )
    raise CompileError(Violation("the network", f"{needed:,} cores", limit))


def _lay_out(slices: list[list[Ints]]) -> tuple[Ints, ...]:
    """Return the core of every neuron of every population."""
    core_of, first = [], 0
    for parts in slices:
        cores = np.empty(sum(map(len, parts)), np.int64)
        cores[np.concatenate(parts)] = np.repeat(np.arange(first, first + len(parts)), [len(part) for part in parts])
        core_of.append(cores)
        first += len(parts)
    return tuple(core_of)


def _loads(
    lowered: Lowered, chip: Chip, core_of: tuple[Ints, ...], slices: list[list[Ints]], arrivals: list[Arrivals]
) -> tuple[CoreLoad, ...]:
    first = np.cumsum([0, *map(len, slices)])
    count = int(first[-1])
    population_of = [p.population.name for p, parts in zip(lowered.placed, slices, strict=True) for _ in parts]
    neurons = np.array([len(part) for parts in slices for part in parts], np.int64)
    in_axons, out_axons, synapses, bits = (np.zeros(count, np.int64) for _ in range(4))
    for projection, arriving in zip(lowered.projections, arrivals, strict=True):
        core = arriving.part + int(first[projection.target])
        in_axons += np.bincount(core, minlength=count)
        synapses += _sums(core, arriving.length, count)
        if projection.source != INPUT:
            out_axons += np.bincount(core_of[projection.source][arriving.source], minlength=count)
        for size in np.unique(neurons[core]):
            same = neurons[core] == size
            each = axon_bits(arriving.length[same], projection.weight_bits, int(size), chip.synapses)
            bits += _sums(core[same], each, count)
    return tuple(
        CoreLoad(
            id=core,
            x=chip.mesh.position(core)[0],
            y=chip.mesh.position(core)[1],
            population=population_of[core],
            neurons=int(neurons[core]),
            in_axons=int(in_axons[core]),
            out_axons=int(out_axons[core]),
            synapses=int(synapses[core]),
            synapse_bits=int(bits[core]),
        )
        for core in range(count)
    )


def _sums(core: Ints, values: Ints, count: int) -> Ints:
    """Add up ``values`` for each core; exact, since doubles hold every whole number below 2^53."""
    return np.bincount(core, weights=values, minlength=count).astype(np.int64)
