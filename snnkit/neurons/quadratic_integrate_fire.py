"""QIF: quadratic integrate-and-fire, the normal form of a neuron that starts firing at any low rate.

    h[t] = v[t-1] + (x[t] + a₀·(v[t-1] − v_rest)·(v[t-1] − v_critical))/τ
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |
| ``v_critical`` | that of x; above it the membrane runs away by itself | 0.8 |
| a₀ ``a0`` | 1/unit of x, > 0 | 1 |
| ``v_threshold``, ``v_rest``, ``v_reset`` | that of x | 1, 0, −0.1 |

Source: SpikingJelly 2.0 ``QIFNode``; Gerstner et al., *Neuronal Dynamics*, section 5.3. ``detach_reset=True`` differs.
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
class QIFParameters:
    """Constants of the equations above."""

    tau: float
    v_critical: float
    a0: float
    v_rest: float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def step(x: Tensor, state: State, p: QIFParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step: current (B, …), (membrane,) → (spike, (membrane,))."""
    (v,) = state
    h = v + (x + p.a0 * (v - p.v_rest) * (v - p.v_critical)) / p.tau
    s, v = cfr.fire_and_reset(h, p.v_threshold, p.v_reset, surrogate, p.detach_reset)
    return s, (v,)


class QIF(PointNeuron):
    """Quadratic integrate-and-fire: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_critical: membrane from which it rises without input.
        a0: strength of the quadratic term, > 0.
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
        "quadratic_integrate_fire", QIFParameters, step, operations=(3, 5, 1), rest=lambda p: (cfr.resting(p.v_reset),)
    )

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        v_critical: float | Tensor = 0.8,
        a0: float | Tensor = 1.0,
        v_threshold: float | Tensor = 1.0,
        v_rest: float | Tensor = 0.0,
        v_reset: float | Tensor | None = -0.1,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        constant(self, "tau", tau, 1.0)
        constant(self, "v_critical", v_critical)
        constant(self, "a0", a0, 0.0)
        constant(self, "v_rest", v_rest)
        threshold_and_reset(self, v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> QIFParameters:
        """Return the operator's constants."""
        fixed = (self.tau, self.v_critical, self.a0, self.v_rest)
        return QIFParameters(*fixed, self.v_threshold, self.v_reset, self.detach_reset)
