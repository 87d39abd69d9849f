"""Izhikevich: quadratic integrate-and-fire with a recovery variable.

    h[t] = v[t-1] + (x[t] + a₀·(v[t-1] − v_rest)·(v[t-1] − v_critical) − w[t-1])/τ
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    w[t] = w[t-1] + (a·(h[t] − v_rest) − w[t-1])/τ_w + b·s[t]
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| τ ``tau``, τ_w ``tau_w`` | time steps, > 1 and ≥ 1 | 2, 2 |
| ``v_critical`` | that of x | 0.8 |
| a₀ ``a0`` | 1/unit of x, > 0 | 1 |
| a, b ``a``, ``b`` | coupling of w to the membrane; jump of w per spike | 0, 0 |
| ``v_threshold``, ``v_rest``, ``v_reset``, ``w_rest`` | that of x | 1, −0.1, 0, 0 |

Source: SpikingJelly 2.0 ``IzhikevichNode``; Izhikevich, IEEE Trans. Neural Networks 14(6), 2003. ``detach_reset=True``
differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snnkit.kernels import Operator
from snnkit.kernels import charge_fire_reset as cfr
from snnkit.neurons.base import PointNeuron, State, constant, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate


@dataclass(frozen=True)
class IzhikevichParameters:
    """Constants of the equations above."""

    tau: float
    v_critical: float
    a0: float
    v_rest: float
    w_rest: float
    tau_w: float
    a: float
    b: float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def step(x: Tensor, state: State, p: IzhikevichParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step: current (B, …), (membrane, recovery) → (spike, (membrane, recovery))."""
    v, w = state
    h = v + (x + p.a0 * (v - p.v_rest) * (v - p.v_critical) - w) / p.tau
    s, v = cfr.fire_and_reset(h, p.v_threshold, p.v_reset, surrogate, p.detach_reset)
    return s, (v, w + (p.a * (h - p.v_rest) - w) / p.tau_w + p.b * s)


class Izhikevich(PointNeuron):
    """Izhikevich neuron: currents (T, B, …) → spikes (T, B, …) of the same dtype; states ``v`` and ``w``.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_critical: membrane from which it rises without input.
        a0: strength of the quadratic term, > 0.
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        v_rest: membrane at which w is not driven.
        w_rest: recovery variable at the start.
        tau_w: time constant of the recovery variable in time steps, ≥ 1.
        a: how strongly the membrane drives the recovery variable.
        b: what a spike adds to it.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = Operator(
        "izhikevich",
        IzhikevichParameters,
        step,
        operations=(6, 10, 1),
        state=("v", "w"),
        rest=lambda p: (cfr.resting(p.v_reset), p.w_rest),
    )

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        v_critical: float | Tensor = 0.8,
        a0: float | Tensor = 1.0,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        v_rest: float | Tensor = -0.1,
        w_rest: float | Tensor = 0.0,
        tau_w: float | Tensor = 2.0,
        a: float | Tensor = 0.0,
        b: float | Tensor = 0.0,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        constant(self, "tau", tau, 1.0)
        constant(self, "a0", a0, 0.0)
        constant(self, "tau_w", tau_w, 1.0, open_=False)
        for name, value in (("v_critical", v_critical), ("v_rest", v_rest), ("w_rest", w_rest), ("a", a), ("b", b)):
            constant(self, name, value)
        threshold_and_reset(self, v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> IzhikevichParameters:
        """Return the operator's constants."""
        membrane = (self.tau, self.v_critical, self.a0, self.v_rest)
        recovery = (self.w_rest, self.tau_w, self.a, self.b)
        return IzhikevichParameters(*membrane, *recovery, self.v_threshold, self.v_reset, self.detach_reset)
