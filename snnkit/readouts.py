"""Readouts: from the output sequence to a prediction.

| readout | prediction y (K) from the sequence y[t] |
|---|---|
| ``Mean`` | Σ y[t] / T |
| ``Sum`` | Σ y[t]: spike counts, where y holds spikes |
| ``LastMembrane`` | y[T−1] |
| ``MaxMembrane`` | max over t of y[t] |
| ``FirstSpike`` | −(time of the first spike), T where there is none |

``Mean`` and ``Sum`` take real values or spikes, the membrane readouts the membrane of a leaky integrator, which never
fires, and ``FirstSpike`` spikes. ``running`` gives the prediction after every step, for stopping early.

To add one: a class with ``forward`` and ``running``, and its line in ``READOUTS``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError


class Mean(nn.Module):
    """Mean over time: (T, B, K) → (B, K), in the unit of the input."""

    def forward(self, y: Tensor) -> Tensor:
        """Average over the first axis.

        Raises:
            InvalidArgumentError: there are no time steps.
        """
        return _sequence(self, y).mean(0)

    def running(self, y: Tensor) -> Tensor:
        """(T, B, K) → (T, B, K): the mean of the first t + 1 steps."""
        steps = torch.arange(1, len(_sequence(self, y)) + 1, device=y.device, dtype=y.dtype)
        return y.cumsum(0) / steps.view(-1, *[1] * (y.ndim - 1))


class Sum(nn.Module):
    """Sum over time: (T, B, K) → (B, K); the number of spikes where the input holds spikes."""

    def forward(self, y: Tensor) -> Tensor:
        """Sum over the first axis.

        Raises:
            InvalidArgumentError: there are no time steps.
        """
        return _sequence(self, y).sum(0)

    def running(self, y: Tensor) -> Tensor:
        """(T, B, K) → (T, B, K): the sum of the first t + 1 steps."""
        return _sequence(self, y).cumsum(0)


class LastMembrane(nn.Module):
    """The membrane after the last step: (T, B, K) → (B, K), in the unit of the input."""

    def forward(self, y: Tensor) -> Tensor:
        """Take the last step.

        Raises:
            InvalidArgumentError: there are no time steps.
        """
        return _sequence(self, y)[-1]

    def running(self, y: Tensor) -> Tensor:
        """(T, B, K) → (T, B, K): the sequence itself."""
        return _sequence(self, y)


class MaxMembrane(nn.Module):
    """The highest membrane over time: (T, B, K) → (B, K), in the unit of the input.

    The gradient goes to the step of the maximum. Source: Cramer et al., "The Heidelberg Spiking Data Sets", IEEE TNNLS
    2020 (max-over-time readout); SpikingJelly 2.0 ``NonSpikingLIFNode(decode="max-mem")``.
    """

    def forward(self, y: Tensor) -> Tensor:
        """Take the maximum over the first axis.

        Raises:
            InvalidArgumentError: there are no time steps.
        """
        return _sequence(self, y).max(0).values

    def running(self, y: Tensor) -> Tensor:
        """(T, B, K) → (T, B, K): the maximum of the first t + 1 steps."""
        return _sequence(self, y).cummax(0).values


class FirstSpike(nn.Module):
    """Decision by the earliest spike: (T, B, K) → (B, K), −(time of the first spike) in steps.

        time = Σ_t Π_{k ≤ t} (1 − s[k])            the number of steps that pass before the first spike

    which is t at a first spike at step t, and T for a neuron that never fires. The formula is a polynomial in the
    spikes, and its derivative the surrogate: ∂time/∂s[k] = −(1 + silent steps directly after k) for k up to the first
    spike, which is how much earlier the decision would come with a spike at k, and 0 after it. A silent neuron so
    receives gradients at every step. From there the neuron's own surrogate takes over.

    Values are clipped to [0, 1]: an integer spike counts as one, a negative one as none. Where spikes are replaced by
    independent probabilities, the formula is the expected time.

    Source: own formula for the first-to-fire decision of Mostafa, "Supervised learning based on temporal coding",
    arXiv 1606.08165.
    """

    def times(self, y: Tensor) -> Tensor:
        """Spikes (T, B, K) → time of the first spike (B, K) in steps, T where there is none; differentiable.

        Raises:
            InvalidArgumentError: there are no time steps.
        """
        return self._silent(y).sum(0)

    def forward(self, y: Tensor) -> Tensor:
        """Spikes (T, B, K) → logits (B, K) = −times.

        Raises:
            InvalidArgumentError: there are no time steps.
        """
        return -self.times(y)

    def running(self, y: Tensor) -> Tensor:
        """(T, B, K) → (T, B, K): the logits that the first t + 1 steps give."""
        return -self._silent(y).cumsum(0)

    def _silent(self, y: Tensor) -> Tensor:
        """1 as long as nothing has fired, else 0: (T, B, K)."""
        y = _sequence(self, y)
        # Clipped in value only: torch's clamp has no gradient at 0 and 1, where spikes are.
        return (1.0 - (y - (y - y.clamp(0.0, 1.0)).detach())).cumprod(0)


def _sequence(readout: nn.Module, y: Tensor) -> Tensor:
    if not isinstance(y, Tensor) or y.ndim < 2 or y.shape[0] == 0:
        given = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise InvalidArgumentError(f"{type(readout).__name__} takes a sequence (T, B, K) with T ≥ 1, got {given}.")
    if isinstance(readout, (Mean, FirstSpike)) and not y.is_floating_point():
        raise InvalidArgumentError(
            f"{type(readout).__name__} takes floating-point values, got {y.dtype}: use y.float()."
        )
    return y


READOUTS: tuple[type[nn.Module], ...] = (Mean, Sum, LastMembrane, MaxMembrane, FirstSpike)
