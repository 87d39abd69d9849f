"""Stochastic depth: a residual branch is left out for whole samples while training.

    y = x · m / (1 − p),   m ~ Bernoulli(1 − p) per sample

Source: Huang et al., "Deep Networks with Stochastic Depth", arXiv 1603.09382; timm's ``DropPath``.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError


class DropPath(nn.Module):
    """Drop a branch per sample; one draw for all time steps of a sequence.

    Args:
        p: probability of dropping, in [0, 1).
        batch_axis: 0 for (B, …), 1 for sequences (T, B, …).

    Raises:
        InvalidArgumentError: ``p`` outside [0, 1).
    """

    def __init__(self, p: float = 0.0, batch_axis: int = 0):
        super().__init__()
        if not 0 <= p < 1:
            raise InvalidArgumentError(f"drop path p={p!r}: must be at least 0 and below 1.")
        self.p = float(p)
        self.batch_axis = batch_axis

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` in eval mode or at p = 0; else scaled or zero per sample, shape kept."""
        if not self.training or self.p == 0.0:
            return x
        shape = [1] * x.ndim
        shape[self.batch_axis] = x.shape[self.batch_axis]
        return x * (x.new_empty(shape).bernoulli_(1 - self.p) / (1 - self.p))

    def extra_repr(self) -> str:
        """Show p in ``print(model)``."""
        return f"p={self.p:g}"


def rates(drop_path_rate: float, depth: int) -> list[float]:
    """Return ``depth`` probabilities that grow linearly from 0 to ``drop_path_rate``."""
    return [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]
