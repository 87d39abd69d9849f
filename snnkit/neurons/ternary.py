"""TernaryLIF and TernaryIF: neurons that send −1, 0 or 1.

    h[t] = charge of v[t-1] by x[t] as in LIF, or v[t-1] + x[t] for IF
    s[t] = 1 where h[t] ≥ v_threshold, −1 where h[t] ≤ −v_threshold, else 0
    v[t] = |s|·v_reset + (1 − |s|)·h   (hard reset)   or   h − v_threshold·s   (soft reset, v_reset = None)

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 2 |
| ``v_threshold`` | that of x | 1 |
| ``v_reset`` | that of x, between the two thresholds; None = soft reset, ``NO_RESET`` = none | 0 |

The surrogate acts at both thresholds and must be symmetric. Source: Guo et al., AAAI 2024, arXiv 2312.06372;
SpikingJelly 2.0 ``TernaryLIFNode``, ``TernaryIFNode``. ``detach_reset=True`` differs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator
from snnkit.kernels import charge_fire_reset as cfr
from snnkit.kernels.lif.reference import charge
from snnkit.neurons.base import PointNeuron, State, constant, threshold_and_reset
from snnkit.surrogates import Sigmoid, Surrogate, require_symmetric, spike


@dataclass(frozen=True)
class TernaryIFParameters:
    """Constants of the equations above without leak."""

    v_threshold: float
    v_reset: float | None
    detach_reset: bool


@dataclass(frozen=True)
class TernaryLIFParameters:
    """Constants of the equations above."""

    tau: float
    decay_input: bool
    v_threshold: float
    v_reset: float | None
    detach_reset: bool


def _fire(h: Tensor, p: Any, surrogate: Surrogate) -> tuple[Tensor, State]:
    up, down = spike(h - p.v_threshold, surrogate), spike(-h - p.v_threshold, surrogate)
    s = up - down
    by = s if p.v_reset is None else up + down
    return s, (cfr.reset(h, by.detach() if p.detach_reset else by, p.v_threshold, p.v_reset),)


def step_if(x: Tensor, state: State, p: TernaryIFParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step without leak: current (B, …), (membrane,) → (event, (membrane,))."""
    return _fire(state[0] + x, p, surrogate)


def step_lif(x: Tensor, state: State, p: TernaryLIFParameters, surrogate: Surrogate) -> tuple[Tensor, State]:
    """One time step with leak: current (B, …), (membrane,) → (event, (membrane,))."""
    return _fire(charge(x, state[0], p), p, surrogate)


class TernaryIF(PointNeuron):
    """Integrate-and-fire with signed events: currents (T, B, …) → −1, 0 or 1 (T, B, …), same dtype.

    Args:
        v_threshold: distance of both thresholds from 0, > 0.
        v_reset: membrane after an event, between the thresholds; None subtracts the threshold in the event's direction.
        surrogate: derivative at both thresholds; symmetric.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range, or a surrogate that is not symmetric.
    """

    operator: ClassVar[Operator] = Operator(
        "ternary_if",
        TernaryIFParameters,
        step_if,
        operations=(0, 2, 2),
        rest=lambda p: (cfr.resting(p.v_reset),),
        events=lambda p: ("signed", -1, 1),
    )

    def __init__(
        self,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        require_symmetric(type(self).__name__, surrogate)
        _between_thresholds(self, v_threshold, v_reset)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> TernaryIFParameters:
        """Return the operator's constants."""
        return TernaryIFParameters(self.v_threshold, self.v_reset, self.detach_reset)


class TernaryLIF(PointNeuron):
    """Leaky integrate-and-fire with signed events: currents (T, B, …) → −1, 0 or 1 (T, B, …), same dtype.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_threshold: distance of both thresholds from 0, > 0.
        v_reset: membrane after an event, between the thresholds; None subtracts the threshold in the event's direction.
        decay_input: whether the input is divided by ``tau`` too.
        surrogate: derivative at both thresholds; symmetric.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range, or a surrogate that is not symmetric.
    """

    operator: ClassVar[Operator] = Operator(
        "ternary_lif",
        TernaryLIFParameters,
        step_lif,
        operations=(1, 4, 2),
        rest=lambda p: (cfr.resting(p.v_reset),),
        events=lambda p: ("signed", -1, 1),
    )

    def __init__(
        self,
        tau: float | Tensor = 2.0,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor | None = 0.0,
        decay_input: bool = True,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(surrogate, kernel)
        require_symmetric(type(self).__name__, surrogate)
        constant(self, "tau", tau, 1.0)
        _between_thresholds(self, v_threshold, v_reset)
        self.decay_input, self.detach_reset = bool(decay_input), bool(detach_reset)

    def constants(self) -> TernaryLIFParameters:
        """Return the operator's constants."""
        return TernaryLIFParameters(self.tau, self.decay_input, self.v_threshold, self.v_reset, self.detach_reset)


def _between_thresholds(neuron: PointNeuron, v_threshold: float | Tensor, v_reset: float | Tensor | None) -> None:
    threshold_and_reset(neuron, v_threshold, v_reset)
    if v_reset is not None and not cfr.is_no_reset(v_reset):
        lowest = v_threshold.min().item() if isinstance(v_threshold, Tensor) else v_threshold
        reset = v_reset.min().item() if isinstance(v_reset, Tensor) else v_reset
        if reset <= -lowest:
            raise InvalidArgumentError(
                f"{type(neuron).__name__}(v_reset={reset:g}): must lie between −v_threshold and v_threshold, "
                f"−{lowest:g} … {lowest:g}."
            )
