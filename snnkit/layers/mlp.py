"""The two-layer perceptron of vision transformers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear, exact GELU, linear, on the last axis: (…, C) → (…, C).

    Args:
        dim: C.
        hidden: width between the two.
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Change every token by itself."""
        return self.fc2(F.gelu(self.fc1(x)))
