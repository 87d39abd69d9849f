"""Tracer: a neuron that sends signed events until their sum is the quantised sum of its input (ST-BIF and beyond).

    q[t] = q[t-1] + x[t]/s                                   q starts at ½, S at 0
    c[t] = clip(⌊q[t]⌋ + S[t-1], low, high) − S[t-1]         the wanted correction
    o[t] = sign(c)·2^min(⌊log₂|c|⌋, K)                       0 where c = 0; c itself for K = None
    S[t] = S[t-1] + o[t],   q[t] ← q[t] − o[t],   output o[t]·s

At rest (c = 0 and no more input) S = clip(⌊½ + Σx/s⌋, low, high): the integer of a quantised network, whatever K is.

| symbol | unit | default |
|---|---|---|
| s ``scale`` | that of x, per level; > 0 | – |
| ``low``, ``high`` | levels, low < high | – |
| K ``max_exponent`` | largest event 2^K levels; 0: ±1 only (ST-BIF), None: any number (graded) | 0 |

Gradient: straight through ⌊·⌋ and through the choice of the event, and through clip where low ≤ ⌊q⌋ + S ≤ high. Because
q + S = ½ + Σx/s at all times, the total sent so far has exactly the gradient of the quantiser s·clip(⌊½ + Σx/s⌋): 1 to
each x inside of the bounds and 0 outside, S − Σx/s to the scale inside and S outside, as in learned step size
quantisation. A trained ``scale`` is a Parameter and is not held above 0.

float32 places ties of Σx/s by its rounding; where equality with a quantised network must be exact, use float64.
Source: K = 0: SpikeZIP-TF's ``IFNeuron``, arXiv 2406.03470; SpikingJelly 2.0 ``STBIFNode``. Step size gradient: arXiv
1902.08153.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.kernels import Operator, tracer
from snnkit.kernels.call import state_dtype
from snnkit.kernels.straight_through import clip, straight_through
from snnkit.kernels.tracer.reference import correction
from snnkit.neurons.base import PointNeuron, _broadcast, check_sequence, constant
from snnkit.surrogates import Sigmoid

_HIGHEST_EXPONENT = 30


class Tracer(PointNeuron):
    """Signed events whose sum becomes the quantised input: (T, B, …) → events × scale (T, B, …), same dtype.

    Args:
        scale: size of one level, > 0; a tensor () or (C,) for one per channel, a Parameter to train it.
        low: lowest level, an integer; 0 for unsigned codes.
        high: highest level, an integer > ``low``.
        max_exponent: K, events are ±1 … ±2^K levels; None: graded events, at rest after every step.
        kernel: "auto" or a kernel's name.

    Raises:
        InvalidArgumentError: a constant outside its range.
    """

    operator: ClassVar[Operator] = tracer.OPERATOR

    def __init__(self, scale: float | Tensor, low: int, high: int, max_exponent: int | None = 0, kernel: str = "auto"):
        super().__init__(Sigmoid(4.0), kernel)  # named for the operator's schema, and not used
        constant(self, "scale", scale, 0.0)
        self.low, self.high = _whole("low", low), _whole("high", high)
        if not self.low < self.high:
            raise InvalidArgumentError(f"Tracer(low={low!r}, high={high!r}): low must lie below high.")
        self.max_exponent = None if max_exponent is None else _whole("max_exponent", max_exponent)
        if self.max_exponent is not None and not 0 <= self.max_exponent <= _HIGHEST_EXPONENT:
            raise InvalidArgumentError(
                f"Tracer(max_exponent={max_exponent!r}): must lie within 0 … {_HIGHEST_EXPONENT}, or be None for "
                "graded events."
            )

    def constants(self) -> tracer.TracerParameters:
        """Return the operator's constants."""
        largest = tracer.GRADED if self.max_exponent is None else self.max_exponent
        return tracer.TracerParameters(self.scale, self.low, self.high, largest)

    def quantise(self, x: Tensor) -> Tensor:
        """Return the level at rest after the inputs ``x`` (T, B, …): clip(⌊½ + Σx/s⌋, low, high), (B, …).

        Times ``scale`` it is the sum of all events. Differentiable, straight through the floor.
        """
        check_sequence(self, x)
        p = _broadcast(self.constants(), x.ndim - 1)
        q = torch.full_like(x[0], 0.5, dtype=state_dtype(x))
        for x_t in x.to(q.dtype):
            q = q + x_t / p.scale
        return clip(straight_through(q, torch.floor(q)), self.low, self.high).to(x.dtype)

    def quiescent(self, q: Tensor, total: Tensor) -> Tensor:
        """Say where the states ``q`` and ``total`` (any shape) want no more event without further input; bool.

        The states are those of ``Stream.state``, or of ``states(x)``.
        """
        return correction(q.detach(), total.detach(), self.constants()) == 0


def _whole(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
        raise InvalidArgumentError(f"Tracer({name}={value!r}): must be a whole number.")
    return int(value)
