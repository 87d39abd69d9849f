"""PSN, MaskedPSN, SlidingPSN: neurons without reset, whose time steps are computed side by side.

    h = W·x + b,   s[t] = 1 where h[t] ≥ 0, else 0

| class | W (T, T) | b |
|---|---|---|
| ``PSN`` | trained | trained, one per step |
| ``MaskedPSN`` | trained; λ·(band of the last k steps) + (1 − λ)·(all) | trained, one per step |
| ``SlidingPSN`` | band of k trained numbers, the same at every step | trained |

W of a PSN sees the future; a masked one does not once λ = 1, which training reaches by raising ``lambda_``. A sliding
one is causal and takes any number of steps.

Source: Fang et al., NeurIPS 2023, arXiv 2304.12760; SpikingJelly 2.0 ``PSN``, ``MaskedPSN``, ``SlidingPSN``, whose
parameters have the same names and starts.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from snnkit.checks import finite, whole
from snnkit.errors import InvalidArgumentError
from snnkit.neurons.base import Neuron, check_sequence, look, refuse_stream
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import ATan, Surrogate, name_of, spike


class PSN(Neuron):
    """Parallel spiking neuron: currents (T, B, …) → spikes (T, B, …), same dtype; T is fixed.

    Args:
        timesteps: number of steps T.
        surrogate: derivative for the backward pass.
    """

    causal: ClassVar[bool] = False

    def __init__(self, timesteps: int, surrogate: Surrogate = ATan()):  # noqa: B008 (frozen)
        super().__init__()
        name_of(surrogate)
        timesteps = whole(self, "timesteps", timesteps)
        self.timesteps, self.surrogate = timesteps, surrogate
        self.weight = nn.Parameter(torch.empty(timesteps, timesteps))
        self.bias = nn.Parameter(torch.full((timesteps, 1), -1.0))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def mixing(self) -> Tensor:
        """Return W (T, T) as it acts now."""
        return self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, …) for the currents ``x`` (T, B, …).

        Raises:
            InvalidArgumentError: ``x`` is no sequence of T steps, or comes from a stream, which has no whole sequence.
        """
        check_sequence(self, x)
        refuse_stream(self)
        if len(x) != self.timesteps:
            raise InvalidArgumentError(
                f"{type(self).__name__}(timesteps={self.timesteps}) got a sequence of {len(x)} steps."
            )
        h = torch.addmm(self.bias.to(x.dtype), self.mixing().to(x.dtype), x.flatten(1))
        look(self, h)
        return spike(h, self.surrogate).view(x.shape)

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        return f"timesteps={self.timesteps}"


class MaskedPSN(PSN):
    """Masked parallel spiking neuron: currents (T, B, …) → spikes (T, B, …), same dtype; T is fixed.

    Args:
        k: number of steps, this one included, that a step sees once λ = 1.
        timesteps: number of steps T.
        lambda_init: λ at the start, 0 … 1; set ``lambda_`` during training.
        surrogate: derivative for the backward pass.

    Raises:
        InvalidArgumentError: k or λ outside its range.
    """

    def __init__(
        self,
        k: int,
        timesteps: int,
        lambda_init: float = 0.0,
        surrogate: Surrogate = ATan(),  # noqa: B008 (frozen)
    ):
        super().__init__(timesteps, surrogate)
        k = whole(self, "k", k)
        if k > timesteps:
            raise InvalidArgumentError(f"MaskedPSN(k={k!r}): must lie within 1 … timesteps = {timesteps}.")
        self.k = k
        everything = torch.ones(timesteps, timesteps)
        self.register_buffer("_lambda_", torch.tensor(0.0))
        self.lambda_ = finite(self, "lambda_init", lambda_init, 0.0, open_=False)
        self.register_buffer("mask0", everything.tril().triu(1 - k))
        self.register_buffer("mask1", everything)

    @property
    def lambda_(self) -> Tensor:
        """How far the mask is drawn: 0 sees everything, 1 only the last ``k`` steps."""
        return self._lambda_

    @lambda_.setter
    def lambda_(self, value: float) -> None:
        if not 0.0 <= float(value) <= 1.0:
            raise InvalidArgumentError(f"MaskedPSN.lambda_ = {value!r}: must lie within 0 … 1.")
        self._lambda_.fill_(float(value))

    def mixing(self) -> Tensor:
        """Return W (T, T) under its mask."""
        return (self._lambda_ * self.mask0 + (1.0 - self._lambda_) * self.mask1) * self.weight

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        return f"k={self.k}, timesteps={self.timesteps}, lambda_={self._lambda_.item():g}"


class SlidingPSN(Neuron):
    """Sliding parallel spiking neuron: currents (T, B, …) → spikes (T, B, …), same dtype; any T.

    Args:
        k: number of steps, this one included, that a step sees.
        exp_init: start with the weights 1, ½, ¼, … backwards in time; else at random.
        surrogate: derivative for the backward pass.
    """

    def __init__(self, k: int, exp_init: bool = True, surrogate: Surrogate = ATan()):  # noqa: B008 (frozen)
        super().__init__()
        name_of(surrogate)
        k = whole(self, "k", k)
        self.k, self.surrogate = k, surrogate
        weight = 0.5 ** torch.arange(k - 1, -1, -1, dtype=torch.get_default_dtype())
        if not exp_init:
            weight = nn.init.kaiming_uniform_(torch.empty(1, k), a=math.sqrt(5))[0]
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.tensor(-1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, …) for the currents ``x`` (T, B, …).

        Raises:
            InvalidArgumentError: ``x`` is no sequence.
        """
        check_sequence(self, x)
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        past = torch.zeros_like(x[:1]).expand(self.k - 1, *x.shape[1:])
        if state is not None and self.k > 1:
            past = torch.stack(state[1:])
        seen = torch.cat([past, x]) if self.k > 1 else x
        # One product after the other, in the order of time: a stream and a whole sequence then round alike.
        h = self.bias.to(x.dtype)
        for j, weight in enumerate(self.weight.to(x.dtype)):
            h = h + weight * seen[j : j + len(x)]
        look(self, h)
        if carry is not None:
            kept = seen[len(seen) - self.k + 1 :] if self.k > 1 else ()
            carry.leave(key, (x[-1], *kept))  # the first is what a stream checks shapes by
        return spike(h, self.surrogate)

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        return f"k={self.k}"
