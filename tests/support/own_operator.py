"""A point neuron as a user writes one: with an operator of its own, which snnkit does not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from snnkit.kernels import Operator
from snnkit.neurons import PointNeuron
from snnkit.surrogates import Sigmoid, spike


@dataclass(frozen=True)
class LeakyParameters:
    """Constants of the neuron below."""

    leak: float
    v_threshold: float


def _leaky_step(x, state, p, surrogate):
    current, v = state
    current = p.leak * current + x
    v = p.leak * v + current
    s = spike(v - p.v_threshold, surrogate)
    return s, (current, v - p.v_threshold * s)


class Leaky(PointNeuron):
    """Two leaky sums, soft reset, at rest at (0, −0.5)."""

    operator: ClassVar[Operator] = Operator(
        "support_leaky",
        LeakyParameters,
        _leaky_step,
        operations=(3, 3, 1),
        state=("current", "v"),
        rest=lambda p: (0.0, -0.5),
    )

    def __init__(self, leak=0.7, v_threshold=1.0):
        super().__init__(Sigmoid(4.0), "auto")
        self.leak, self.v_threshold = leak, v_threshold

    def constants(self):
        return LeakyParameters(self.leak, self.v_threshold)
