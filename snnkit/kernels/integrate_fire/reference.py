"""IF, the truth: one step in plain torch.

    h = v + x

Fire and reset as in ``kernels.charge_fire_reset``. Source: SpikingJelly 2.0 ``IFNode``.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from snnkit.kernels import charge_fire_reset as cfr
from snnkit.surrogates import Surrogate


@dataclass(frozen=True)
class IFParameters:
    """Constants of the dynamics: ``v_threshold``, ``v_reset`` (None = soft reset)."""

    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def rest(p: IFParameters) -> tuple[float | Tensor]:
    """Return the membrane at rest."""
    return (cfr.resting(p.v_reset),)


def step(x: Tensor, state: tuple[Tensor], p: IFParameters, surrogate: Surrogate) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: current (B, …), (membrane,) → (spike, (membrane,)); autograd through it defines the gradient."""
    s, v = cfr.fire_and_reset(state[0] + x, p.v_threshold, p.v_reset, surrogate, p.detach_reset)
    return s, (v,)
