"""ParametricLIF: leaky integrate-and-fire that learns its time constant.

    1/τ = σ(w)
    h[t] = v[t-1] + (x[t] − (v[t-1] − v_reset))·σ(w)      decay_input = True
    h[t] = v[t-1] − (v[t-1] − v_reset)·σ(w) + x[t]        decay_input = False   (v_reset = 0 where it is None)
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v[t] = s·v_reset + (1 − s)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| ``w`` | trained; starts at −log(init_tau − 1) | 0 (τ = 2) |
| ``init_tau`` | time steps, > 1 | 2 |
| ``v_threshold`` | that of x | 1 |
| ``v_reset`` | that of x; None = soft reset, ``NO_RESET`` = none | 0 |

Source: Fang et al., "Incorporating Learnable Membrane Time Constant", ICCV 2021, arXiv 2007.05785; SpikingJelly 2.0
``ParametricLIFNode``; the one difference is ``detach_reset=True`` by default.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from snnkit.checks import finite, whole
from snnkit.kernels import Operator, parametric_lif
from snnkit.neurons.base import PointNeuron, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate


class ParametricLIF(PointNeuron):
    """LIF with a trained time constant: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        init_tau: membrane time constant in time steps at the start of training, > 1.
        v_threshold: firing threshold, > 0.
        v_reset: membrane after a spike, below the threshold; None subtracts the threshold, NO_RESET does nothing.
        decay_input: whether the input is divided by the time constant too.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.
        save: "exact", "code8" or "rect" (see ``PointNeuron``).
        channels: one time constant per channel (axis 2 of (T, B, C, …)) instead of one for the layer.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = parametric_lif.OPERATOR

    def __init__(
        self,
        init_tau: float = 2.0,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        decay_input: bool = True,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
        save: str = "exact",
        channels: int | None = None,
    ):
        super().__init__(surrogate, kernel, save)
        start = -math.log(finite(self, "init_tau", init_tau, 1.0) - 1.0)
        shape = () if channels is None else (whole(self, "channels", channels),)
        self.w = nn.Parameter(torch.full(shape, start))
        threshold_and_reset(self, v_threshold, v_reset)
        self.decay_input = bool(decay_input)
        self.detach_reset = bool(detach_reset)

    @property
    def tau(self) -> Tensor:
        """The time constant as it is now, in time steps, of the shape of ``w``."""
        return 1.0 + torch.exp(-self.w.detach())

    def constants(self) -> parametric_lif.ParametricLIFParameters:
        """Return the operator's constants."""
        return parametric_lif.ParametricLIFParameters(
            self.w.sigmoid(), self.decay_input, self.v_threshold, self.v_reset, self.detach_reset
        )
