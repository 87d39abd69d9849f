"""RMSprop with an 8-bit second moment.

    g ← g + wd p;  v ← α v + (1 − α) g²;  p ← p − lr g / (√v + ε)

torch's ``RMSprop`` without momentum and centring.
"""

from __future__ import annotations

from typing import Any

from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.checked import Parameters
from snnkit.optim.rules import RMSPROP, Numbers


class RMSprop8bit(BlockwiseOptimizer):
    """RMSprop with an 8-bit second moment, without momentum and centring."""

    rule = RMSPROP

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        block_size: int = 256,
        min_8bit_size: int = 4096,
        guard: bool = True,
        percentile_clipping: int = 100,
        optim_bits: int = 8,
    ):
        settings = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings | common(block_size, min_8bit_size, guard, percentile_clipping, optim_bits))

    def numbers(self, group: dict[str, Any], step: int) -> Numbers:
        """Return what a step multiplies by."""
        alpha, decay = group["alpha"], group["weight_decay"]
        return Numbers(float(group["lr"]), beta2=alpha, rest2=1 - alpha, eps=group["eps"], weight_decay=decay)
