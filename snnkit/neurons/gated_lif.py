"""GatedLIF (GLIF): LIF that learns which leak, which integration and which reset it uses.

With α, β, γ, τ, θ, l, r, g[t] the logistic function σ of the trained parameters ``alpha``, ``beta``, ``gamma``,
``tau``, ``v_threshold``, ``linear_decay``, ``v_subreset``, ``conduct[t]``:

    kept = (1 − α(1 − τ))·v[t-1]                                     exponential leak
    h[t] = kept − (1 − α)·l + x[t]·(1 − β(1 − g[t]))                 linear leak, gated input
    v[t] = h[t] − kept·γ·s[t-1] − (1 − γ)·r·s[t-1]                   hard and soft reset by the spike before
    s[t] = 1 where v[t] ≥ θ, else 0

| symbol | unit | starts at |
|---|---|---|
| α, β, γ | gates 0 … 1 | σ of a uniform number in −0.1 … 0.1 |
| τ | share kept, 0 … 1 | 0.25 |
| θ, r | that of x, 0 … 1 | 0.5, θ |
| l | that of x, 0 … 1 | θ/(2T) |
| g[t] | share, 0 … 1 | 0.5 |

Source: Yao et al., NeurIPS 2022, arXiv 2210.13768; SpikingJelly 2.0 ``GatedLIFNode``, whose parameters have the same
names.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor, nn

from snnkit.checks import finite, whole
from snnkit.errors import InvalidArgumentError
from snnkit.neurons.base import Neuron, check_channels, check_sequence
from snnkit.neurons.carry import active_carry
from snnkit.surrogates import Sigmoid, Surrogate, name_of, spike


class GatedLIF(Neuron):
    """Gated LIF: currents (T, B, …) → spikes (T, B, …), same dtype; its input gate differs from step to step.

    Args:
        timesteps: the number of steps T for which it has input gates; a sequence may be shorter.
        channels: one set of parameters per channel (axis 2 of (T, B, C, …)) instead of one for the layer.
        init_tau: share of the membrane kept at the start of training, 0 … 1.
        init_v_threshold: threshold at the start, 0 … 1.
        init_linear_decay: linear leak per step at the start, 0 … 1; None: init_v_threshold/(2T).
        init_v_subreset: soft reset at the start, 0 … 1; None: init_v_threshold.
        init_conduct: input gate at the start, 0 … 1.
        surrogate: derivative for the backward pass.

    Raises:
        InvalidArgumentError: T < 1, channels < 1, or a start outside of 0 … 1.
    """

    def __init__(
        self,
        timesteps: int,
        channels: int | None = None,
        init_tau: float = 0.25,
        init_v_threshold: float = 0.5,
        init_linear_decay: float | None = None,
        init_v_subreset: float | None = None,
        init_conduct: float = 0.5,
        surrogate: Surrogate = Sigmoid(4.0),  # noqa: B008 (frozen)
    ):
        super().__init__()
        name_of(surrogate)
        timesteps = whole(self, "timesteps", timesteps)
        init_v_threshold = finite(self, "init_v_threshold", init_v_threshold, 0.0)
        self.timesteps, self.surrogate = timesteps, surrogate
        shape = () if channels is None else (whole(self, "channels", channels),)
        for gate in ("alpha", "beta", "gamma"):
            setattr(self, gate, nn.Parameter(0.2 * (torch.rand(shape) - 0.5)))
        starts = {
            "tau": init_tau,
            "v_threshold": init_v_threshold,
            "linear_decay": init_v_threshold / (2 * timesteps) if init_linear_decay is None else init_linear_decay,
            "v_subreset": init_v_threshold if init_v_subreset is None else init_v_subreset,
        }
        for name, value in starts.items():
            setattr(self, name, nn.Parameter(torch.full(shape, _logit(name, value))))
        self.conduct = nn.Parameter(torch.full((timesteps, *shape), _logit("conduct", init_conduct)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes (T, B, …) for the current ``x`` (T, B, …), same dtype.

        Raises:
            InvalidArgumentError: ``x`` is no sequence, has other channels than the neuron, or is longer than it has
                input gates.
        """
        check_sequence(self, x)
        if self.alpha.ndim:
            check_channels(self, "channels", len(self.alpha), x)
        carry = active_carry()
        key, state = (None, None) if carry is None else carry.start(self, x)
        v, s, done = (torch.zeros_like(x[0]), torch.zeros_like(x[0]), 0) if state is None else state
        start = int(done)
        if start + len(x) > self.timesteps:
            raise InvalidArgumentError(
                f"GatedLIF(timesteps={self.timesteps}) has no input gate for step {self.timesteps + 1}: the sequence "
                f"has {start + len(x)} steps. Make it with timesteps={start + len(x)}."
            )
        alpha, beta, gamma, tau, threshold, decay, reset = (self._gate(getattr(self, n), x) for n in _ONCE)
        spikes = []
        for t, x_t in enumerate(x, start):
            kept = (1.0 - alpha * (1.0 - tau)) * v
            h = kept - (1.0 - alpha) * decay + x_t * (1.0 - beta * (1.0 - self._gate(self.conduct[t], x)))
            v = h - kept * gamma * s - (1.0 - gamma) * reset * s
            s = spike(v - threshold, self.surrogate)
            spikes.append(s)
        if carry is not None:
            carry.leave(key, (v, s, torch.tensor(float(start + len(x)))))
        return torch.stack(spikes)

    def _gate(self, value: Tensor, x: Tensor) -> Tensor:
        """σ(value), (C,) or (), in a shape and dtype that meet a step (B, C, …)."""
        gate = value.sigmoid().to(x.dtype)
        return gate.reshape(-1, *[1] * (x.ndim - 3)) if gate.ndim else gate

    def extra_repr(self) -> str:
        """Show the constants in ``print(model)``."""
        return f"timesteps={self.timesteps}, channels={self.alpha.numel() if self.alpha.ndim else None}"


_ONCE = ("alpha", "beta", "gamma", "tau", "v_threshold", "linear_decay", "v_subreset")


def _logit(name: str, value: float) -> float:
    if not isinstance(value, Real) or not 0.0 < value < 1.0:
        raise InvalidArgumentError(f"GatedLIF(init_{name}={value!r}): must lie between 0 and 1.")
    return -math.log(1.0 / value - 1.0)
