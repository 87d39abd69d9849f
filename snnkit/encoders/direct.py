"""Direct encoding: s[t] = x for t = 0 … T−1; the values are those of x, in its unit.

Source: Rathi & Roy, "DIET-SNN", arXiv 2008.03658.
"""

from __future__ import annotations

from torch import Tensor, nn

from snnkit.encoders.checks import whole


class Direct(nn.Module):
    """Direct encoding: the same real values at every time step; the first layer turns them into spikes.

    Args:
        timesteps: T ≥ 1.

    Raises:
        InvalidArgumentError: ``timesteps`` is not a whole number ≥ 1.
    """

    # The compiler may compute what depends on the input alone once instead of T times.
    static = True

    def __init__(self, timesteps: int):
        super().__init__()
        self.timesteps = whole(self, "timesteps", timesteps)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → (T, B, …), a view without copies."""
        return x.unsqueeze(0).expand(self.timesteps, *x.shape)

    def extra_repr(self) -> str:
        """Show T in ``print(model)``."""
        return f"timesteps={self.timesteps}"
