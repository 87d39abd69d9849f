"""FewSpikes (FS neuron): K steps that write a value as a weighted sum of few spikes.

    v[1] = Σₜ x[t]
    s[k] = 1 where v[k] ≥ θ[k], else 0
    v[k+1] = v[k] − h[k]·s[k]
    output d[k]·s[k],   whose sum over k approximates a function of Σₜ x[t]

| symbol | unit | default |
|---|---|---|
| θ ``theta``, h ``h`` | that of x | – |
| d ``d`` | that of the output | – |

``FewSpikes.relu`` has θ = h = d = high·2^(−k): the K-bit binary number at or below the input, held within 0 … high.

Source: Stöckl and Maass, Nature Machine Intelligence 3, 2021, arXiv 2002.00860; SpikingJelly 2.0 ``FewSpikeNode``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import ClassVar

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.neurons.base import Neuron, check_sequence, look, refuse_stream
from snnkit.surrogates import Sigmoid, Surrogate, name_of, spike

_KIND = {"steps": "whole number", "high": "finite number"}


class FewSpikes(Neuron):
    """Few-spikes neuron: currents (K, B, …), whose sum is what is coded → d[k]·s[k] (K, B, …), same dtype.

    Args:
        theta: thresholds of the K steps.
        h: what a spike takes from the membrane at each step.
        d: what a spike is worth at each step.
        surrogate: derivative for the backward pass.

    Raises:
        InvalidArgumentError: tables of different lengths, empty, or not finite.
    """

    causal: ClassVar[bool] = False

    def __init__(
        self,
        theta: Sequence[float],
        h: Sequence[float],
        d: Sequence[float],
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
    ):
        super().__init__()
        name_of(surrogate)
        self.surrogate = surrogate
        for name, values in (("theta", theta), ("h", h), ("d", d)):
            table = torch.as_tensor(values, dtype=torch.get_default_dtype()).flatten()
            if not len(table) or len(table) != len(theta) or not torch.isfinite(table).all():
                raise InvalidArgumentError(
                    f"FewSpikes: theta, h and d are finite numbers, one each per step; {name} has {len(table)} where "
                    f"theta has {len(theta)}."
                )
            self.register_buffer(name, table)

    @classmethod
    def relu(cls, steps: int, high: float = 1.0, surrogate: Surrogate = Sigmoid(4.0)) -> FewSpikes:  # noqa: B008
        """Return the neuron whose outputs add up to min(max(x, 0), high) rounded down to ``steps`` bits.

        Raises:
            InvalidArgumentError: ``steps`` is no whole number, or one of both is not above 0.
        """
        for name, value, allowed in (("steps", steps, isinstance(steps, int)), ("high", high, isinstance(high, Real))):
            if not allowed or not 0 < value < math.inf:
                raise InvalidArgumentError(f"FewSpikes.relu({name}={value!r}): must be a {_KIND[name]} > 0.")
        table = [high * 2.0 ** -(k + 1) for k in range(steps)]
        return cls(table, table, table, surrogate)

    def forward(self, x: Tensor) -> Tensor:
        """Return d[k]·s[k] (K, B, …) for the currents ``x`` (K, B, …).

        Raises:
            InvalidArgumentError: ``x`` is no sequence of K steps, or comes from a stream, which has no whole sequence.
        """
        check_sequence(self, x)
        refuse_stream(self)
        if len(x) != len(self.theta):
            raise InvalidArgumentError(f"FewSpikes has tables for {len(self.theta)} steps, the sequence has {len(x)}.")
        v, sent = x.sum(0), []
        look(self, v)
        for theta, h, d in zip(self.theta, self.h, self.d, strict=True):
            s = spike(v - theta, self.surrogate)
            sent.append(d * s)
            v = v - h * s
        return torch.stack(sent).to(x.dtype)

    def events_in(self, sent: Tensor) -> Tensor:
        """Return s[k], 0 or 1, of the shape of ``sent``: what a spike is worth differs from step to step."""
        return (sent != 0).to(sent.dtype)

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        return f"steps={len(self.theta)}"
