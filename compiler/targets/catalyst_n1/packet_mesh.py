"""The XY packet mesh that a Catalyst N1 can be built with (``noc_mode`` 1), clock cycle by clock cycle.

Cores lie row by row on a rectangle as near to a square as their number allows. Each has a router with five inputs
(own core, north, south, east, west) of 16 packets each and five outputs of one packet. In a cycle an output that is
free takes the head of one input that leads to it, the inputs asked in turn from a pointer that moves on by one each
cycle; an output that holds a packet hands it on if there is room where it leads. East and west come before north and
south. Packets for a core wait until the next step begins: they hold its router's own output, and what lies behind them.
A packet that finds its own router's input full is lost.

The pointer has been running since reset. When it stands where is not in a trace: each programming write and each host
current is taken to be one cycle, and nothing to come between them, which agrees with the one trace of this mesh that
there is. It matters where packets from two sides wait for one output: for the cycles of a step by a few, for which of
two packets to one neuron comes last, and for nothing else.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Ints = NDArray[np.int64]

DEPTH = 16
"""Packets that one input of a router holds."""


def columns_of(cores: int) -> int:
    """Return how many cores lie side by side."""
    rows = 1
    for candidate in range(1, cores + 1):
        if cores % candidate == 0 and candidate * candidate <= cores:
            rows = candidate
    return cores // rows


def neighbour(core: int, side: int, across: int, cores: int) -> int:
    """Return the core on a side (1 north, 2 south, 3 east, 4 west), -1 at the edge."""
    if side == 1:
        return core + across if core + across < cores else -1
    if side == 2:
        return core - across
    if side == 3:
        return core + 1 if core % across < across - 1 else -1
    return core - 1 if core % across > 0 else -1


def heading(core: int, target: int, across: int) -> int:
    """Return the output (0 own core, 1 north, 2 south, 3 east, 4 west) that leads to ``target``."""
    dx, dy = target % across - core % across, target // across - core // across
    if dx != 0:
        return 3 if dx > 0 else 4
    if dy != 0:
        return 1 if dy > 0 else 2
    return 0


def clock(
    queue: _Ints, held: _Ints, output: _Ints, entering: int, source: int, drain: bool, pointer: int, target: _Ints
) -> bool:
    """Advance all routers by one cycle; return whether anything moved.

    Args:
        queue: packets in each input, (C, 5, DEPTH), oldest first; ``held`` (C, 5) of them.
        output: the packet in each output, (C, 5), -1 for none.
        entering: a packet on its way into the router of ``source``, or -1.
        drain: whether packets for the cores are taken.
        pointer: the input that is asked first.
        target: core that each packet is for.
    """
    cores = len(held)
    across = columns_of(cores)
    coming = np.full((cores, 5), -1, np.int64)
    cleared, granted = np.zeros((cores, 5), np.bool_), np.full((cores, 5), -1, np.int64)
    if entering >= 0:
        coming[source, 0] = entering
    for c in range(cores):
        cleared[c, 0] = drain and output[c, 0] >= 0
        for side in range(1, 5):
            # What leaves north enters from the south, and the other way round.
            opposite = ((side - 1) ^ 1) + 1
            n = neighbour(c, side, across, cores)
            if output[c, side] >= 0 and n >= 0 and held[n, opposite] < DEPTH:
                cleared[c, side] = True
                coming[n, opposite] = output[c, side]
        for asked in range(5):
            i = (pointer + asked) % 5
            if held[c, i] > 0:
                way = heading(c, target[queue[c, i, 0]], across)
                if output[c, way] < 0 and granted[c, way] < 0:
                    granted[c, way] = i
    moved = entering >= 0
    for c in range(cores):
        for way in range(5):
            if cleared[c, way]:
                output[c, way] = -1
                moved = True
            i = granted[c, way]
            if i >= 0:
                output[c, way] = queue[c, i, 0]
                for k in range(1, held[c, i]):
                    queue[c, i, k - 1] = queue[c, i, k]
                held[c, i] -= 1
                moved = True
        for i in range(5):
            if coming[c, i] >= 0:
                queue[c, i, held[c, i]] = coming[c, i]
                held[c, i] += 1
    return moved


def send(queue: _Ints, held: _Ints, output: _Ints, pointer: int, spikes: _Ints, routed: _Ints, target: _Ints) -> int:
    """Route the spikes of all cores, 37 cycles each, and wait until nothing moves; return how many packets were lost.

    Args:
        queue, held, output: as in ``clock``.
        pointer: the input that is asked first.
        spikes: core of each spike, in the order in which they are routed.
        routed: packet of each spike in each of its slots, (spikes, 12), -1 for none.
        target: core that each packet is for.
    """
    lost, pending, source = 0, -1, 0
    moving = True
    for s in range(len(spikes)):
        for slot in range(-1, routed.shape[1]):
            for wait in range(1 if slot < 0 else 3):
                ready = held[spikes[s], 0] < DEPTH
                if moving or pending >= 0:
                    moving = clock(queue, held, output, pending, source, False, pointer, target)
                pointer = (pointer + 1) % 5
                pending = -1
                if wait == 2 and routed[s, slot] >= 0:
                    if ready:
                        pending, source = routed[s, slot], spikes[s]
                    else:
                        lost += 1
    while moving or pending >= 0:
        moving = clock(queue, held, output, pending, source, False, pointer, target)
        pointer = (pointer + 1) % 5
        pending = -1
    return lost


def receive(queue: _Ints, held: _Ints, output: _Ints, pointer: int, target: _Ints, arrived: _Ints) -> tuple[int, int]:
    """Empty the mesh; return how many packets ``arrived`` (in that order) and the cycles it took."""
    count, cycles = 0, 0
    while held.any() or (output >= 0).any():
        for c in range(len(held)):
            if output[c, 0] >= 0:
                arrived[count] = output[c, 0]
                count += 1
        clock(queue, held, output, -1, 0, True, (pointer + cycles) % 5, target)
        cycles += 1
    return count, cycles


PARTS = (columns_of, neighbour, heading, clock, send, receive)
"""What a step of the mesh is made of, for whoever compiles it."""
