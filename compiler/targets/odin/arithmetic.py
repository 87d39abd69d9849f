"""The integer arithmetic of the neurons of ODIN and tinyODIN, one event after the other.

Nothing has a time step: an event updates its neurons in ascending order, and each is tested for firing at every update.
v membrane, w weight, b leak, thr threshold, all whole numbers without physical units; clip(x) keeps x in [low, high]::

    synaptic event    x = clip(v + w)
    leak event        x = max(0, v - b)  for v >= 0,   min(0, v + b)  below
    then              spike and v = 0  where x >= 0 and x >= thr,   else v = x

The reset is to 0, whatever x was. A disabled neuron resets likewise and sends nothing.

tinyODIN (12-bit states)     low = -2048, high = 2047; w = -8 .. 7 for each pair; thr = 0 .. 4095 unsigned, so that from
                             2048 on it never fires; b = 0 .. 127
ODIN (8-bit states, LIF      low = 0, high = 255; w = 0 .. 7 for each pair, negative for all synapses of an inhibitory
neurons, no plasticity)      source, 0 where a synapse is not mapped (unless unmapped ones propagate); thr = 0 .. 255;
                             b = 0 .. 127, 0 where the leak is not enabled

Clock cycles of an event that updates n neurons and makes s spikes, from request to quiet, each spike acknowledged at
once::

    spike to all neurons      2 n + 12 + 6 s  (ODIN: 2 n + 11 + 6 s)
    leak of all neurons       2 n +  9 + 6 s, less 3 where the last neuron fires: the request ends meanwhile
    virtual event             13 + 6 s
    leak or synapse of one    11 + 3 s
    spike fed back on chip    2 n + 2 + 6 s more, for each

Source: the Verilog of tinyODIN (commit 1865653) and ODIN (commit 1781931) by C. Frenkel; Frenkel et al., IEEE TBioCAS
13(1), 2019. Equal to traces of that Verilog in every membrane, spike and cycle. Not part of it: ODIN's Izhikevich
neurons, its plasticity, its bursts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """The ranges of a chip, as (lowest, highest); ``queue``: how many events its scheduler holds."""

    name: str
    title: str
    state: tuple[int, int]
    weight: tuple[int, int]
    threshold: tuple[int, int]
    leak: tuple[int, int]
    address_bits: int
    queue: int
    spike_cycles: int


NEURONS = 256
"""Neurons of either chip, and addresses of their synapse rows."""
TINYODIN = Format("tinyodin", "tinyODIN", (-2048, 2047), (-8, 7), (0, 4095), (0, 127), 10, 128, 12)
ODIN = Format("odin", "ODIN", (0, 255), (0, 7), (0, 255), (0, 127), 17, 32, 11)
FORMATS = {chip.name: chip for chip in (TINYODIN, ODIN)}

LEAK_CYCLES, VIRTUAL_CYCLES, SINGLE_CYCLES, FEEDBACK_CYCLES = 9, 13, 11, 2
OUTPUT_CYCLES, OVERLAP_CYCLES = 6, 3
"""Cycles of sending a spike out, and how many of them pass while the request that caused it ends."""


def received(v: int, w: int, low: int, high: int) -> int:
    """Return a membrane after a synaptic event of weight ``w``, before the test for firing."""
    return min(high, max(low, v + w))


def leaked(v: int, leak: int) -> int:
    """Return a membrane after a leak event, before the test for firing: nearer to 0, not beyond."""
    return max(0, v - leak) if v >= 0 else min(0, v + leak)


def fires(v: int, threshold: int) -> bool:
    """Whether a membrane makes its neuron fire. The threshold is unsigned: above every state, it never does."""
    return v >= 0 and v >= threshold


PARTS = (received, leaked, fires)
"""What an update is made of, for whoever compiles it."""
