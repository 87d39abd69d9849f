"""EIF: exponential integrate-and-fire, with a soft threshold from which the membrane runs away by itself.

    h[t] = v[t-1] + (x[t] + v_rest − v[t-1] + Δ·exp((v[t-1] − θ_rh)/Δ))/τ
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |
| Δ ``delta`` | that of x, > 0; sharpness of the soft threshold | 1 |
| θ_rh ``rheobase`` | that of x | 0.8 |
| ``v_threshold``, ``v_rest``, ``v_reset`` | that of x | 1, 0, −0.1 |

Source: SpikingJelly 2.0 ``EIFNode`` (``delta_T``, ``theta_rh``); Fourcaud-Trocmé et al., J. Neurosci. 23(37), 2003.
``detach_reset=True`` differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snnkit.kernels import Operator
from snnkit.kernels import charge_fire_reset as cfr
from snnkit.neurons.base import PointNeuron, State, constant, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate


@dataclass(frozen=True)
class EIFParameters:
    """Constants of the equations above."""

    tau: float
    delta: float
    rheobase: float
    v_rest: float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def step(x: Tensor, state: State, p: EIFParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step: current (B, …), (membrane,) → (spike, (membrane,))."""
    (v,) = state
    h = v + (x + p.v_rest - v + p.delta * torch.exp((v - p.rheobase) / p.delta)) / p.tau
    s, v = cfr.fire_and_reset(h, p.v_threshold, p.v_reset, surrogate, p.detach_reset)
    return s, (v,)


class EIF(PointNeuron):
    """Exponential integrate-and-fire: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        tau: membrane time constant in time steps, > 1.
        delta: sharpness of the soft threshold, > 0.
        rheobase: membrane at the soft threshold.
        v_threshold: firing threshold, > 0.
        v_rest: membrane to which it returns without input.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = Operator(
        "exponential_integrate_fire",
        EIFParameters,
        step,
        operations=(13, 6, 1),
        rest=lambda p: (cfr.resting(p.v_reset),),
    )

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        delta: float | Tensor = 1.0,
        rheobase: float | Tensor = 0.8,
        v_threshold: float | Tensor = 1.0,
        v_rest: float | Tensor = 0.0,
        v_reset: float | Tensor | None = -0.1,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        constant(self, "tau", tau, 1.0)
        constant(self, "delta", delta, 0.0)
        constant(self, "rheobase", rheobase)
        constant(self, "v_rest", v_rest)
        threshold_and_reset(self, v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> EIFParameters:
        """Return the operator's constants."""
        fixed = (self.tau, self.delta, self.rheobase, self.v_rest)
        return EIFParameters(*fixed, self.v_threshold, self.v_reset, self.detach_reset)
