"""AlphaLIF: a spike's current rises and falls as the difference of two exponentials, the alpha function of a synapse.

    r[t] = 1 where v[t-1] > v_threshold, else 0             (detached)
    a[t] = α·a[t-1] + x[t]                                  the slow exponential
    b[t] = β·b[t-1] − x[t]                                  the fast one
    v[t] = κ·(a[t] + b[t]),   κ = 1 + ln α / (ln β − ln α)
    hard reset (v_reset = 0):      a, b, v ← (1 − r)·(a, b, v)
    soft reset (v_reset = None):   a ← a − v_threshold·r,   b ← (1 − r)·b,   v ← v + b[t-1]·r
    s[t] = 1 where v[t] > v_threshold, else 0               strictly above

The membrane follows the synapses at once, so an input first acts in the step after it. Trained α and β count as the
nearer end of 0 … 1 where they leave it.

| symbol | unit | default |
|---|---|---|
| α ``alpha`` | per step, in (β, 1] | 0.9 |
| β ``beta`` | per step, in [0, α) | 0.5 |
| ``v_threshold`` | that of v | 1 |

Source: snnTorch 1.0 ``Alpha``, whose soft reset this is. Rall, J. Neurophysiol. 30(5), 1967, for the alpha function.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator
from snnkit.neurons.base import PointNeuron, constant, threshold_and_reset
from snnkit.neurons.delayed_reset import spike_above
from snnkit.surrogates import ATan, Surrogate


@dataclass(frozen=True)
class AlphaParameters:
    """Constants of the dynamics; the first three may be tensors."""

    alpha: float
    beta: float
    v_threshold: float
    v_reset: float | None


def step(
    x: Tensor, state: tuple[Tensor, ...], p: AlphaParameters, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: input (B, …), (membrane, slow, fast) → (spike, (membrane, slow, fast))."""
    v, slow, fast_before = state
    alpha, beta = (value.clamp(0.0, 1.0) if isinstance(value, Tensor) else value for value in (p.alpha, p.beta))
    reset = (v > p.v_threshold).to(x.dtype)
    slow, fast = alpha * slow + x, beta * fast_before - x
    v = gain(alpha, beta) * (slow + fast)
    if p.v_reset == 0.0:
        slow, fast, v = slow - slow * reset, fast - fast * reset, v - v * reset
    elif p.v_reset is None:
        slow, fast, v = slow - p.v_threshold * reset, fast - fast * reset, v + fast_before * reset
    return spike_above(v, p.v_threshold, surrogate), (v, slow, fast)


def gain(alpha: float | Tensor, beta: float | Tensor) -> float | Tensor:
    """Return κ, which makes the response as high as snnTorch has it; a tensor where α or β is one."""
    like = next((value for value in (alpha, beta) if isinstance(value, Tensor)), None)
    if like is None:
        return 1.0 if beta == 0.0 else math.log(alpha) / (math.log(beta) - math.log(alpha)) + 1.0
    slow, fast = (torch.as_tensor(value, dtype=like.dtype, device=like.device).log() for value in (alpha, beta))
    return slow / (fast - slow) + 1.0


OPERATOR = Operator("alpha_lif", AlphaParameters, step, operations=(3, 3, 2), state=("v", "slow", "fast"))


class AlphaLIF(PointNeuron):
    """Spiking neuron with alpha-shaped responses: inputs (T, B, …) → spikes (T, B, …) of the same dtype.

    Args:
        alpha: α, what is left of the slow exponential after a step.
        beta: β, the same for the fast one, below α.
        v_threshold: firing threshold, > 0.
        v_reset: 0 (hard), None (soft) or NO_RESET; a reset follows one step after its spike.
        surrogate: derivative for the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = OPERATOR

    def __init__(
        self,
        alpha: float | Tensor = 0.9,
        beta: float | Tensor = 0.5,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | None = 0.0,
        surrogate: Surrogate = ATan(2.0),  # noqa: B008 (frozen)
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        for name, value in (("alpha", alpha), ("beta", beta)):
            constant(self, name, value, 0.0, open_=name == "alpha")
        highest, lowest = _ends(beta)[1], _ends(alpha)[0]
        if not highest < lowest or _ends(alpha)[1] > 1.0:
            raise InvalidArgumentError(
                f"AlphaLIF(alpha={_ends(alpha)[1]:g}, beta={highest:g}): must be 0 ≤ beta < alpha ≤ 1, what is left "
                "of the fast and the slow exponential after a step."
            )
        if v_reset is not None and v_reset not in (0, float("inf")):
            raise InvalidArgumentError(f"AlphaLIF(v_reset={v_reset!r}): must be 0, None or NO_RESET.")
        threshold_and_reset(self, v_threshold, v_reset)

    def constants(self) -> AlphaParameters:
        """Return the operator's constants."""
        return AlphaParameters(self.alpha, self.beta, self.v_threshold, self.v_reset)


def _ends(value: float | Tensor) -> tuple[float, float]:
    """The smallest and largest of one or more numbers."""
    if isinstance(value, Tensor):
        return value.detach().min().item(), value.detach().max().item()
    return float(value), float(value)
