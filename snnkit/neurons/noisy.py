"""Noisy: Gaussian noise on a neuron's current, white or exponentially correlated in time.

    n[0] = σ·ξ[0]
    n[t] = ρ·n[t−1] + σ·√(1 − ρ²)·ξ[t],   ξ independent standard normal numbers
    events = neuron(x + n)

The noise is stationary: at every step it has mean 0, standard deviation σ and correlation ρ^k with the step k before.
It is the Ornstein–Uhlenbeck process with time constant −1/ln ρ steps, sampled at whole steps (exactly, not by Euler's
method). ρ = 0 is white noise.

| symbol | unit | default |
|---|---|---|
| σ ``std`` | that of x, ≥ 0; a number or one per channel, which may be trainable | |
| ρ ``correlation`` | dimensionless, in [0, 1) | 0 |

Source: Uhlenbeck & Ornstein, Phys. Rev. 36 (1930); the exact update of Gillespie, Phys. Rev. E 54 (1996). Noise on the
current for training: Ma et al., "Exploiting noise as a resource for computation and learning in spiking neural
networks", arXiv 2305.16044.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snnkit.checks import finite
from snnkit.errors import InvalidArgumentError
from snnkit.kernels.call import state_dtype
from snnkit.neurons.base import Neuron, check_channels, check_sequence, constant
from snnkit.neurons.carry import active_carry


class Noisy(Neuron):
    """A neuron whose current is noisy: currents (T, B, …) → events (T, B, …), same dtype.

    Random numbers come from torch's global generator of the input's device, one draw a step: with the same seed, steps
    of a stream give the noise of the whole sequence.

    Args:
        neuron: any neuron.
        std: standard deviation σ of the noise, in the unit of the current: a number, or a tensor () or (C,).
        correlation: ρ between neighbouring steps, in [0, 1).
        in_training: whether there is noise in training mode.
        in_evaluation: whether there is noise in evaluation mode.

    Raises:
        InvalidArgumentError: ``neuron`` is none, or a number outside its range.
    """

    def __init__(
        self,
        neuron: Neuron,
        std: float | Tensor,
        correlation: float = 0.0,
        in_training: bool = True,
        in_evaluation: bool = False,
    ):
        super().__init__()
        if not isinstance(neuron, Neuron):
            raise InvalidArgumentError(f"Noisy(neuron={type(neuron).__name__}): must be a neuron, such as LIF().")
        if not finite(self, "correlation", correlation, 0.0, open_=False) < 1.0:
            raise InvalidArgumentError(f"Noisy(correlation={correlation!r}): must be at least 0 and below 1.")
        self.neuron = neuron
        constant(self, "std", std, 0.0, open_=False)
        self.correlation = float(correlation)
        self.in_training, self.in_evaluation = bool(in_training), bool(in_evaluation)

    def forward(self, x: Tensor) -> Tensor:
        """Return the events (T, B, …) for the noisy current, same dtype as ``x``.

        Raises:
            InvalidArgumentError: ``x`` is not a floating-point sequence (T, B, …) with T ≥ 1, or has other channels
                than ``std``.
        """
        check_sequence(self, x)
        if not (self.in_training if self.training else self.in_evaluation):
            return self.neuron(x)
        std = self.std
        if isinstance(std, Tensor) and std.ndim == 1:
            check_channels(self, "std", len(std), x)
            std = std.view(-1, *[1] * (x.ndim - 3))
        return self.neuron(x + (std * self._unit_noise(x)).to(x.dtype))

    def _unit_noise(self, x: Tensor) -> Tensor:
        """Noise (T, B, …) of standard deviation 1, continued inside a stream."""
        carry = active_carry()
        key, carried = (None, None) if carry is None else carry.start(self, x)
        # What is carried has standard deviation 1, so that a trainable std never enters the stream's state.
        noise = None if carried is None else carried[0]
        rho, steps = self.correlation, []
        for _ in range(len(x)):
            # One draw a step, not one for all: how many steps a chunk has must not change the noise.
            drawn = torch.randn(x.shape[1:], dtype=state_dtype(x), device=x.device)
            noise = drawn if noise is None or rho == 0.0 else rho * noise + math.sqrt(1.0 - rho**2) * drawn
            steps.append(noise)
        if carry is not None:
            carry.leave(key, (noise,))
        return torch.stack(steps)

    def extra_repr(self) -> str:
        """Show the numbers in ``print(model)``."""
        std = f"tensor{tuple(self.std.shape)}" if isinstance(self.std, Tensor) else f"{self.std:g}"
        return (
            f"std={std}, correlation={self.correlation:g}, in_training={self.in_training}, "
            f"in_evaluation={self.in_evaluation}"
        )
