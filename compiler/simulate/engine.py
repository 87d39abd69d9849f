"""The mapped program, run event by event in the chip's integer arithmetic, core by core, with counters.

Each spike walks its axons; each axon adds its weights into the accumulators of its projection. At the next step the
accumulators are shifted by the projection's exponent and drive the neurons by the target's own step, compiled. Equal to
``reference`` in every spike and membrane, and fast enough for whole test sets.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from compiler.mapping.axons import Ints
from compiler.mapping.mapping import Mapping
from compiler.network import INPUT
from compiler.targets import Target, target_of
from snnkit.kernels.compiled import compiled


@dataclass(frozen=True)
class CoreActivity:
    """What the cores did in a run. Shapes: B images, S steps, N neurons of a population.

    ``spikes``: by population, uint8 (B, S, N); ``voltages``: by population, the last voltage int32 (B, N);
    ``synaptic_events``: weights that were added on each core in use, summed over images (cores,);
    ``packets``: spikes sent from core to core, (cores + 1, cores), the last row from the host.
    """

    spikes: tuple[NDArray[np.uint8], ...]
    voltages: tuple[NDArray[np.int32], ...]
    synaptic_events: NDArray[np.int64]
    packets: NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """A mapping flattened for the inner loop. Sources are input lines first, then all neurons in population order."""

    neuron_start: NDArray[np.int64]
    du: NDArray[np.int64]
    dv: NDArray[np.int64]
    vth: NDArray[np.int64]
    source_start: NDArray[np.int64]
    axon_start: NDArray[np.int64]
    axon_core: NDArray[np.int64]
    axon_source: NDArray[np.int64]
    slot: NDArray[np.int32]
    weight: NDArray[np.int32]
    slot_neuron: NDArray[np.int32]
    slot_shift: NDArray[np.int32]


def flatten(mapping: Mapping) -> Tables:
    """Lay out a mapping's axons by source and give every (projection, target neuron) its accumulator."""
    lowered = mapping.lowered
    populations = [p.population for p in lowered.placed]
    sizes = [p.size for p in populations]
    neuron_start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    source, core, lengths, slot, weight, slot_neuron, slot_shift = ([] for _ in range(7))
    slots = 0
    for projection, axons in zip(lowered.projections, mapping.axons, strict=True):
        offset = 0 if projection.source == INPUT else lowered.lines + int(neuron_start[projection.source])
        source.append(axons.source + offset)
        core.append(axons.core)
        lengths.append(axons.lengths)
        slot.append(axons.target + slots)
        weight.append(axons.weight)
        size = sizes[projection.target]
        slot_neuron.append(int(neuron_start[projection.target]) + np.arange(size))
        slot_shift.append(np.full(size, projection.weight_exp))
        slots += size
    sources, length = np.concatenate(source), np.concatenate(lengths)
    order = np.argsort(sources, kind="stable")
    starts = np.concatenate([[0], np.cumsum(length)])
    # Synapse positions in the new axon order: each axon's run, shifted to where it now begins.
    new_starts = np.concatenate([[0], np.cumsum(length[order])])
    picked = np.arange(int(new_starts[-1])) + np.repeat(starts[:-1][order] - new_starts[:-1], length[order])
    total = lowered.lines + int(neuron_start[-1])

    def per_neuron(values: list[int]) -> Ints:
        return np.repeat(np.array(values, np.int64), sizes)

    return Tables(
        neuron_start=neuron_start,
        du=per_neuron([p.du for p in populations]),
        dv=per_neuron([p.dv for p in populations]),
        vth=per_neuron([p.vth for p in populations]),
        source_start=np.searchsorted(sources[order], np.arange(total + 1)).astype(np.int64),
        axon_start=new_starts.astype(np.int64),
        axon_core=np.concatenate(core)[order].astype(np.int64),
        axon_source=sources[order].astype(np.int64),
        slot=np.concatenate(slot)[picked].astype(np.int32),
        weight=np.concatenate(weight)[picked].astype(np.int32),
        slot_neuron=np.concatenate(slot_neuron).astype(np.int32),
        slot_shift=np.concatenate(slot_shift).astype(np.int32),
    )


def run(mapping: Mapping, tables: Tables, inputs: NDArray[np.uint8], biases: NDArray[np.int32]) -> CoreActivity:
    """Run B images from rest.

    Args:
        mapping: the placed network.
        tables: ``flatten(mapping)``.
        inputs: spikes of the input lines, (B, lines, steps).
        biases: bias of every neuron in membrane units, (B, all neurons).
    """
    lowered, count = mapping.lowered, len(mapping.cores)
    images, neurons = len(inputs), int(tables.neuron_start[-1])
    spikes = np.zeros((images, lowered.steps, neurons), np.uint8)
    voltages = np.zeros((images, neurons), np.int32)
    hits = np.zeros(len(tables.axon_core), np.int64)
    run_one = kernel(target_of(mapping.chip))
    for b in range(images):
        run_one(
            inputs[b],
            biases[b],
            tables.du,
            tables.dv,
            tables.vth,
            tables.source_start,
            tables.axon_start,
            tables.slot,
            tables.weight,
            tables.slot_neuron,
            tables.slot_shift,
            spikes[b],
            voltages[b],
            hits,
        )
    events = np.bincount(tables.axon_core, weights=hits * np.diff(tables.axon_start), minlength=count)
    cores = np.concatenate([np.full(lowered.lines, count), *mapping.core_of])
    packets = np.zeros((count + 1, count), np.int64)
    np.add.at(packets, (cores[tables.axon_source], tables.axon_core), hits)
    bounds = tables.neuron_start
    ranges = [slice(int(bounds[i]), int(bounds[i + 1])) for i in range(len(lowered.placed))]
    return CoreActivity(
        spikes=tuple(spikes[:, :, r] for r in ranges),
        voltages=tuple(voltages[:, r] for r in ranges),
        synaptic_events=events.astype(np.int64),
        packets=packets,
    )


@lru_cache
def kernel(target: Target) -> Callable[..., None]:
    """Return the loop over one image, compiled with a target's own step."""
    for part in target.parts:
        register_jitable(part)
    text = hashlib.sha256("".join(map(inspect.getsource, target.parts)).encode()).hexdigest()
    return _compiled(target.step, target.shift_sum, text)


def _compiled(step: Callable[..., Any], shift_sum: Callable[..., Any], text: str) -> Callable[..., None]:
    """Compile the loop, or take it from the cache: ``text`` is part of its key, so that no older step is found."""

    @compiled(nogil=True)
    def run_one(
        inputs: NDArray[np.uint8],
        bias: NDArray[np.int32],
        du: Ints,
        dv: Ints,
        vth: Ints,
        source_start: Ints,
        axon_start: Ints,
        slot: NDArray[np.int32],
        weight: NDArray[np.int32],
        slot_neuron: NDArray[np.int32],
        slot_shift: NDArray[np.int32],
        spikes: NDArray[np.uint8],
        voltages: NDArray[np.int32],
        hits: Ints,
    ) -> None:
        """One image from rest, all integers in int64."""
        assert text
        lines, steps = inputs.shape
        neurons, slots = len(du), len(slot_neuron)
        u, v = np.zeros(neurons, np.int64), np.zeros(neurons, np.int64)
        accumulated, current = np.zeros(slots, np.int64), np.zeros(neurons, np.int64)
        firing = np.empty(lines + neurons, np.int64)
        for t in range(steps):
            current[:] = 0
            for k in range(slots):
                if accumulated[k] != 0:
                    current[slot_neuron[k]] += shift_sum(accumulated[k], slot_shift[k])
                    accumulated[k] = 0
            fired = 0
            for n in range(lines):
                if inputs[n, t]:
                    firing[fired] = n
                    fired += 1
            for n in range(neurons):
                u[n], v[n], fires = step(u[n], v[n], current[n], bias[n], du[n], dv[n], vth[n])
                if fires:
                    spikes[t, n] = 1
                    firing[fired] = lines + n
                    fired += 1
            if t + 1 < steps:
                for f in range(fired):
                    source = firing[f]
                    for a in range(source_start[source], source_start[source + 1]):
                        hits[a] += 1
                        for s in range(axon_start[a], axon_start[a + 1]):
                            accumulated[slot[s]] += weight[s]
        for n in range(neurons):
            voltages[n] = v[n]

    return run_one
