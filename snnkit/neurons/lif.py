"""LIF: leaky integrate-and-fire.

    h[t] = v[t-1] + (x[t] − (v[t-1] − v_reset)) / τ       decay_input = True
    h[t] = v[t-1] − (v[t-1] − v_reset) / τ + x[t]         decay_input = False   (v_reset = 0 where it is None)
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |
| ``v_threshold`` | that of x | 1 |
| ``v_reset`` | that of x; None = soft reset, ``NO_RESET`` = none | 0 |

Source: SpikingJelly 2.0 ``activation_based.neuron.LIFNode``; the one difference is ``detach_reset=True`` by default.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from snnkit.kernels import Operator, lif
from snnkit.neurons.base import PointNeuron, constant, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate


class LIF(PointNeuron):
    """Leaky integrate-and-fire neuron: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        decay_input: whether the input is divided by ``tau`` too.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.
        save: "exact", "code8" or "rect" (see ``PointNeuron``).

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = lif.OPERATOR

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        decay_input: bool = True,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
        save: str = "exact",
    ):
        super().__init__(surrogate, kernel, save)
        constant(self, "tau", tau, 1.0)
        threshold_and_reset(self, v_threshold, v_reset)
        self.decay_input = bool(decay_input)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> lif.LIFParameters:
        """Return the operator's constants."""
        return lif.LIFParameters(self.tau, self.decay_input, self.v_threshold, self.v_reset, self.detach_reset)
