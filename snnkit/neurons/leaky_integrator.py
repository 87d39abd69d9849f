"""LeakyIntegrator: a membrane that is read and never fires, as the last layer of a classifier or regressor.

    v[t] = v[t-1] + (x[t] − v[t-1])/τ          decay_input = True
    v[t] = v[t-1] − v[t-1]/τ + x[t]            decay_input = False
    output v[t]

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |

``snnkit.readouts`` turns the sequence of membranes into one answer: last, largest, mean.
Source: SpikingJelly 2.0 ``NonSpikingLIFNode``; Norse ``LI`` adds a synaptic current.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snnkit.kernels import Operator
from snnkit.neurons.base import PointNeuron, State, constant
from snnkit.surrogates import Sigmoid, Surrogate


@dataclass(frozen=True)
class LeakyIntegratorParameters:
    """Constants of the equations above."""

    tau: float
    decay_input: bool


def step(x: Tensor, state: State, p: LeakyIntegratorParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step: current (B, …), (membrane,) → (membrane, (membrane,)); the surrogate plays no part."""
    (v,) = state
    v = v + (x - v) / p.tau if p.decay_input else v - v / p.tau + x
    return v, (v,)


class LeakyIntegrator(PointNeuron):
    """Leaky integrator: currents (T, B, …) → membranes (T, B, …) of the same dtype.

    Args:
        tau: membrane time constant in time steps, > 1.
        decay_input: whether the input is divided by ``tau`` too.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = Operator(
        "leaky_integrator",
        LeakyIntegratorParameters,
        step,
        operations=(1, 2, 0),
        events=lambda p: ("real", -math.inf, math.inf),
    )

    def __init__(self, tau: float | Tensor = 2.0, decay_input: bool = True, kernel: str = "auto"):
        super().__init__(Sigmoid(4.0), kernel)  # named for the operator's schema, and not used
        constant(self, "tau", tau, 1.0)
        self.decay_input = bool(decay_input)

    def constants(self) -> LeakyIntegratorParameters:
        """Return the operator's constants."""
        return LeakyIntegratorParameters(self.tau, self.decay_input)
