"""TwoCompartmentLIF: a dendrite that receives the current and a soma that fires (TC-LIF).

    d[t] = v_d[t−1] + β₁·v_s[t−1] + x[t]          β₁ = −σ(c₁), in (−1, 0)
    h[t] = v_s[t−1] + β₂·d[t]                     β₂ =  σ(c₂), in (0, 1)
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    v_d[t] = d − γ·s
    v_s[t] = h − v_threshold·s   (soft reset, v_reset = None)   or   s·v_reset + (1 − s)·h, v_d[t] = d   (hard reset)

The dendrite has no leak: it remembers, and what the soma charges it pulls out of the dendrite. Both start at 0.

| symbol | unit | default |
|---|---|---|
| c₁ ``c1``, c₂ ``c2`` | dimensionless, any real number; σ is the logistic function | 0 (β₁ = −½, β₂ = ½) |
| γ ``gamma`` | that of x, ≥ 0 | 0.5 |
| ``v_threshold`` | that of x | 1 |
| ``v_reset`` | that of x; None = soft reset | None |

Source: Zhang et al., "TC-LIF: A Two-Compartment Spiking Neuron Model for Long-Term Sequential Modelling", AAAI 2024,
arXiv 2308.13250, and its code (github.com/ZhangShimin1/TC-LIF, ``TCLIFNode``); the differences are
``detach_reset=True`` and the surrogate by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snnkit.kernels import Operator
from snnkit.kernels import charge_fire_reset as cfr
from snnkit.neurons.base import PointNeuron, constant, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate, spike


@dataclass(frozen=True)
class TwoCompartmentLIFParameters:
    """Constants of the dynamics: couplings ``beta1`` < 0 and ``beta2`` > 0, ``gamma``, threshold and reset."""

    beta1: float
    beta2: float
    gamma: float
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def step(
    x: Tensor, state: tuple[Tensor, Tensor], p: TwoCompartmentLIFParameters, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """One time step: current (B, …), (soma, dendrite) → (spike, (soma, dendrite))."""
    soma, dendrite = state
    dendrite = dendrite + p.beta1 * soma + x
    soma = soma + p.beta2 * dendrite
    s = spike(soma - p.v_threshold, surrogate)
    back = s.detach() if p.detach_reset else s
    if p.v_reset is None:
        dendrite = dendrite - p.gamma * back
    return s, (cfr.reset(soma, back, p.v_threshold, p.v_reset), dendrite)


OPERATOR = Operator(
    "two_compartment_lif",
    TwoCompartmentLIFParameters,
    step,
    operations=(2, 3, 1),
    state=("v", "dendrite"),
)


class TwoCompartmentLIF(PointNeuron):
    """TC-LIF neuron: currents (T, B, …) → spikes (T, B, …) of the same dtype.

    ``c1`` and ``c2`` (and the other constants) are numbers, or tensors of shape () or (C,): give ``nn.Parameter`` to
    train them, as the paper does with one value each per layer.

    Args:
        c1: sets how strongly the soma pulls on the dendrite, β₁ = −σ(c₁).
        c2: sets how strongly the dendrite charges the soma, β₂ = σ(c₂).
        gamma: what a spike takes from the dendrite, ≥ 0 (soft reset only).
        v_threshold: firing threshold of the soma, > 0; also what a spike takes from it.
        v_reset: None for the soft reset; a number below the threshold, or NO_RESET, acts on the soma alone.
        surrogate: derivative for the backward pass.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.
        save: "exact", "code8" or "rect" (see ``PointNeuron``).

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = OPERATOR

    def __init__(
        self,
        c1: float | Tensor = 0.0,
        c2: float | Tensor = 0.0,
        gamma: float | Tensor = 0.5,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = None,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
        save: str = "exact",
    ):
        super().__init__(surrogate, kernel, save)
        constant(self, "c1", c1)
        constant(self, "c2", c2)
        constant(self, "gamma", gamma, 0.0, open_=False)
        threshold_and_reset(self, v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> TwoCompartmentLIFParameters:
        """Return the operator's constants."""
        return TwoCompartmentLIFParameters(
            -_logistic(self.c1), _logistic(self.c2), self.gamma, self.v_threshold, self.v_reset, self.detach_reset
        )


def _logistic(c: float | Tensor) -> float | Tensor:
    # 0.5·(1 + tanh(c/2)) cannot overflow, whatever c is.
    return torch.sigmoid(c) if isinstance(c, Tensor) else 0.5 * (1.0 + math.tanh(0.5 * c))
