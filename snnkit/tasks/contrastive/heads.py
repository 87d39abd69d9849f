"""What stands behind an encoder while it learns from views, and stays behind afterwards.

Letters: B rows, F features of the encoder, D outputs.
Sources: facebookresearch/moco@132aea9, moco/builder.py; facebookresearch/swav@06b1b7c, src/resnet50.py;
facebookresearch/dino@7c446df, vision_transformer.py (DINOHead).
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snnkit.tasks.contrastive.losses import at_least_single, uncast


def projection(features: int, hidden: int, out: int, norm: bool = False) -> nn.Sequential:
    """Return a linear layer, or with ``hidden`` > 0 two with ReLU between, after batch norm where ``norm``."""
    if not hidden:
        return nn.Sequential(nn.Linear(features, out))
    between = [nn.BatchNorm1d(hidden)] if norm else []
    return nn.Sequential(nn.Linear(features, hidden), *between, nn.ReLU(), nn.Linear(hidden, out))


class UnitRows(nn.Module):
    """x → x · (g v / |v|)ᵀ: a linear layer without bias whose rows have length g (weight norm), (B, F) → (B, D).

    Args:
        features, out: F and D.
        trained: whether g is trained, one a row; else it is 1.
    """

    weight_g: Tensor

    def __init__(self, features: int, out: int, trained: bool = False):
        super().__init__()
        self.weight_v = nn.Parameter(nn.init.kaiming_uniform_(torch.empty(out, features), a=5**0.5))
        if trained:
            self.weight_g = nn.Parameter(torch.ones(out, 1))
        else:
            self.register_buffer("weight_g", torch.ones(out, 1))

    def forward(self, x_BF: Tensor) -> Tensor:
        """Return (B, D)."""
        x = at_least_single(x_BF)
        with uncast(x):
            return F.linear(x, self.weight_g * F.normalize(self.weight_v, dim=1, eps=0.0))


class DinoHead(nn.Module):
    """MLP with GELU → bottleneck of unit length → ``UnitRows``: (B, F) → (B, D).

    Args:
        features, out: F and D.
        hidden: width of the MLP.
        bottleneck: width of what is normalised.
        layers: linear layers of the MLP.
        norm: batch norm behind all but the last of them.
        trained_length: see ``UnitRows``.
    """

    def __init__(
        self,
        features: int,
        out: int,
        hidden: int = 2048,
        bottleneck: int = 256,
        layers: int = 3,
        norm: bool = False,
        trained_length: bool = False,
    ):
        super().__init__()
        widths = [features, *[hidden] * (layers - 1), bottleneck]
        parts: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise(widths)):
            parts.append(nn.Linear(before, after))
            if number < layers - 1:
                parts += [nn.BatchNorm1d(after), nn.GELU()] if norm else [nn.GELU()]
        self.mlp = nn.Sequential(*parts)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.last_layer = UnitRows(bottleneck, out, trained_length)

    def forward(self, x_BF: Tensor) -> Tensor:
        """Return (B, D)."""
        found: Tensor = self.last_layer(F.normalize(self.mlp(x_BF), dim=1))
        return found
