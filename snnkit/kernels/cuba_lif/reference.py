"""Current-based LIF, the truth: one step in plain torch.

With the decays per step d_i (current) and d_v (voltage), both in 0 … 1:

    i = (1 − d_i)·i + x
    h = (1 − d_v)·v + i

Fire and reset of h as in ``kernels.charge_fire_reset``; spikes leave the current alone. Source: SpikingJelly
2.0 ``CUBALIFNode``, whose ``c_decay`` and ``v_decay`` are the shares kept, 1 − d; the decays are those of Loihi and
lava-dl, in real numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snnkit.kernels import charge_fire_reset as cfr
from snnkit.surrogates import Surrogate


@dataclass(frozen=True)
class CuBaLIFParameters:
    """Constants: the two decays per step, ``v_threshold``, ``v_reset`` (None = soft reset); all may be tensors."""

    current_decay: float
    voltage_decay: float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def rest(p: CuBaLIFParameters) -> tuple[float | Tensor, ...]:
    """Return (membrane, current) at rest."""
    return (cfr.resting(p.v_reset), 0.0)


def step(
    x: Tensor, state: tuple[Tensor, ...], p: CuBaLIFParameters, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: current (B, …), (membrane, synaptic current) → (spike, (membrane, synaptic current))."""
    v, i = state
    i = (1.0 - p.current_decay) * i + x
    h = (1.0 - p.voltage_decay) * v + i
    s, v = cfr.fire_and_reset(h, p.v_threshold, p.v_reset, surrogate, p.detach_reset)
    return s, (v, i)
