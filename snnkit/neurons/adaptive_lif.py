"""ALIF: leaky integrate-and-fire whose threshold rises with every spike and falls back slowly.

    h[t] = v[t-1] + (x[t] − (v[t-1] − v_reset))/τ          decay_input = True
    h[t] = v[t-1] − (v[t-1] − v_reset)/τ + x[t]            decay_input = False   (v_reset = 0 where it is None)
    s[t] = 1 where h[t] ≥ v_threshold + β·a[t-1]·(1 − 1/τ_a), else 0
    a[t] = a[t-1]·(1 − 1/τ_a) + s[t]
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |
| τ_a ``tau_adaptation`` | time steps, ≥ 1 | 100 |
| β ``beta`` | that of x per spike, ≥ 0 | 0.2 |
| ``v_threshold``, ``v_reset`` | that of x | 1, 0 |

Source: Bellec et al., NeurIPS 2018, arXiv 1803.09574 (LSNN); the order of decay and comparison is that of Norse 1.1
``lsnn_feed_forward_step``, whose b is v_threshold + β·a.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snnkit.kernels import Operator
from snnkit.kernels import charge_fire_reset as cfr
from snnkit.kernels.lif.reference import charge
from snnkit.neurons.base import PointNeuron, State, constant, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate, spike


@dataclass(frozen=True)
class ALIFParameters:
    """Constants of the equations above."""

    tau: float
    decay_input: bool
    tau_adaptation: float
    beta: float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def step(x: Tensor, state: State, p: ALIFParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step: current (B, …), (membrane, adaptation) → (spike, (membrane, adaptation))."""
    v, a = state
    h, a = charge(x, v, p), a - a / p.tau_adaptation
    s = spike(h - (p.v_threshold + p.beta * a), surrogate)
    return s, (cfr.reset(h, s.detach() if p.detach_reset else s, p.v_threshold, p.v_reset), a + s)


class ALIF(PointNeuron):
    """LIF with an adaptive threshold: currents (T, B, …) → spikes (T, B, …), same dtype; states ``v``, ``adaptation``.

    Args:
        tau: membrane time constant in time steps, > 1.
        tau_adaptation: time constant of the threshold's fall in time steps, ≥ 1.
        beta: what a spike adds to the threshold, ≥ 0.
        v_threshold: firing threshold at rest, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts ``v_threshold``, NO_RESET does nothing.
        decay_input: whether the input is divided by ``tau`` too.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset (not the adaptation) out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = Operator(
        "adaptive_lif",
        ALIFParameters,
        step,
        operations=(3, 6, 1),
        state=("v", "adaptation"),
        rest=lambda p: (cfr.resting(p.v_reset), 0.0),
    )

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        tau_adaptation: float | Tensor = 100.0,
        beta: float | Tensor = 0.2,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        decay_input: bool = True,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        constant(self, "tau", tau, 1.0)
        constant(self, "tau_adaptation", tau_adaptation, 1.0, open_=False)
        constant(self, "beta", beta, 0.0, open_=False)
        threshold_and_reset(self, v_threshold, v_reset)
        self.decay_input, self.detach_reset = bool(decay_input), bool(detach_reset)

    def constants(self) -> ALIFParameters:
        """Return the operator's constants."""
        adaptation = (self.tau_adaptation, self.beta)
        return ALIFParameters(
            self.tau, self.decay_input, *adaptation, self.v_threshold, self.v_reset, self.detach_reset
        )
