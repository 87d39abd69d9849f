"""IF: integrate-and-fire, a neuron without leak.

    h[t] = v[t-1] + x[t]
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| ``v_threshold`` | that of x | 1 |
| ``v_reset`` | that of x; None = soft reset | 0 |

Source: SpikingJelly 2.0 ``activation_based.neuron.IFNode``; the one difference is ``detach_reset=True`` by default.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from snnkit.kernels import Operator, integrate_fire
from snnkit.kernels.integrate_fire.reference import step
from snnkit.neurons.base import Neuron, check_threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate


class IF(Neuron):
    """Integrate-and-fire neuron: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold instead.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = integrate_fire.OPERATOR

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        self.v_threshold, self.v_reset = check_threshold_and_reset("IF", v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> integrate_fire.IFParameters:
        """Return the operator's constants."""
        return integrate_fire.IFParameters(self.v_threshold, self.v_reset, self.detach_reset)

    def step(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """One time step in plain torch: current (B, …), membrane (B, …) → (spike, membrane)."""
        return step(x, v, self.constants(), self.surrogate)

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        return f"v_threshold={self.v_threshold}, v_reset={self.v_reset}"
