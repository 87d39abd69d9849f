"""CuBaLIF: current-based leaky integrate-and-fire, the neuron of Loihi in real numbers.

    i[t] = (1 − current_decay)·i[t-1] + x[t]
    h[t] = (1 − voltage_decay)·v[t-1] + i[t]
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| ``current_decay`` | share lost per step, 0 … 1 (1: no synaptic memory) | 0.5 |
| ``voltage_decay`` | share lost per step, 0 … 1 (0: no leak) | 0.25 |
| ``v_threshold`` | that of x | 0.5 |
| ``v_reset`` | that of x; None = soft reset, ``NO_RESET`` = none | 0 |

A spike leaves the synaptic current alone. Conventions elsewhere: SpikingJelly ``CUBALIFNode(c_decay, v_decay)`` and
snnTorch ``Synaptic(alpha, beta)`` name the shares kept, c_decay = α = 1 − current_decay and v_decay = β = 1 −
voltage_decay; lava's du and dv are current_decay and voltage_decay. Norse and NIR give time constants.

Source: SpikingJelly 2.0 ``CUBALIFNode``, whose defaults these are; differences: the decays are named as on Loihi
(Davies et al., IEEE Micro 38(1), 2018), and ``detach_reset=True``, ``surrogate=Sigmoid(4.0)`` by default.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator, cuba_lif
from snnkit.neurons.base import PointNeuron, constant, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate


class CuBaLIF(PointNeuron):
    """Current-based LIF: currents (T, B, …) → spikes (T, B, …) of the same dtype; states ``v`` and ``i``.

    Args:
        current_decay: share of the synaptic current lost per step, 0 … 1.
        voltage_decay: share of the membrane lost per step, 0 … 1.
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Decays and threshold may be tensors: trained, or one value per channel. A trained decay is not held in its range.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = cuba_lif.OPERATOR

    def __init__(
        self,
        current_decay: float | Tensor = 0.5,
        voltage_decay: float | Tensor = 0.25,
        v_threshold: float | Tensor = 0.5,
        v_reset: float | Tensor | None = 0.0,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        for name, value in (("current_decay", current_decay), ("voltage_decay", voltage_decay)):
            constant(self, name, value, 0.0, open_=False)
            highest = value.detach().max().item() if isinstance(value, Tensor) else float(value)
            if highest > 1.0:
                raise InvalidArgumentError(
                    f"CuBaLIF({name}={highest:g}): is the share lost per step and lies within 0 … 1. For a time "
                    "constant of τ steps give 1/τ."
                )
        threshold_and_reset(self, v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> cuba_lif.CuBaLIFParameters:
        """Return the operator's constants."""
        return cuba_lif.CuBaLIFParameters(
            self.current_decay, self.voltage_decay, self.v_threshold, self.v_reset, self.detach_reset
        )
