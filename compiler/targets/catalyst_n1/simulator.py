"""A programmed Catalyst N1, run step by step: every state, spike, loss and clock cycle that the design itself has.

A step: what the host wrote, then the packets of the last step, each *replace* what a neuron has gathered; delayed
events that are due and the words of the last step's spikes are added; then all neurons are updated in ascending order.
At most 64 spikes a core reach its synapses and other cores, at most 512 packets a step are sent, at most 64 delayed
events wait for one step (further ones arrive at once); the rest of the spikes and packets are lost, and counted.

Cycles, C cores of N neurons; F spikes fetched, O synaptic events, P words that a population shares, D delayed events::

    core = 3 + 4 N + 3 F + 6 O - P + 4 D
    step = max(core) + 37 S + C + 7 + I + [I > 0]       S spikes routed on all cores, I packets written

With the XY mesh (``packet_mesh``) the last two terms are replaced by 3 and the cycles in which packets arrive.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from compiler.targets.catalyst_n1 import arithmetic, packet_mesh
from compiler.targets.catalyst_n1 import setup as columns
from compiler.targets.catalyst_n1.arithmetic import (
    clamped,
    cuba_step,
    current_step,
    decoded,
    dendrites,
    noise,
    payload,
    plain_step,
    shift_register,
    wrap16,
    wrap24,
)
from compiler.targets.catalyst_n1.packet_mesh import receive, send
from compiler.targets.catalyst_n1.setup import Setup
from snnkit.kernels.compiled import compiled

FIFO, PACKETS, EVENTS = 64, 512, 64
"""Spikes of a core, packets of the chip, delayed events of a core that one step holds."""

_THRESHOLD, _LEAK, _REST, _REFRACTORY = columns.THRESHOLD, columns.LEAK, columns.REST, columns.REFRACTORY
_NOISE, _TARGET = columns.NOISE, columns.NOISE_TARGET
_D1, _D2, _D3, _TREE = columns.DENDRITE_1, columns.DENDRITE_2, columns.DENDRITE_3, columns.TREE
_DECAY_V, _DECAY_U, _BIAS, _KIND = columns.DECAY_V, columns.DECAY_U, columns.BIAS, columns.AXON_TYPE
_VMIN, _VMAX = columns.VMIN, columns.VMAX
_DENSE, _POPULATION = columns.DENSE, columns.POPULATION
_SEED, _GRADE = arithmetic.NOISE_SEED, arithmetic.GRADE_SHIFT

_Ints = NDArray[np.int64]


def run(setup: Setup) -> dict[str, NDArray[Any]]:
    """Run all T steps from reset. C cores, N neurons a core.

    Returns ``v``, ``u`` (int32), ``refrac``, ``s``, ``payload`` and ``acc_after`` (int16), each (T, C, N), after the
    step; ``synops``, ``core_cycles`` (int32), ``fifo_drops`` and ``capture_drops`` (int16), each (T, C); ``cycles``
    (int32) and ``inject_drops`` (int16), each (T,).
    """
    steps, cores, neurons = setup.steps, setup.cores, setup.neurons
    states = np.zeros((5, steps, cores, neurons), np.int32)
    counts = np.zeros((3, steps, cores), np.int64)
    whole = np.zeros((2, steps), np.int64)
    switches = np.array([setup.graded, setup.dendritic, setup.noise, setup.scale_u, setup.mesh], np.int64)
    host_start = np.searchsorted(setup.host[:, 0], np.arange(steps + 1)).astype(np.int64)
    _kernel()(
        *(setup.parameters, setup.pool_start, setup.pool, setup.index, setup.routes, setup.host, host_start),
        *(switches, setup.writes, states, counts, whole),
    )
    out = dict(zip(("v", "u", "refrac", "s", "payload"), states, strict=True))
    small = {key: out[key].astype(np.int16) for key in ("refrac", "s", "payload")}
    drops = counts[2].astype(np.int16)
    return {
        **(out | small),
        "acc_after": np.zeros((steps, cores, neurons), np.int16),
        "synops": counts[0].astype(np.int32),
        "core_cycles": counts[1].astype(np.int32),
        "fifo_drops": drops,
        "capture_drops": drops.copy(),
        "cycles": whole[0].astype(np.int32),
        "inject_drops": whole[1].astype(np.int16),
    }


@cache
def _kernel() -> Callable[..., None]:
    """The loop over steps, compiled; the texts it calls are part of its key in the cache."""
    parts = (*arithmetic.PARTS, *packet_mesh.PARTS, _gather, _update)
    for part in parts:
        register_jitable(part)
    text = hashlib.sha256("".join(map(inspect.getsource, parts)).encode()).hexdigest()
    return _compiled(text)


def _gather(
    step: int,
    graded: int,
    parameters: _Ints,
    words: _Ints,
    index: _Ints,
    fetched: _Ints,
    carried: _Ints,
    sums: _Ints,
    waiting: _Ints,
    queue: _Ints,
) -> tuple[int, int, int]:
    """Add delayed events and the words of ``fetched`` neurons into ``sums`` (N, 4); return events, shared words, due.

    ``carried``: payloads; ``waiting`` (64,) and ``queue`` (64, 64, 3): events by the step they are due in.
    """
    now = step % 64
    due = waiting[now]
    for e in range(due):
        target, weight, place = queue[now, e]
        held = sums[target, place] + weight
        sums[target, place] = wrap24(held) if place == 0 else wrap16(held)
    waiting[now] = 0
    events, shared = 0, 0
    for f in range(len(fetched)):
        base, count, form = index[fetched[f]]
        events += count
        kind = parameters[fetched[f], _KIND]
        width = (kind >> 8) & 15
        packed = form == _DENSE and kind & 1 and (width == 1 or width == 2 or width == 4 or width == 8)
        per_word = 16 // width if packed else 1
        if form == _POPULATION and count > 0:
            shared += count - 1
        for i in range(count):
            at = base if form == _POPULATION else base + i // per_word
            target, weight, place, delay = words[at]
            if form != 0:
                target = words[base, 0] + i
            if packed:
                weight = wrap16((weight & 0xFFFF) >> (width * (i % per_word)))
            weight = decoded(weight, parameters[target, _KIND])
            if graded:
                weight = wrap16((weight * carried[f]) >> _GRADE)
            slot = (step + delay) % 64
            if delay != 0 and waiting[slot] < EVENTS:
                queue[slot, waiting[slot], 0] = target
                queue[slot, waiting[slot], 1] = weight
                queue[slot, waiting[slot], 2] = place
                waiting[slot] += 1
            else:
                held = sums[target, place] + weight
                sums[target, place] = wrap24(held) if place == 0 else wrap16(held)
    return events, shared, due


def _update(
    parameters: _Ints,
    sums: _Ints,
    u: _Ints,
    v: _Ints,
    r: _Ints,
    register: int,
    dendritic: int,
    noisy: int,
    scale_u: int,
) -> tuple[_Ints, _Ints, int]:
    """Advance all neurons of a core; return who spikes, with what payload, and the noise register."""
    count = len(v)
    spikes, carried = np.empty(count, np.int64), np.empty(count, np.int64)
    fired = 0
    for n in range(count):
        p = parameters[n]
        arrived = sums[n, 0]
        if dendritic:
            arrived = wrap24(arrived + dendrites(sums[n, 1], sums[n, 2], sums[n, 3], p[_D1], p[_D2], p[_D3], p[_TREE]))
        sums[n, :] = 0
        drawn = noise(register, p[_NOISE] & 15, (p[_NOISE] >> 4) & 31) if noisy else 0
        register = shift_register(register)
        threshold = wrap24(p[_THRESHOLD] + (drawn if p[_TARGET] == 0 else 0))
        bits = payload(v[n], arrived, p[_LEAK], threshold)
        length, relative = p[_REFRACTORY] & 255, (p[_REFRACTORY] >> 9) & 1
        if p[_DECAY_V] != 0 or p[_DECAY_U] != 0 or p[_BIAS] != 0:
            mantissa = p[_BIAS] >> 3
            bias = wrap24((mantissa - ((mantissa >> 12) << 13)) << (p[_BIAS] & 7))
            noise_v, noise_u = (drawn if p[_TARGET] == 1 else 0), (drawn if p[_TARGET] == 2 else 0)
            moved, r[n], fires = cuba_step(
                u[n], v[n], r[n], threshold, p[_REST], length, relative, p[_DECAY_V], bias, noise_v
            )
            u[n] = current_step(u[n], arrived, p[_DECAY_U], scale_u, noise_u)
        else:
            moved, r[n], fires = plain_step(v[n], r[n], arrived, threshold, p[_LEAK], p[_REST], length)
            u[n] = 0
        v[n] = clamped(moved, p[_VMIN], p[_VMAX])
        if fires:
            spikes[fired] = n
            carried[fired] = bits
            fired += 1
    return spikes[:fired], carried[:fired], register


def _compiled(text: str) -> Callable[..., None]:
    @compiled(nogil=True)
    def run_all(
        parameters: _Ints,
        pool_start: _Ints,
        pool: _Ints,
        index: _Ints,
        routes: _Ints,
        host: _Ints,
        host_start: _Ints,
        switches: _Ints,
        writes: int,
        states: NDArray[np.int32],
        counts: _Ints,
        whole: _Ints,
    ) -> None:
        """All steps from reset, all integers in int64."""
        assert text
        graded, dendritic, noisy, scale_u, mesh = switches
        _, steps, cores, neurons = states.shape
        u, v = np.zeros((cores, neurons), np.int64), np.zeros((cores, neurons), np.int64)
        r = np.zeros((cores, neurons), np.int64)
        sums = np.zeros((cores, neurons, 4), np.int64)
        waiting, queue = np.zeros((cores, 64), np.int64), np.zeros((cores, 64, EVENTS, 3), np.int64)
        register = np.full(cores, _SEED, np.int64)
        fetched, carried = np.zeros((cores, FIFO), np.int64), np.zeros((cores, FIFO), np.int64)
        stored = np.zeros(cores, np.int64)
        most = cores * FIFO * routes.shape[2]
        packets, packet_count = np.zeros((most, 3), np.int64), 0
        spike_core, routed = np.zeros(cores * FIFO, np.int64), np.zeros((cores * FIFO, routes.shape[2]), np.int64)
        size = cores if mesh else 0
        inputs, held = np.zeros((size, 5, packet_mesh.DEPTH), np.int64), np.zeros((size, 5), np.int64)
        outputs, arrived, cycle = np.full((size, 5), -1, np.int64), np.zeros(most, np.int64), writes + 1
        for t in range(steps):
            for x in range(host_start[t], host_start[t + 1]):
                sums[host[x, 1], host[x, 2], 0] = host[x, 3]
            if mesh:
                cycle += host_start[t + 1] - host_start[t]
                written, waited = receive(inputs, held, outputs, cycle % 5, packets[:, 0].copy(), arrived)
                waited += 3
            else:
                written = packet_count
                waited = written + (written > 0)
                for k in range(written):
                    arrived[k] = k
            for k in range(written):
                sums[packets[arrived[k], 0], packets[arrived[k], 1], 0] = packets[arrived[k], 2]
            longest, sent, packet_count = 0, 0, 0
            for c in range(cores):
                words, f = pool[pool_start[c] : pool_start[c + 1]], stored[c]
                events, shared, due = _gather(
                    t,
                    graded,
                    parameters[c],
                    words,
                    index[c],
                    fetched[c, :f],
                    carried[c, :f],
                    sums[c],
                    waiting[c],
                    queue[c],
                )
                spent = 3 + 4 * neurons + 3 * stored[c] + 6 * events - shared + 4 * due
                spikes, bits, register[c] = _update(
                    parameters[c], sums[c], u[c], v[c], r[c], register[c], dendritic, noisy, scale_u
                )
                for k in range(len(spikes)):
                    states[3, t, c, spikes[k]] = 1
                    states[4, t, c, spikes[k]] = bits[k]
                states[0, t, c], states[1, t, c], states[2, t, c] = v[c], u[c], r[c]
                stored[c] = min(len(spikes), FIFO)
                counts[0, t, c], counts[1, t, c], counts[2, t, c] = events, spent, len(spikes) - stored[c]
                longest = max(longest, spent)
                for k in range(stored[c]):
                    fetched[c, k], carried[c, k] = spikes[k], bits[k]
                    spike_core[sent] = c
                    for slot in range(routes.shape[2]):
                        routed[sent, slot] = -1
                        core, neuron, weight = routes[c, spikes[k], slot]
                        if core >= 0:
                            if packet_count == PACKETS and not mesh:
                                whole[1, t] += 1
                                continue
                            routed[sent, slot] = packet_count
                            packets[packet_count, 0], packets[packet_count, 1] = core, neuron
                            packets[packet_count, 2] = wrap16((weight * bits[k]) >> _GRADE) if graded else weight
                            packet_count += 1
                    sent += 1
            routing = 37 * sent + cores
            whole[0, t] = longest + routing + 7 + waited
            cycle += whole[0, t]
            if mesh:
                whole[1, t] = send(
                    inputs, held, outputs, (cycle - routing) % 5, spike_core[:sent], routed[:sent], packets[:, 0].copy()
                )

    return run_all
