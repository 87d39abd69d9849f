"""Encoders: from a value to a sequence."""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.errors import InvalidArgumentError


class Direct(nn.Module):
    """Direct encoding: the same real values at every time step; the first layer turns them into spikes.

    Args:
        timesteps: T ≥ 1.

    Source: Rathi & Roy, "DIET-SNN", arXiv 2008.03658.
    """

    # The compiler may compute what depends on the input alone once instead of T times.
    static = True

    def __init__(self, timesteps: int):
        super().__init__()
        if int(timesteps) != timesteps or timesteps < 1:
            raise InvalidArgumentError(f"timesteps={timesteps!r}: must be a whole number ≥ 1.")
        self.timesteps = int(timesteps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (T, B, …), a view without copies."""
        return x.unsqueeze(0).expand(self.timesteps, *x.shape)

    def extra_repr(self) -> str:
        """Show T in ``print(model)``."""
        return f"timesteps={self.timesteps}"
