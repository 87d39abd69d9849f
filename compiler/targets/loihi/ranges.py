"""The proof that no accumulator leaves its range, whatever spikes come, in all T steps; and what breaks it.

A neuron's synaptic current lies in [low, high] at every step: the sums of its negative and of its positive weights,
with its bias. Because ``decay`` is monotone, running the integer step itself on the ends of that interval bounds every
current and voltage, leak included:

    current   both ends stay within the state: no 24-bit (and so no 32-bit) wrap
    voltage   the upper end needs no bound where the neuron fires, since whatever is above the threshold is reset; the
              readout never fires and must stay below its threshold
              the lower end stays within the state, or the clip there changes no spike: from the clip on, the highest
              current of all remaining steps does not reach the threshold

A population that the host drives has no synapses: its bias is the same at every step, so that a voltage which reaches
the lower end never rises again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from compiler.errors import Violation
from compiler.network import INPUT, Lowered, Population, Projection
from compiler.targets.loihi import arithmetic
from compiler.targets.loihi.constants import MODES
from compiler.targets.loihi.formats import Formats
from hw.chip import Chip

Ints = NDArray[np.int64]
_MOST = 2**52
"""Sums are cut off here, far above all that a state holds, so that no further step of the proof leaves 64 bits."""


@dataclass(frozen=True)
class Dynamics:
    """What the bounds depend on beside the currents: decays, threshold, T, and whether the population fires.

    ``headroom``: where the host sets its bias register too, to anything that this holds, so many thresholds must fit;
    ``most``: so many times the threshold is the highest of several; ``resets``: whether a spike
    leaves the membrane at 0, whatever it was; ``halves``: whether what it sends is rounded, so that it fires from half
    a threshold on, and a soft reset may leave it half a threshold below 0.
    """

    du: int
    dv: int
    vth: int
    timesteps: int
    fires: bool
    headroom: int = 0
    resets: bool = True
    most: int = 1
    halves: bool = False


def broken(low: Ints, high: Ints, dynamics: Dynamics, formats: Formats) -> str | None:
    """Return what neurons whose currents lie in [low, high] (low ≤ 0 ≤ high, each (N,)) would overflow, else None."""
    d, state, threshold = dynamics, formats.state, dynamics.vth * formats.unit
    u_low, u_high, v_low, v_high = (np.zeros(len(low), np.int64) for _ in range(4))
    clipped = np.full(len(low), False)
    rising = np.zeros(len(low), np.int64)
    current = formats.unity if formats.graded else d.du + 1
    bias = formats.mantissa << formats.bias_exponent if d.headroom else 0
    # What is reached counts on graded chips; what lava's neuron has must be exceeded.
    reached = threshold // 2 if d.halves else threshold + (not formats.graded)
    left = -(threshold + formats.unit) // 2 if d.halves and not d.resets else 0
    for _ in range(d.timesteps):
        u_low = _decay(u_low, current, formats) + low * formats.unit
        u_high = _decay(u_high, current, formats) + high * formats.unit
        reach = int(max(u_high.max(initial=0), -u_low.min(initial=0)))
        if reach > state:
            return f"a current of {reach:,}"
        rising = np.maximum(_decay(rising, d.dv, formats) + u_high + bias, -state)
        if bool((clipped & (rising >= reached)).any()):
            return f"a voltage of {int(v_low.min()):,}"
        v_low = _decay(np.minimum(v_low, left), d.dv, formats) + u_low - bias
        newly = ~clipped & (v_low < -state)
        rising[newly], clipped = -state, clipped | newly
        v_high = _decay(v_high, d.dv, formats) + u_high + bias
        if d.fires and not d.resets and v_high.max(initial=0) > state:
            return f"a voltage of {int(v_high.max()):,}"
        if not d.fires and (v_high.max(initial=0) > min(threshold, state) or bool(newly.any())):
            return f"a sum of {int(max(v_high.max(), -v_low.min())):,}"
    return None


def _decay(state: Ints, rate: int, formats: Formats) -> Ints:
    """``arithmetic.decay`` in the fractions of a chip."""
    kept: Ints = np.sign(state) * ((np.abs(state) * (formats.unity - rate)) // formats.unity)
    return kept


def overflows(lowered: Lowered, chip: Chip) -> list[Violation]:
    """Return every population of a lowered network whose accumulators could leave the range of ``chip``."""
    formats, found = Formats.of(chip), []
    limit = f"the states of {chip.name} hold {formats.state:,}; scale the weights of that layer down"
    for index, placed in enumerate(lowered.placed):
        if placed.host_driven:
            continue
        low, high = currents(lowered, index)
        p = placed.population
        fires = placed.kind not in ("readout", "part")
        dynamics = Dynamics(
            p.du,
            p.dv,
            p.vth,
            lowered.timesteps,
            fires,
            headroom=int(bool(placed.drive)),
            resets=placed.resets,
            halves=p.further[1:2] in ((MODES["half_even"],), (MODES["half_up"],)),
        )
        wrong = broken(low, high, dynamics, formats)
        if wrong:
            wrong += " or more" if max(-int(low.min(initial=0)), int(high.max(initial=0))) >= _MOST else ""
            found.append(Violation(p.name, wrong, limit))
    return found


def currents(lowered: Lowered, index: int) -> tuple[Ints, Ints]:
    """Return the lowest (≤ 0) and highest (≥ 0) synaptic current of each neuron of a population, whatever fires.

    What lies beyond ``_MOST`` is there cut off.
    """
    population: Population = lowered.placed[index].population
    low, high, always = (np.zeros(population.size, np.int64) for _ in range(3))
    for p in lowered.projections:
        if p.target != index:
            continue
        if p.source != INPUT and lowered.placed[p.source].kind == "part":  # which hands on its own sum, as it is
            below, above = currents(lowered, p.source)
            low, high = _cut(low + below), _cut(high + above)
            continue
        least, most, clock = _levels(lowered, p)
        all_most, all_least, clocked = _times(p.weights, p.weights.data, most, least, clock)
        down_most, down_least = _times(p.weights, np.minimum(p.weights.data, 0), most, least)
        # What positive weights bring is what all bring, less what negative ones do.
        always = _cut(always + arithmetic.shift_sum(clocked, p.weight_exp))
        low = _cut(low + arithmetic.shift_sum(down_most + all_least - down_least, p.weight_exp))
        high = _cut(high + arithmetic.shift_sum(all_most - down_most + down_least, p.weight_exp))
    # A population's steps come with its bias, those before and behind them without.
    return _cut(np.minimum(low + np.minimum(always, 0), 0)), _cut(np.maximum(high + np.maximum(always, 0), 0))


def _cut(sums: Ints) -> Ints:
    return np.clip(sums, -_MOST, _MOST)


def _times(weights: csr_array, data: NDArray[np.int32], *levels: Ints) -> list[Ints]:
    """Return the sums over the sources, with other weights in their places, for each of ``levels`` of the sources.

    They are added up in 32 bits where no sum can leave these, which needs no copy of the weights.
    """
    rows, found = weights.shape[0], []
    widest = int(np.diff(weights.indptr).max(initial=0))
    heaviest = max(abs(int(data.max(initial=0))), abs(int(data.min(initial=0))))
    for level in levels:
        top = int(np.abs(level).max(initial=0))
        if not top or not heaviest:
            found.append(np.zeros(rows, np.int64))
            continue
        kind = np.int32 if widest * heaviest * top < 2**31 else np.int64
        matrix = csr_array((data.astype(kind, copy=False), weights.indices, weights.indptr), shape=weights.shape)
        found.append(_cut((matrix @ level.astype(kind)).astype(np.int64)))
    return found


def _levels(lowered: Lowered, p: Projection) -> tuple[Ints, Ints, Ints]:
    """Return the lowest (≤ 0) and highest (≥ 0) level of each source of a projection, and which of them are clocks."""
    if p.source != INPUT:
        size, (least, most) = p.weights.shape[1], lowered.placed[p.source].levels
        return np.full(size, min(least, 0)), np.full(size, max(most, 0)), np.zeros(size, np.int64)
    low, high = lowered.line_levels()
    clock = np.arange(lowered.lines) >= lowered.first_clock
    return np.where(clock, 0, low), np.where(clock, 0, high), clock.astype(np.int64)
