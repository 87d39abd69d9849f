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
from typing import Any, NamedTuple

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
_GRADE = arithmetic.GRADE_SHIFT

_Ints = NDArray[np.int64]


class _Chip(NamedTuple):
    """What does not change: as in ``Setup`` (``runs``: its index), with its switches as numbers."""

    parameters: _Ints
    pool_start: _Ints
    pool: _Ints
    runs: _Ints
    routes: _Ints
    graded: int
    dendritic: int
    noisy: int
    scale_u: int
    mesh: int


class _Cores(NamedTuple):
    """The memories of C cores of N neurons.

    ``u``, ``v``, ``r`` (C, N); ``sums`` (C, N, 4): accumulators of the soma and of three dendrites; ``waiting`` (C, 64)
    and ``queue`` (C, 64, EVENTS, 3): delayed events by the step they are due in; ``register`` (C,): noise; ``fetched``
    and ``carried`` (C, FIFO): neurons and payloads of the last step's spikes, ``stored`` (C,) of them.
    """

    u: _Ints
    v: _Ints
    r: _Ints
    sums: _Ints
    waiting: _Ints
    queue: _Ints
    register: _Ints
    fetched: _Ints
    carried: _Ints
    stored: _Ints


class _Net(NamedTuple):
    """What is on its way between cores.

    ``packets`` (packets, 3) of target core, neuron, weight; ``arrived``: their numbers in the order in which they are
    written; ``spike_core`` and ``routed`` (spikes, 12): core and packets of each spike of a step, in the order in which
    they are routed; the rest as in ``packet_mesh``.
    """

    packets: _Ints
    arrived: _Ints
    spike_core: _Ints
    routed: _Ints
    inputs: _Ints
    held: _Ints
    outputs: _Ints


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
    host_start = np.searchsorted(setup.host[:, 0], np.arange(steps + 1)).astype(np.int64)
    switches = (int(s) for s in (setup.graded, setup.dendritic, setup.noise, setup.scale_u, setup.mesh))
    chip = _Chip(setup.parameters, setup.pool_start, setup.pool, setup.index, setup.routes, *switches)
    kernel()(chip, _cores(cores, neurons), _net(chip), setup.host, host_start, setup.writes, states, counts, whole)
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


def _cores(cores: int, neurons: int) -> _Cores:
    """All cores as they are after reset."""

    def zeros(*shape: int) -> _Ints:
        return np.zeros((cores, *shape), np.int64)

    return _Cores(
        *(zeros(neurons), zeros(neurons), zeros(neurons), zeros(neurons, 4), zeros(64), zeros(64, EVENTS, 3)),
        np.full(cores, arithmetic.NOISE_SEED, np.int64),
        *(zeros(FIFO), zeros(FIFO), zeros()),
    )


def _net(chip: _Chip) -> _Net:
    """A network without packets."""
    cores, slots = len(chip.parameters), chip.routes.shape[2]
    size = cores if chip.mesh else 0
    spikes = cores * FIFO
    return _Net(
        *(np.zeros((spikes * slots, 3), np.int64), np.zeros(spikes * slots, np.int64)),
        *(np.zeros(spikes, np.int64), np.zeros((spikes, slots), np.int64)),
        *(np.zeros((size, 5, packet_mesh.DEPTH), np.int64), np.zeros((size, 5), np.int64)),
        np.full((size, 5), -1, np.int64),
    )


@cache
def kernel() -> Callable[..., None]:
    """The loop over steps, compiled; the texts it calls are part of its key in the cache.

    Ask for it before threads do: `inspect` reads sources safely in one thread only.
    """
    parts: tuple[Any, ...] = (*arithmetic.PARTS, *packet_mesh.PARTS, _deliver, _gather, _update, _write, _depart, _core)
    for part in parts:
        register_jitable(part)
    text = "".join(inspect.getsource(part) for part in (*parts, _Chip, _Cores, _Net))
    return _compiled(hashlib.sha256(text.encode()).hexdigest())


def _deliver(sums: _Ints, target: int, weight: int, place: int) -> None:
    """Add a weight to an accumulator of a core: its soma's, place 0, has 24 bits, its dendrites' have 16."""
    held = sums[target, place] + weight
    sums[target, place] = wrap24(held) if place == 0 else wrap16(held)


def _gather(chip: _Chip, cores: _Cores, c: int, step: int) -> tuple[int, int, int]:
    """Add the delayed events and the spikes' words of core ``c``; return events, shared words, delayed events."""
    parameters, words = chip.parameters[c], chip.pool[chip.pool_start[c] : chip.pool_start[c + 1]]
    sums, waiting, queue = cores.sums[c], cores.waiting[c], cores.queue[c]
    due = waiting[step % 64]
    for e in range(due):
        target, weight, place = queue[step % 64, e]
        _deliver(sums, target, weight, place)
    waiting[step % 64] = 0
    events, shared = 0, 0
    for f in range(cores.stored[c]):
        source = cores.fetched[c, f]
        base, count, form = chip.runs[c, source]
        events += count
        kind = parameters[source, _KIND]
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
            if chip.graded:
                weight = wrap16((weight * cores.carried[c, f]) >> _GRADE)
            slot = (step + delay) % 64
            if delay != 0 and waiting[slot] < EVENTS:
                queue[slot, waiting[slot], 0] = target
                queue[slot, waiting[slot], 1] = weight
                queue[slot, waiting[slot], 2] = place
                waiting[slot] += 1
            else:
                _deliver(sums, target, weight, place)
    return events, shared, due


def _update(chip: _Chip, cores: _Cores, c: int, n: int) -> tuple[bool, int]:
    """Advance a neuron; return whether it fires, and the payload that its spike would carry."""
    p, sums, u, v, r = chip.parameters[c, n], cores.sums[c, n], cores.u[c], cores.v[c], cores.r[c]
    arrived = sums[0]
    if chip.dendritic:
        arrived = wrap24(arrived + dendrites(sums[1], sums[2], sums[3], p[_D1], p[_D2], p[_D3], p[_TREE]))
    sums[:] = 0
    register = cores.register[c]
    drawn = noise(register, p[_NOISE] & 15, (p[_NOISE] >> 4) & 31) if chip.noisy else 0
    cores.register[c] = shift_register(register)
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
        u[n] = current_step(u[n], arrived, p[_DECAY_U], chip.scale_u, noise_u)
    else:
        moved, r[n], fires = plain_step(v[n], r[n], arrived, threshold, p[_LEAK], p[_REST], length)
        u[n] = 0
    v[n] = clamped(moved, p[_VMIN], p[_VMAX])
    return fires != 0, bits


def _write(chip: _Chip, cores: _Cores, net: _Net, count: int, cycle: int) -> int:
    """Write the packets of the last step, ``count`` of them; return the cycles that takes."""
    if chip.mesh:
        count, waited = receive(net.inputs, net.held, net.outputs, cycle % 5, net.packets[:, 0].copy(), net.arrived)
        waited += 3
    else:
        waited = count + (count > 0)
        for k in range(count):
            net.arrived[k] = k
    for k in range(count):
        core, neuron, weight = net.packets[net.arrived[k]]
        cores.sums[core, neuron, 0] = weight
    return waited


def _depart(chip: _Chip, cores: _Cores, net: _Net, c: int, sent: int, made: int) -> tuple[int, int, int]:
    """Make the packets of a core's spikes; return spikes and packets so far, and packets lost."""
    lost = 0
    for k in range(cores.stored[c]):
        net.spike_core[sent] = c
        for slot in range(chip.routes.shape[2]):
            net.routed[sent, slot] = -1
            core, neuron, weight = chip.routes[c, cores.fetched[c, k], slot]
            if core < 0:
                continue
            if made == PACKETS and not chip.mesh:
                lost += 1
                continue
            net.routed[sent, slot] = made
            net.packets[made, 0], net.packets[made, 1] = core, neuron
            net.packets[made, 2] = wrap16((weight * cores.carried[c, k]) >> _GRADE) if chip.graded else weight
            made += 1
        sent += 1
    return sent, made, lost


def _core(chip: _Chip, cores: _Cores, c: int, step: int, states: NDArray[np.int32]) -> tuple[int, int, int]:
    """A step of core ``c``; return synaptic events, cycles, and spikes that found its FIFO full."""
    events, shared, due = _gather(chip, cores, c, step)
    neurons, fired = cores.v.shape[1], 0
    spent = 3 + 4 * neurons + 3 * cores.stored[c] + 6 * events - shared + 4 * due
    for n in range(neurons):
        fires, bits = _update(chip, cores, c, n)
        if fires:
            states[3, step, c, n], states[4, step, c, n] = 1, bits
            if fired < FIFO:
                cores.fetched[c, fired], cores.carried[c, fired] = n, bits
            fired += 1
    states[0, step, c], states[1, step, c], states[2, step, c] = cores.v[c], cores.u[c], cores.r[c]
    cores.stored[c] = min(fired, FIFO)
    return events, spent, fired - cores.stored[c]


def _compiled(text: str) -> Callable[..., None]:
    @compiled(nogil=True)
    def run_all(
        chip: _Chip,
        cores: _Cores,
        net: _Net,
        host: _Ints,
        host_start: _Ints,
        writes: int,
        states: NDArray[np.int32],
        counts: _Ints,
        whole: _Ints,
    ) -> None:
        """All steps, all integers in int64."""
        assert text
        made, cycle = 0, writes + 1
        for t in range(states.shape[1]):
            for x in range(host_start[t], host_start[t + 1]):
                cores.sums[host[x, 1], host[x, 2], 0] = host[x, 3]
            cycle += host_start[t + 1] - host_start[t]
            waited = _write(chip, cores, net, made, cycle)
            sent, made, longest = 0, 0, 0
            for c in range(states.shape[2]):
                events, spent, lost = _core(chip, cores, c, t, states)
                counts[0, t, c], counts[1, t, c], counts[2, t, c] = events, spent, lost
                longest = max(longest, spent)
                sent, made, lost = _depart(chip, cores, net, c, sent, made)
                whole[1, t] += lost
            routing = 37 * sent + states.shape[2]
            whole[0, t] = longest + routing + 7 + waited
            cycle += whole[0, t]
            if chip.mesh:
                target, begin = net.packets[:, 0].copy(), (cycle - routing) % 5
                whole[1, t] = send(
                    net.inputs, net.held, net.outputs, begin, net.spike_core[:sent], net.routed[:sent], target
                )

    return run_all
