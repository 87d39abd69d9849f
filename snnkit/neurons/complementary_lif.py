"""ComplementaryLIF (CLIF): LIF with a slow second potential that remembers spikes and lets gradients pass through time.

    h[t] = v[t-1] − v[t-1]/τ + x[t]
    s[t] = 1 where h[t] ≥ v_threshold, else 0
    m[t] = m[t-1]·σ(h[t]/τ) + s[t]
    v[t] = h[t] − s[t]·(v_threshold + σ(m[t]))

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |
| ``v_threshold`` | that of x | 1 |

Source: Huang et al., ICML 2024, arXiv 2402.04663; SpikingJelly 2.0 ``ComplementaryLIFNode``, whose surrogate ``Rect``
and attached reset are the defaults here too: the gradient through m is what the neuron is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snnkit.kernels import Operator
from snnkit.neurons.base import PointNeuron, State, constant
from snnkit.surrogates import Rect, Surrogate, spike


@dataclass(frozen=True)
class ComplementaryLIFParameters:
    """Constants of the equations above."""

    tau: float
    v_threshold: float
    detach_reset: bool


def step(x: Tensor, state: State, p: ComplementaryLIFParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step: current (B, …), (membrane, complementary potential) → (spike, the same)."""
    v, m = state
    h = v - v / p.tau + x
    s = spike(h - p.v_threshold, surrogate)
    m = m * torch.sigmoid(h / p.tau) + s
    by = s.detach() if p.detach_reset else s
    return s, (h - by * (p.v_threshold + torch.sigmoid(m)), m)


class ComplementaryLIF(PointNeuron):
    """Complementary LIF: currents (T, B, …) → spikes (T, B, …) of the same dtype; states ``v`` and ``m``.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_threshold: firing threshold, > 0.
        surrogate: derivative for the backward pass.
        detach_reset: keep the factor s of the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = Operator(
        "complementary_lif", ComplementaryLIFParameters, step, operations=(26, 6, 1), state=("v", "m")
    )

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        v_threshold: float | Tensor = 1.0,
        surrogate: Surrogate = Rect(1.0),  # noqa: B008 (frozen)
        detach_reset: bool = False,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        constant(self, "tau", tau, 1.0)
        constant(self, "v_threshold", v_threshold, 0.0)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> ComplementaryLIFParameters:
        """Return the operator's constants."""
        return ComplementaryLIFParameters(self.tau, self.v_threshold, self.detach_reset)
