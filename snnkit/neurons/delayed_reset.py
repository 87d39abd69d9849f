"""DelayedResetLIF: leaky integrate-and-fire that resets one step after the spike, as snnTorch's neurons do.

    r[t] = 1 where v[t-1] > v_threshold, else 0         (detached)
    i[t] = α·i[t-1] + g·x[t]                            (α = 0: the input itself)
    v[t] = β·v[t-1] + i[t] − v_threshold·r[t]           soft reset (v_reset = None)
    v[t] = β·v[t-1]·(1 − r[t]) + i[t]                   hard reset (v_reset = 0)
    v[t] = (β·v[t-1] + i[t])·(1 − r[t])                 the same with reset_input
    s[t] = 1 where v[t] > v_threshold, else 0           strictly above

With ``delay_reset=False`` what r did not take away is taken away at once: v ← v − v_threshold·(s − r), or
v − v·(s − r).

| symbol | unit | default |
|---|---|---|
| β ``decay`` | per step, in [0, 1] | 0.5 |
| α ``synapse_decay`` | per step, in [0, 1] | 0 |
| g ``input_gain`` | membrane per input | 1 |
| ``v_threshold`` | that of x | 1 |

Source: snnTorch 1.0 ``Leaky``, ``Synaptic`` and ``Lapicque`` (an RC circuit: β = 1 − Δt/(R·C), g = Δt/C; with
reset_input). ``LIF`` differs in three things: it fires at the threshold
(≥), resets within the step, and its hard reset does not wait either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator
from snnkit.neurons.base import PointNeuron, constant, threshold_and_reset
from snnkit.surrogates import ATan, Surrogate, spike


@dataclass(frozen=True)
class DelayedResetParameters:
    """Constants of the dynamics."""

    decay: float
    synapse_decay: float
    v_threshold: float
    v_reset: float | None
    delay_reset: bool
    reset_input: bool
    input_gain: float = 1.0


def spike_above(v: Tensor, v_threshold: float | Tensor, surrogate: Surrogate) -> Tensor:
    """Return 1 where ``v`` is strictly above the threshold, else 0, same shape; the surrogate gives its gradient."""
    above = v - v_threshold
    return spike(above, surrogate) - (above == 0).to(v.dtype)


def step(
    x: Tensor, state: tuple[Tensor, ...], p: DelayedResetParameters, surrogate: Surrogate
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """One time step: current (B, …), (membrane, synaptic current) → (spike, (membrane, synaptic current))."""
    v, i = state
    reset = (v > p.v_threshold).to(x.dtype)
    i = p.synapse_decay * i + (p.input_gain * x)
    soft, hard = p.v_reset is None, p.v_reset == 0.0
    if hard and not p.reset_input:
        v = (1.0 - reset) * v
    v = p.decay * v + i
    if soft:
        v = v - reset * p.v_threshold
    elif hard and p.reset_input:
        v = v - reset * v
    s = spike_above(v, p.v_threshold, surrogate)
    if not p.delay_reset and (soft or hard):
        v = v - (s - reset) * (p.v_threshold if soft else v)
    return s, (v, i)


OPERATOR = Operator("delayed_reset_lif", DelayedResetParameters, step, operations=(3, 4, 2), state=("v", "i"))


class DelayedResetLIF(PointNeuron):
    """LIF with a reset one step late and a strict threshold: currents (T, B, …) → spikes (T, B, …).

    Args:
        decay: β, share of the membrane that is left after a step, 0 … 1.
        synapse_decay: α, the same for the synaptic current; 0 for none.
        v_threshold: firing threshold, > 0.
        v_reset: 0 (hard), None (soft: subtract the threshold) or NO_RESET.
        delay_reset: whether the reset waits for the next step.
        reset_input: whether a hard reset takes that step's input away too.
        input_gain: g, what the input is multiplied by, > 0.
        surrogate: derivative for the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = OPERATOR

    def __init__(
        self,
        decay: float | Tensor = 0.5,
        synapse_decay: float | Tensor = 0.0,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | None = None,
        delay_reset: bool = True,
        reset_input: bool = False,
        input_gain: float | Tensor = 1.0,
        surrogate: Surrogate = ATan(2.0),  # noqa: B008 (frozen)
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        for name, value in (("decay", decay), ("synapse_decay", synapse_decay)):
            constant(self, name, value, 0.0, open_=False)
            highest = value.detach().max().item() if isinstance(value, Tensor) else value
            if highest > 1:
                raise InvalidArgumentError(f"DelayedResetLIF({name}={highest:g}): must lie within 0 … 1.")
        if v_reset is not None and v_reset not in (0, float("inf")):
            raise InvalidArgumentError(f"DelayedResetLIF(v_reset={v_reset!r}): must be 0, None or NO_RESET.")
        constant(self, "input_gain", input_gain, 0.0)
        threshold_and_reset(self, v_threshold, v_reset)
        self.delay_reset, self.reset_input = bool(delay_reset), bool(reset_input)

    def constants(self) -> DelayedResetParameters:
        """Return the operator's constants."""
        return DelayedResetParameters(
            self.decay,
            self.synapse_decay,
            self.v_threshold,
            self.v_reset,
            self.delay_reset,
            self.reset_input,
            self.input_gain,
        )
