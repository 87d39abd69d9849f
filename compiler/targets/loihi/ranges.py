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
from compiler.network import INPUT, Lowered, Population
from compiler.targets.loihi import arithmetic
from compiler.targets.loihi.formats import Formats
from hw.chip import Chip

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Dynamics:
    """What the bounds depend on beside the currents: decays, threshold, T, and whether the population fires.

    ``driven``: whether the host sets its bias register too, to anything that this holds.
    """

    du: int
    dv: int
    vth: int
    timesteps: int
    fires: bool
    driven: bool = False


def broken(low: Ints, high: Ints, dynamics: Dynamics, formats: Formats) -> str | None:
    """Return what neurons whose currents lie in [low, high] (low ≤ 0 ≤ high, each (N,)) would overflow, else None."""
    d, state, threshold = dynamics, formats.state, dynamics.vth * formats.unit
    u_low, u_high, v_low, v_high = (np.zeros(len(low), np.int64) for _ in range(4))
    clipped = np.full(len(low), False)
    rising = np.zeros(len(low), np.int64)
    bias = formats.mantissa << formats.bias_exponent if d.driven else 0
    for _ in range(d.timesteps):
        u_low = arithmetic.decay(u_low, d.du + 1) + low * formats.unit
        u_high = arithmetic.decay(u_high, d.du + 1) + high * formats.unit
        reach = int(max(u_high.max(initial=0), -u_low.min(initial=0)))
        if reach > state:
            return f"a current of {reach:,}"
        rising = np.maximum(arithmetic.decay(rising, d.dv) + u_high + bias, -state)
        if bool((clipped & (rising > threshold)).any()):
            return f"a voltage of {int(v_low.min()):,}"
        v_low = arithmetic.decay(v_low, d.dv) + u_low - bias
        newly = ~clipped & (v_low < -state)
        rising[newly], clipped = -state, clipped | newly
        v_high = arithmetic.decay(v_high, d.dv) + u_high + bias
        if not d.fires and (v_high.max(initial=0) > threshold or bool(newly.any())):
            return f"a sum of {int(max(v_high.max(), -v_low.min())):,}"
    return None


def overflows(lowered: Lowered, chip: Chip) -> list[Violation]:
    """Return every population of a lowered network whose accumulators could leave the range of ``chip``."""
    formats, found = Formats.of(chip), []
    limit = f"the states of {chip.name} hold {formats.state:,}; scale the weights of that layer down"
    for index, placed in enumerate(lowered.placed):
        if placed.host_driven:
            continue
        low, high = currents(lowered, index)
        p = placed.population
        fires = placed.kind != "readout"
        dynamics = Dynamics(p.du, p.dv, p.vth, lowered.timesteps, fires, driven=bool(placed.drive))
        wrong = broken(low, high, dynamics, formats)
        if wrong:
            found.append(Violation(p.name, wrong, limit))
    return found


def currents(lowered: Lowered, index: int) -> tuple[Ints, Ints]:
    """Return the lowest (≤ 0) and highest (≥ 0) synaptic current of each neuron of a population, whatever fires."""
    population: Population = lowered.placed[index].population
    low, high, always = (np.zeros(population.size, np.int64) for _ in range(3))
    for p in lowered.projections:
        if p.target != index:
            continue
        weights = csr_array(p.weights, dtype=np.int64)
        clock = np.full(weights.shape[1], False)
        if p.source == INPUT:
            clock[lowered.first_clock :] = True
        always += arithmetic.shift_sum(weights @ clock.astype(np.int64), p.weight_exp)
        low += arithmetic.shift_sum(weights.minimum(0) @ (~clock).astype(np.int64), p.weight_exp)
        high += arithmetic.shift_sum(weights.maximum(0) @ (~clock).astype(np.int64), p.weight_exp)
    # A population's steps come with its bias, those before and behind them without.
    return np.minimum(low + np.minimum(always, 0), 0), np.maximum(high + np.maximum(always, 0), 0)
