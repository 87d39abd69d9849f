"""AdEx: exponential integrate-and-fire with an adaptation current.

    h[t] = v[t-1] + (x[t] + v_rest − v[t-1] + Δ·exp((v[t-1] − θ_rh)/Δ) − w[t-1])/τ
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    w[t] = w[t-1] + (a·(v[t-1] − v_rest) − w[t-1])/τ_w + b·s[t]
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| τ ``tau``, τ_w ``tau_w`` | time steps, > 1 and ≥ 1 | 10, 500 |
| Δ ``delta`` | that of x, > 0 | 0.5 |
| θ_rh ``rheobase`` | that of x | 1 |
| a, b ``a``, ``b`` | adaptation below the threshold; jump of w per spike | 4, 0.02 |
| ``v_threshold``, ``v_rest``, ``v_reset`` | that of x | 1, 0, 0 |

Source: Brette and Gerstner, J. Neurophysiol. 94(5), 2005; defaults and order of the updates are those of Norse 1.1
``lif_adex_feed_forward_step`` at a step of 1 ms, without its synaptic current and with rheobase = v_threshold.
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
class AdExParameters:
    """Constants of the equations above."""

    tau: float
    delta: float
    rheobase: float
    v_rest: float
    tau_w: float
    a: float
    b: float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def step(x: Tensor, state: State, p: AdExParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step: current (B, …), (membrane, adaptation) → (spike, (membrane, adaptation))."""
    v, w = state
    h = v + (x + p.v_rest - v + p.delta * torch.exp((v - p.rheobase) / p.delta) - w) / p.tau
    s, reset = cfr.fire_and_reset(h, p.v_threshold, p.v_reset, surrogate, p.detach_reset)
    return s, (reset, w + (p.a * (v - p.v_rest) - w) / p.tau_w + p.b * s)


class AdEx(PointNeuron):
    """Adaptive exponential integrate-and-fire: currents (T, B, …) → spikes (T, B, …), same dtype; states ``v``, ``w``.

    Args:
        tau: membrane time constant in time steps, > 1.
        delta: sharpness of the soft threshold, > 0.
        rheobase: membrane at the soft threshold.
        v_rest: membrane to which it returns without input.
        tau_w: time constant of the adaptation in time steps, ≥ 1.
        a: how strongly the membrane drives the adaptation.
        b: what a spike adds to it.
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = Operator(
        "adaptive_exponential",
        AdExParameters,
        step,
        operations=(16, 11, 1),
        state=("v", "w"),
        rest=lambda p: (cfr.resting(p.v_reset), 0.0),
    )

    def __init__(
        self,
        tau: float | Tensor = 10.0,
        delta: float | Tensor = 0.5,
        rheobase: float | Tensor = 1.0,
        v_rest: float | Tensor = 0.0,
        tau_w: float | Tensor = 500.0,
        a: float | Tensor = 4.0,
        b: float | Tensor = 0.02,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        constant(self, "tau", tau, 1.0)
        constant(self, "delta", delta, 0.0)
        constant(self, "tau_w", tau_w, 1.0, open_=False)
        for name, value in (("rheobase", rheobase), ("v_rest", v_rest), ("a", a), ("b", b)):
            constant(self, name, value)
        threshold_and_reset(self, v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> AdExParameters:
        """Return the operator's constants."""
        membrane = (self.tau, self.delta, self.rheobase, self.v_rest)
        adaptation = (self.tau_w, self.a, self.b)
        return AdExParameters(*membrane, *adaptation, self.v_threshold, self.v_reset, self.detach_reset)
