"""ILIF and MultiSpike: neurons that send a number of spikes at once.

ILIF (integer leaky integrate-and-fire), with D = ``levels``:

    h[t] = v[t-1] − v[t-1]/τ + x[t]
    s[t] = round(clip(h[t]/v_threshold, 0, D))          halves round to even
    v[t] = h[t] − s[t]·v_threshold
    backward: ∂s/∂h = 1/v_threshold where 0 ≤ h/v_threshold ≤ D, else 0

MultiSpike, which has no state:

    y = round(clip(x, 0, D)) / divisor                  backward: 1/divisor where 0 ≤ x ≤ D, else 0
    y = ⌊clip(x, 0, D) + ½⌋ / divisor                   half_up = True; backward: 1/divisor where 0 < x < D, else 0

| symbol | unit | default |
|---|---|---|
| τ ``tau`` | time steps, > 1 | 4/3 |
| ``v_threshold`` | that of x | 1 |
| D ``levels`` | spikes a step, ≥ 1 | 4 |
| ``divisor`` | spikes, > 0 | D |

A chip sends s as s unit events, or as one graded event.

Source: ILIF: SpikingJelly 2.0 ``ILIFNode``; arXiv 2407.20708 (τ = 4/3 is the decay 0.25 of its code); the one
difference is ``detach_reset=True`` by default. MultiSpike: E-SpikeFormer, arXiv 2411.16061; its base models round
halves to even, its large model and masked autoencoder round them up.
"""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator, multi_spike, multilevel_lif
from snnkit.neurons.base import Neuron, PointNeuron, constant
from snnkit.surrogates import Sigmoid


class ILIF(PointNeuron):
    """Integer LIF: currents (T, B, …) → numbers of spikes 0 … ``levels`` (T, B, …), same dtype.

    Its gradient is the straight-through window of the module's first lines; there is no surrogate to choose.

    Args:
        tau: membrane time constant in time steps, > 1.
        v_threshold: what one spike takes from the membrane, > 0.
        levels: the most spikes in one step, ≥ 1.
        detach_reset: keep the reset out of the backward pass.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = multilevel_lif.OPERATOR

    def __init__(
        self,
        tau: float | Tensor = 4.0 / 3.0,
        v_threshold: float | Tensor = 1.0,
        levels: int = 4,
        detach_reset: bool = True,
        kernel: str = "auto",
    ):
        super().__init__(Sigmoid(4.0), kernel)  # named for the operator's schema, and not used
        constant(self, "tau", tau, 1.0)
        constant(self, "v_threshold", v_threshold, 0.0)
        self.levels = _levels(self, levels)
        self.detach_reset = bool(detach_reset)

    def constants(self) -> multilevel_lif.MultilevelLIFParameters:
        """Return the operator's constants."""
        return multilevel_lif.MultilevelLIFParameters(self.tau, self.v_threshold, self.levels, self.detach_reset)


class MultiSpike(PointNeuron):
    """Stateless multi-level spikes: currents (T, B, …) → whole numbers 0 … ``levels`` over ``divisor``, same dtype.

    Its gradient is the straight-through window of the module's first lines; there is no surrogate to choose.

    Args:
        levels: the most spikes in one step, ≥ 1.
        divisor: what the number of spikes is divided by, > 0; ``levels`` if None; 1 sends the number itself.
        half_up: round halves up instead of to even, and shut the gradient's window at its ends too.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = multi_spike.OPERATOR

    def __init__(self, levels: int = 4, divisor: float | None = None, half_up: bool = False, kernel: str = "auto"):
        super().__init__(Sigmoid(4.0), kernel)  # named for the operator's schema, and not used
        self.levels = _levels(self, levels)
        constant(self, "divisor", self.levels if divisor is None else divisor, 0.0)
        self.half_up = bool(half_up)

    def constants(self) -> multi_spike.MultiSpikeParameters:
        """Return the operator's constants."""
        return multi_spike.MultiSpikeParameters(self.levels, self.divisor, self.half_up)


def _levels(neuron: Neuron, levels: int) -> int:
    whole = isinstance(levels, (int, float)) and not isinstance(levels, bool) and math.isfinite(levels)
    if not whole or levels != int(levels) or levels < 1:
        raise InvalidArgumentError(
            f"{type(neuron).__name__}(levels={levels!r}): must be a whole number ≥ 1, the most spikes in one step."
        )
    return int(levels)
