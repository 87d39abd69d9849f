"""Input events: the addresses that a host sends to ODIN or tinyODIN, and what their decoders make of them.

tinyODIN, 10 bits::

    bit 8 set                 leak; the low byte names the neuron, 255 stands for all
    else bit 9 set            weight w in bits 7:4 (signed), neuron 0..15 in bits 3:0; w = 0 is no such event but a
                              spike of source 0..15
    else                      spike of the source in the low byte

ODIN, 17 bits, a = bits 15:8::

    bit 16 set                the synapse from source a to the neuron in the low byte
    else bits 6:0 all ones    leak, of neuron a where bit 7 is set, else of all
    else bits 6:0 all zeros   bistability, which belongs to plasticity: refused
    else bits 7:3 not zero    virtual: {weight (3), inhibitory (1), leak (1)} to neuron a
    else                      spike of source a

The manual of ODIN wants bits 2:0 to be 001 in virtual events and 111 in spikes; the decoder does not look.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.targets.odin.arithmetic import (
    FEEDBACK_CYCLES,
    LEAK_CYCLES,
    NEURONS,
    ODIN,
    OUTPUT_CYCLES,
    OVERLAP_CYCLES,
    SINGLE_CYCLES,
    TINYODIN,
    VIRTUAL_CYCLES,
    Format,
)

Ints = NDArray[np.int64]

SPIKE, WEIGHT, LEAK_ALL, LEAK_ONE = range(4)
"""What an event does: a source's row to all neurons, a weight to one neuron, a leak of all, a leak of one."""


@dataclass(frozen=True, eq=False)
class Events:
    """E decoded events, each array (E,): ``kind``; ``address``, the source of a spike or else the neuron; ``weight``.

    ``cycles``: what an event takes without spikes; ``each``: what a spike adds.
    """

    kind: Ints
    address: Ints
    weight: Ints
    cycles: Ints
    each: Ints


def decode(chip: Format, addresses: Ints, weights: Ints, updated: int) -> Events:
    """Decode addresses (E,).

    ``weights``: signed (N, N), [source, neuron], which ODIN's events of one synapse read; ``updated``: how many neurons
    an event to all reaches.
    """
    kind, address, weight, virtual = (_tinyodin if chip is TINYODIN else _odin)(addresses, weights)
    fixed = np.array([2 * updated + chip.spike_cycles, SINGLE_CYCLES, 2 * updated + LEAK_CYCLES, SINGLE_CYCLES])
    each = np.array([OUTPUT_CYCLES, OUTPUT_CYCLES - OVERLAP_CYCLES, OUTPUT_CYCLES, OUTPUT_CYCLES - OVERLAP_CYCLES])
    return Events(
        kind,
        address,
        weight,
        np.where(virtual, VIRTUAL_CYCLES, fixed[kind]),
        np.where(virtual, OUTPUT_CYCLES, each[kind]),
    )


def feedback_cycles(updated: int) -> int:
    """Return what a spike that is fed back on the chip takes, without those that it makes."""
    return 2 * updated + FEEDBACK_CYCLES


def _tinyodin(a: Ints, weights: Ints) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    low = a & 255
    leak = (a & 256) != 0
    virtual = ~leak & ((a & 512) != 0) & (low > 15)
    kind = np.where(leak, np.where(low == 255, LEAK_ALL, LEAK_ONE), np.where(virtual, WEIGHT, SPIKE))
    # A virtual event without weight keeps four bits of its address and becomes a spike.
    address = np.where(leak | ((a & 512) == 0), low, low & 15)
    nibble = low >> 4
    return kind, address, np.where(virtual, nibble - 16 * (nibble > 7), 0), virtual


def _odin(a: Ints, weights: Ints) -> tuple[Ints, Ints, Ints, NDArray[np.bool_]]:
    low, high, seven, field = a & 255, a >> 8 & 255, a & 127, a >> 3 & 31
    synapse = a >> 16 == 1
    leak = ~synapse & (seven == 127)
    virtual = ~synapse & ~leak & (field != 0)
    one = np.where(synapse, WEIGHT, np.where(virtual, np.where(field & 1, LEAK_ONE, WEIGHT), SPIKE))
    kind = np.where(leak, np.where(low == 255, LEAK_ONE, LEAK_ALL), one)
    stored = weights[np.where(synapse, high, 0), np.where(synapse, low, 0)]
    weight = np.where(synapse, stored, np.where(virtual, np.where(field & 2, -(field >> 2), field >> 2), 0))
    return kind, np.where(synapse, low, high), weight, virtual


def refused(chip: Format, addresses: Ints, neurons: int) -> str:
    """Return what is wrong with the first address that the chip has no event for, "" where there is none."""
    highest = (1 << chip.address_bits) - 1
    outside = (addresses < 0) | (addresses > highest)
    if outside.any():
        given = addresses[outside][0]
        return f"event {int(outside.argmax())} has the address {given}; {chip.title} takes 0 to {highest}"
    plastic = (chip is ODIN) & (addresses >> 16 == 0) & (addresses & 127 == 0)
    if plastic.any():
        given = addresses[plastic][0]
        return f"event {int(plastic.argmax())} (address {given}) is one of plasticity, which is not simulated"
    events = decode(chip, addresses, np.zeros((NEURONS, NEURONS), np.int64), neurons)
    beyond = (events.kind != LEAK_ALL) & (events.address >= neurons)
    if chip is ODIN:
        beyond |= (addresses >> 16 == 1) & (addresses >> 8 & 255 >= neurons)
    if beyond.any():
        return f"event {int(beyond.argmax())} (address {addresses[beyond][0]}) names a neuron beyond {neurons - 1}"
    return ""


def leak_all(chip: Format) -> int:
    """Return the address of a leak of all neurons."""
    return 511 if chip is TINYODIN else 127


def spikes(chip: Format, sources: Ints) -> Ints:
    """Return the addresses of spikes of these sources."""
    return sources if chip is TINYODIN else sources << 8 | 7
