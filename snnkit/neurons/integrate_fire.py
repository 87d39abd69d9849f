"""IF: integrate-and-fire, a neuron without leak.

    h[t] = v[t-1] + x[t]
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| ``v_threshold`` | that of x | 1 |
| ``v_reset`` | that of x; None = soft reset, ``NO_RESET`` = none | 0 |

Source: SpikingJelly 2.0 ``activation_based.neuron.IFNode``; the one difference is ``detach_reset=True`` by default.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from snnkit.kernels import Operator, integrate_fire
from snnkit.neurons.base import PointNeuron, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate


class IF(PointNeuron):
    """Integrate-and-fire neuron: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.
        save: "exact", "code8" or "rect" (see ``PointNeuron``).

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = integrate_fire.OPERATOR

    def __init__(
        self,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
        save: str = "exact",
    ):
        super().__init__(surrogate, kernel, save)
        threshold_and_reset(self, v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> integrate_fire.IFParameters:
        """Return the operator's constants."""
        return integrate_fire.IFParameters(self.v_threshold, self.v_reset, self.detach_reset)
