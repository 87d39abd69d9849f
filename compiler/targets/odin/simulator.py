"""The chip, event after event: what it does with input events, and how many clock cycles that takes.

Each input event is run until the chip is quiet. In a closed loop (tinyODIN) the spikes of an event join a queue, whose
head stays in it while it is worked off; spikes that find the queue full are lost.

Shapes: N neurons, E input events, T groups of events ("steps", of which the chip knows nothing), Q output spikes.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from compiler.targets.odin import arithmetic
from compiler.targets.odin.arithmetic import OUTPUT_CYCLES, OVERLAP_CYCLES, Format, fires, leaked, received
from compiler.targets.odin.events import LEAK_ALL, LEAK_ONE, SPIKE, Ints, decode, feedback_cycles
from snnkit.errors import InvalidArgumentError
from snnkit.kernels.compiled import compiled

MOST_FEEDBACK = 1_000_000
"""Spikes fed back on the chip after one input event, beyond which it is taken to go on for ever."""


@dataclass(frozen=True, eq=False)
class Core:
    """A programmed chip: membranes at the start, thresholds, leaks and disabled neurons (N,), int64.

    ``weights``: signed (N, N), [source, neuron], 0 where nothing is mapped. ``updated``: events to all neurons reach
    the first so many. ``closed``: whether spikes are fed back on the chip.
    """

    format: Format
    v: Ints
    threshold: Ints
    leak: Ints
    disabled: Ints
    weights: Ints
    updated: int
    closed: bool = False


@dataclass(frozen=True, eq=False)
class Run:
    """What a chip did: ``v`` (T, N) after the last event of each step; ``spikes`` (T, N), how many each sent.

    ``order`` (Q, 2): input event and neuron of each spike in output order; ``cycles`` (E,); ``drops``: spikes that the
    queue lost.
    """

    v: NDArray[np.int16]
    spikes: NDArray[np.int16]
    order: NDArray[np.int32]
    cycles: NDArray[np.int32]
    drops: int


Neurons = tuple[Ints, Ints, Ints, Ints, Ints, int, int, int]
"""A core as compiled functions take it: v, threshold, leak, disabled, weights, updated, lowest and highest state."""


def run(core: Core, steps: int, step: Ints, addresses: Ints) -> Run:
    """Send events (E,), in order, to a chip; ``step`` (E,) says in which of T = ``steps`` steps each comes, ascending.

    Raises:
        InvalidArgumentError: the spikes that the chip feeds back to itself never end.
    """
    given = decode(core.format, addresses, core.weights, core.updated)
    neurons = loaded(core)
    membranes = np.zeros((steps, len(core.v)), np.int16)
    spikes = np.zeros((steps, len(core.v)), np.int16)
    cycles = np.zeros(len(step), np.int32)
    inputs = (step, given.kind, given.address, given.weight, given.cycles, given.each)
    loop = (core.closed, core.format.queue, feedback_cycles(core.updated), MOST_FEEDBACK)
    order, drops, stuck = _kernel()(neurons, inputs, loop, membranes, spikes, cycles)
    if stuck >= 0:
        raise InvalidArgumentError(
            f"input event {stuck} makes {core.format.title} feed spikes back to itself without end ({MOST_FEEDBACK:,} "
            "followed); run it in open loop, or make its recurrent weights weaker."
        )
    return Run(membranes, spikes, order, cycles, int(drops))


def loaded(core: Core) -> Neurons:
    """Return a core for compiled functions, with membranes of its own."""
    low, high = core.format.state
    return core.v.copy(), core.threshold, core.leak, core.disabled, core.weights, core.updated, low, high


def update(kind: int, address: int, weight: int, neurons: Neurons, fired: Ints) -> int:
    """Let one event change the membranes; write the neurons that send spikes to ``fired``, return how many."""
    v, threshold, leak, disabled, weights, updated, low, high = neurons
    count = 0
    every = kind in (SPIKE, LEAK_ALL)
    leaks = kind in (LEAK_ALL, LEAK_ONE)
    for n in range(0 if every else address, updated if every else address + 1):
        w = weights[address, n] if kind == SPIKE else weight
        x = leaked(v[n], leak[n]) if leaks else received(v[n], w, low, high)
        if fires(x, threshold[n]):
            x = 0
            if not disabled[n]:
                fired[count] = n
                count += 1
        v[n] = x
    return count


def text_of(*parts: Callable[..., Any]) -> str:
    """Make functions ready to be called by compiled ones, and return a digest of all that an update is made of.

    It must be in the closure of whatever is compiled, so that no kernel of an older text is taken from the cache.
    """
    every: tuple[Callable[..., Any], ...] = (*arithmetic.PARTS, *parts)
    for part in every:
        register_jitable(part)
    constants = (SPIKE, LEAK_ALL, LEAK_ONE, OUTPUT_CYCLES, OVERLAP_CYCLES)
    return hashlib.sha256(f"{constants}{''.join(map(inspect.getsource, every))}".encode()).hexdigest()


@cache
def _kernel() -> Callable[..., Any]:
    return _compiled(text_of(update))


def _compiled(text: str) -> Callable[..., Any]:
    """Compile the loop over input events."""

    @compiled(nogil=True)
    def run_events(
        neurons: Neurons,
        inputs: tuple[Ints, Ints, Ints, Ints, Ints, Ints],
        loop: tuple[bool, int, int, int],
        membranes: NDArray[np.int16],
        spikes: NDArray[np.int16],
        cycles: NDArray[np.int32],
    ) -> tuple[NDArray[np.int32], int, int]:
        """Return the output spikes, how many were lost, and the event that never came to rest (−1: none)."""
        assert text
        step, kind, address, weight, alone, each = inputs
        closed, depth, feedback, most = loop
        v, updated = neurons[0], neurons[5]
        fired, queue = np.zeros(len(v), np.int64), np.zeros(depth, np.int64)
        order = np.zeros((1024, 2), np.int32)
        sent = drops = now = 0
        for e in range(len(step)):
            membranes[now : step[e]] = v
            now = step[e]
            count = update(kind[e], address[e], weight[e], neurons, fired)
            last = count > 0 and fired[count - 1] == updated - 1
            cycles[e] = alone[e] + each[e] * count - (OVERLAP_CYCLES if last and kind[e] == LEAK_ALL else 0)
            # A spike event waits in the queue itself until it is done.
            head, filled, fed = 0, 1 if kind[e] == SPIKE else 0, 0
            while True:
                if sent + count > len(order):
                    order = np.concatenate((order, np.zeros((len(order) + count, 2), np.int32)))
                for n in fired[:count]:
                    order[sent, 0], order[sent, 1] = e, n
                    sent += 1
                    spikes[now, n] += 1
                    if closed and filled < depth:
                        queue[(head + filled) % depth] = n
                        filled += 1
                    elif closed:
                        drops += 1
                if fed > 0 or kind[e] == SPIKE:
                    head, filled = (head + 1) % depth, filled - 1
                if filled == 0:
                    break
                if fed == most:
                    return order[:sent], drops, e
                fed += 1
                count = update(SPIKE, queue[head], 0, neurons, fired)
                cycles[e] += feedback + OUTPUT_CYCLES * count
        membranes[now:] = v
        return order[:sent], drops, -1

    return run_events
