"""KLIF: LIF that learns a slope k before a ReLU on the membrane.

    h[t] = max(0, k·charge(v[t-1], x[t]))                   charge as in LIF
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = reset of h by v_threshold                        scale_reset = False
    v[t] = reset of h/k by v_threshold/k                    scale_reset = True

with hard reset s·v_reset + (1 − s)·h, or soft reset h − v_threshold·s (v_reset = None).

| symbol | unit | default |
|---|---|---|
| ``k`` | trained | starts at 1 |
| τ ``tau`` | time steps, > 1 | 2 |
| ``v_threshold``, ``v_reset`` | that of x | 1, 0 |

Source: Jiang and Zhang 2023, arXiv 2302.09238; SpikingJelly 2.0 ``KLIFNode``. ``detach_reset=True`` differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from snnkit.kernels import Operator
from snnkit.kernels import charge_fire_reset as cfr
from snnkit.kernels.lif.reference import charge
from snnkit.neurons.base import PointNeuron, State, constant, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate, spike


@dataclass(frozen=True)
class KLIFParameters:
    """Constants of the equations above."""

    k: float
    tau: float
    decay_input: bool
    scale_reset: bool
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def step(x: Tensor, state: State, p: KLIFParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step: current (B, …), (membrane,) → (spike, (membrane,))."""
    h = torch.relu(p.k * charge(x, state[0], p))
    s = spike(h - p.v_threshold, surrogate)
    by = s.detach() if p.detach_reset else s
    if p.scale_reset:
        return s, (cfr.reset(h / p.k, by, p.v_threshold / p.k, p.v_reset),)
    return s, (cfr.reset(h, by, p.v_threshold, p.v_reset),)


class KLIF(PointNeuron):
    """LIF with a learned slope: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        decay_input: whether the input is divided by ``tau`` too.
        scale_reset: reset the membrane as it was before the slope.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = Operator(
        "k_lif", KLIFParameters, step, operations=(2, 3, 2), rest=lambda p: (cfr.resting(p.v_reset),)
    )

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        decay_input: bool = True,
        scale_reset: bool = False,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        self.k = nn.Parameter(torch.tensor(1.0))
        constant(self, "tau", tau, 1.0)
        threshold_and_reset(self, v_threshold, v_reset)
        self.decay_input, self.scale_reset, self.detach_reset = bool(decay_input), bool(scale_reset), bool(detach_reset)

    def constants(self) -> KLIFParameters:
        """Return the operator's constants."""
        kinds = (self.decay_input, self.scale_reset)
        return KLIFParameters(self.k, self.tau, *kinds, self.v_threshold, self.v_reset, self.detach_reset)
