"""The mapped program, run event by event in the chip's integer arithmetic, core by core, with counters.

Each spike walks its axons; each axon adds its weights, times the event's level, into the accumulators of its
projection. At the next step the accumulators are shifted by the projection's exponent and drive the neurons by the
target's own step, compiled. Equal to ``reference`` in every spike and membrane, and fast enough for whole test sets.

Shapes: B images, S steps of the chip, L input lines, N neurons of all populations.
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
from snnkit.kernels.compiled import compiled


@dataclass(frozen=True)
class Dynamics:
    """How the neurons of a target step.

    Args:
        step: ``(u, v, a_in, bias, row) -> (u, v, level of the event)``: one time step of a neuron whose parameters are
            ``row`` (``Population.row``); plain text that can be compiled.
        shift_sum: ``(sum of weights, exponent) -> current``, likewise.
        parts: all functions that these two are made of, what is called before what calls it.
    """

    step: Callable[..., Any]
    shift_sum: Callable[..., Any]
    parts: tuple[Callable[..., Any], ...]


@dataclass(frozen=True)
class CoreActivity:
    """What the cores did in a run, summed over images where no B is said.

    ``spikes``: levels of all events, int32 (B, S, N); ``voltages``: the last ones, int64 (B, N);
    ``synaptic_events``: weights that were added on each core in use (cores,);
    ``packets``: spikes sent from core to core, (cores + 1, cores), the last row from the host.
    """

    spikes: NDArray[np.int32]
    voltages: Ints
    synaptic_events: NDArray[np.int64]
    packets: NDArray[np.int64]


@dataclass(frozen=True)
class Tables:
    """A mapping flattened for the inner loop. Sources are input lines first, then all neurons in population order."""

    neuron_start: NDArray[np.int64]
    bias_from: NDArray[np.int64]
    rows: NDArray[np.int64]
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
    # Each begins with nothing, which is all there is where no weight is left.
    source, core, lengths = ([np.zeros(0, np.int64)] for _ in range(3))
    slot, weight, slot_neuron, slot_shift = ([np.zeros(0, np.int32)] for _ in range(4))
    slots = 0
    for projection, axons in zip(lowered.projections, mapping.axons, strict=True):
        offset = 0 if projection.source == INPUT else lowered.lines + int(neuron_start[projection.source])
        source.append(axons.source + offset)
        core.append(axons.core)
        lengths.append(axons.lengths)
        slot.append(axons.target + slots)
        weight.append(axons.weight)
        size = sizes[projection.target]
        slot_neuron.append(int(neuron_start[projection.target]) + np.arange(size, dtype=np.int32))
        slot_shift.append(np.full(size, projection.weight_exp, np.int32))
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
        bias_from=per_neuron([p.depth for p in lowered.placed]),
        rows=np.repeat(np.array([p.row for p in populations], np.int64), sizes, axis=0),
        source_start=np.searchsorted(sources[order], np.arange(total + 1)).astype(np.int64),
        axon_start=new_starts.astype(np.int64),
        axon_core=np.concatenate(core)[order].astype(np.int64),
        axon_source=sources[order].astype(np.int64),
        slot=np.concatenate(slot)[picked].astype(np.int32),
        weight=np.concatenate(weight)[picked].astype(np.int32),
        slot_neuron=np.concatenate(slot_neuron).astype(np.int32),
        slot_shift=np.concatenate(slot_shift).astype(np.int32),
    )


class Session:
    """B images on their way through a mapped program, from rest.

    Args:
        mapping: the program.
        tables: its layout (``flatten``).
        dynamics: of its target.
        lines: levels of the input lines, int32 (B, L, S); lines of signals that are made on the way are filled in
            before the step that sends them.
        biases: what the host sets, int64 (B, 1 or T, N); a population whose ``depth`` is d reads row t − d at step t;
            a row that is the same at every step is read at all steps by populations of depth 0.
    """

    def __init__(
        self,
        mapping: Mapping,
        tables: Tables,
        dynamics: Dynamics,
        lines: NDArray[np.int32],
        biases: Ints,
    ):
        neurons, images = len(tables.rows), len(lines)
        self.mapping, self.tables, self.lines, self.biases = mapping, tables, lines, biases
        self.advance_one = kernel(dynamics)
        self.u, self.v = (np.zeros((images, neurons), np.int64) for _ in range(2))
        self.accumulated = np.zeros((images, len(tables.slot_neuron)), np.int64)
        self.spikes = np.zeros((images, lines.shape[2], neurons), np.int32)
        self.hits = np.zeros(len(tables.axon_core), np.int64)

    def advance(self, start: int, stop: int) -> None:
        """Run steps ``start`` … ``stop`` − 1."""
        t = self.tables
        for b in range(len(self.lines)):
            self.advance_one(
                start,
                stop,
                self.lines[b],
                self.biases[b],
                t.bias_from,
                self.mapping.lowered.timesteps,
                t.rows,
                t.source_start,
                t.axon_start,
                t.slot,
                t.weight,
                t.slot_neuron,
                t.slot_shift,
                self.u[b],
                self.v[b],
                self.accumulated[b],
                self.spikes[b],
                self.hits,
            )

    def activity(self) -> CoreActivity:
        """Return what was done."""
        mapping, tables, count = self.mapping, self.tables, len(self.mapping.cores)
        events = np.bincount(tables.axon_core, weights=self.hits * np.diff(tables.axon_start), minlength=count)
        cores = np.concatenate([np.full(mapping.lowered.lines, count), *mapping.core_of])
        packets = np.zeros((count + 1, count), np.int64)
        np.add.at(packets, (cores[tables.axon_source], tables.axon_core), self.hits)
        return CoreActivity(self.spikes, self.v, events.astype(np.int64), packets)


@lru_cache
def kernel(dynamics: Dynamics) -> Callable[..., None]:
    """Return the loop over the steps of one image, compiled with a target's own step."""
    for part in dynamics.parts:
        register_jitable(part)
    text = hashlib.sha256("".join(map(inspect.getsource, dynamics.parts)).encode()).hexdigest()
    return _compiled(dynamics.step, dynamics.shift_sum, text)


@register_jitable
def _deliver(
    firing: Ints,
    level: Ints,
    source_start: Ints,
    axon_start: Ints,
    slot: NDArray[np.int32],
    weight: NDArray[np.int32],
    accumulated: Ints,
    hits: Ints,
) -> None:
    """Let every event walk its axons."""
    for f, source in enumerate(firing):
        for a in range(source_start[source], source_start[source + 1]):
            hits[a] += 1
            for s in range(axon_start[a], axon_start[a + 1]):
                accumulated[slot[s]] += weight[s] * level[f]


def _compiled(step: Callable[..., Any], shift_sum: Callable[..., Any], text: str) -> Callable[..., None]:
    """Compile the loop, or take it from the cache: ``text`` is part of its key, so that no older step is found."""

    @compiled(nogil=True)
    def advance(
        start: int,
        stop: int,
        inputs: NDArray[np.int32],
        bias: Ints,
        bias_from: Ints,
        timesteps: int,
        rows: Ints,
        source_start: Ints,
        axon_start: Ints,
        slot: NDArray[np.int32],
        weight: NDArray[np.int32],
        slot_neuron: NDArray[np.int32],
        slot_shift: NDArray[np.int32],
        u: Ints,
        v: Ints,
        accumulated: Ints,
        spikes: NDArray[np.int32],
        hits: Ints,
    ) -> None:
        """Some steps of one image, all integers in int64."""
        assert text
        lines, steps = inputs.shape
        neurons, slots, given = len(rows), len(slot_neuron), len(bias)
        current = np.zeros(neurons, np.int64)
        firing, level = np.empty(lines + neurons, np.int64), np.empty(lines + neurons, np.int64)
        for t in range(start, stop):
            current[:] = 0
            for k in range(slots):
                if accumulated[k] != 0:
                    current[slot_neuron[k]] += shift_sum(accumulated[k], slot_shift[k])
                    accumulated[k] = 0
            fired = 0
            for n in range(lines):
                if inputs[n, t]:
                    firing[fired], level[fired] = n, inputs[n, t]
                    fired += 1
            for n in range(neurons):
                added, row = np.int64(0), t - bias_from[n]
                if bias_from[n] == 0 and given == 1:
                    added = bias[0, n]
                elif 0 <= row < timesteps:
                    added = bias[row if given > 1 else 0, n]
                u[n], v[n], fires = step(u[n], v[n], current[n], added, rows[n])
                if fires:
                    spikes[t, n] = fires
                    firing[fired], level[fired] = lines + n, np.int64(fires)
                    fired += 1
            if t + 1 < steps:
                _deliver(firing[:fired], level, source_start, axon_start, slot, weight, accumulated, hits)

    return advance
