"""Adagrad with an 8-bit sum of squares.

    g ← g + wd p;  v ← v + g²;  p ← p − lr g / (√v + ε)

torch's ``Adagrad`` without decay of the rate and starting value.
"""

from __future__ import annotations

from typing import Any

from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.checked import Parameters
from snnkit.optim.rules import ADAGRAD, Numbers


class Adagrad8bit(BlockwiseOptimizer):
    """Adagrad with an 8-bit sum of squares, without decay of the rate and starting value."""

    rule = ADAGRAD

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        eps: float = 1e-10,
        weight_decay: float = 0.0,
        block_size: int = 256,
        min_8bit_size: int = 4096,
        guard: bool = True,
        percentile_clipping: int = 100,
        optim_bits: int = 8,
    ):
        settings = {"lr": lr, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings | common(block_size, min_8bit_size, guard, percentile_clipping, optim_bits))

    def numbers(self, group: dict[str, Any], step: int) -> Numbers:
        """Return what a step multiplies by."""
        return Numbers(float(group["lr"]), beta2=1.0, eps=group["eps"], weight_decay=group["weight_decay"])
