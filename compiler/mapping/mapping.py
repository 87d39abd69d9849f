"""Mapping: which neurons lie on which core, what each core then holds, and how far spikes travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from compiler.errors import CompileError, Violation
from compiler.mapping.axons import Axons, Ints, group, memory_bits
from compiler.mapping.partition import partition
from compiler.network import INPUT, Lowered
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
"""Weights as written and their bits → weights as a core keeps them."""


def place(lowered: Lowered, chip: Chip, stored: Stored) -> Mapping:
    """Partition a network and lay its slices on consecutive cores; ``stored`` is the target's.

    Raises:
        CompileError: the network needs more cores than the chip has, or a core's limit cannot be met.
    """
    at_least: dict[int, int] = {}
    while True:
        slices = partition(lowered, chip, at_least)
        _check_cores(lowered, slices, chip)
        mapping = _lay_out(lowered, slices, chip, stored)
        limit = int(chip.core.out_axons.value)
        over = {core.id: core for core in mapping.cores if core.out_axons > limit}
        if not over:
            return mapping
        for index, core_of in enumerate(mapping.core_of):
            crowded = [over[int(core)] for core in np.unique(core_of) if int(core) in over]
            if crowded:
                parts = len(slices[index])
                if parts >= len(core_of):
                    needs = f"{crowded[0].out_axons:,} output axons for one neuron"
                    limited = f"a core of {chip.name} has {limit:,}; reduce the fan-out of that layer"
                    raise CompileError(Violation(crowded[0].population, needs, limited))
                factor = max(core.out_axons for core in crowded) / limit
                at_least[index] = min(len(core_of), max(parts + 1, int(parts * factor)))


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


def _lay_out(lowered: Lowered, slices: list[list[Ints]], chip: Chip, stored: Stored) -> Mapping:
    core_of, population_of, core = [], [], 0
    for placed, parts in zip(lowered.placed, slices, strict=True):
        cores = np.empty(placed.population.size, np.int64)
        for neurons in parts:
            cores[neurons] = core
            population_of.append(placed.population.name)
            core += 1
        core_of.append(cores)
    # What the chip stores, not what was asked for: a sign mode may drop a bit, or a whole weight.
    kept = (stored(p.weights, p.weight_bits) for p in lowered.projections)
    axons = tuple(group(w, core_of[p.target]) for w, p in zip(kept, lowered.projections, strict=True))
    loads = _loads(lowered, chip, core_of, axons, population_of)
    return Mapping(chip, lowered, tuple(core_of), axons, loads)


def _loads(
    lowered: Lowered, chip: Chip, core_of: list[Ints], axons: tuple[Axons, ...], population_of: list[str]
) -> tuple[CoreLoad, ...]:
    count = len(population_of)
    neurons = np.bincount(np.concatenate(core_of), minlength=count)
    in_axons, out_axons, synapses, bits = (np.zeros(count, np.int64) for _ in range(4))
    for projection, axon in zip(lowered.projections, axons, strict=True):
        in_axons += np.bincount(axon.core, minlength=count)
        synapses += np.bincount(axon.core, weights=axon.lengths, minlength=count).astype(np.int64)
        if projection.source != INPUT:
            out_axons += np.bincount(core_of[projection.source][axon.source], minlength=count)
        for core in np.unique(axon.core):
            lengths = axon.lengths[axon.core == core]
            bits[core] += memory_bits(lengths, projection.weight_bits, int(neurons[core]), chip.synapses)
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
