"""LIF: leaky integrate-and-fire.

    h[t] = v[t-1] + (x[t] − (v[t-1] − v_reset)) / τ       decay_input = True
    h[t] = v[t-1] − (v[t-1] − v_reset) / τ + x[t]         decay_input = False   (v_reset = 0 where it is None)
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |
| ``v_threshold`` | that of x | 1 |
| ``v_reset`` | that of x; None = soft reset | 0 |

Source: SpikingJelly 2.0 ``activation_based.neuron.LIFNode``; the one difference is ``detach_reset=True`` by default.
"""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator, lif
from snnkit.kernels.lif.reference import step
from snnkit.neurons.base import Neuron, check_threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate


class LIF(Neuron):
    """Leaky integrate-and-fire neuron: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold instead.
        decay_input: whether the input is divided by ``tau`` too.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = lif.OPERATOR

    def __init__(
        self,
        tau: float = 2.0,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        decay_input: bool = True,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        self.tau = float(tau)
        if not (math.isfinite(self.tau) and self.tau > 1):
            raise InvalidArgumentError(f"LIF(tau={tau!r}): must be a finite number of time steps > 1.")
        self.v_threshold, self.v_reset = check_threshold_and_reset("LIF", v_threshold, v_reset)
        self.decay_input = bool(decay_input)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> lif.LIFParameters:
        """Return the operator's constants."""
        return lif.LIFParameters(self.tau, self.decay_input, self.v_threshold, self.v_reset, self.detach_reset)

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One time step in plain torch: current (B, …), membrane (B, …) → (spike, membrane)."""
        return step(x, v, self.constants(), self.surrogate)

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        return f"tau={self.tau}, v_threshold={self.v_threshold}, v_reset={self.v_reset}, decay_input={self.decay_input}"
