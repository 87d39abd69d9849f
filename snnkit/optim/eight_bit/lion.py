"""Lion with an 8-bit moment.

    p ← p (1 − lr wd) − lr sign(β1 m + (1 − β1) g);  m ← β2 m + (1 − β2) g

Chen et al., "Symbolic Discovery of Optimization Algorithms" (arXiv 2302.06675).
"""

from __future__ import annotations

from typing import Any

from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.checked import Parameters
from snnkit.optim.rules import LION, Numbers


class Lion8bit(BlockwiseOptimizer):
    """Lion (arXiv 2302.06675) with an 8-bit moment."""

    rule = LION

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        block_size: int = 256,
        min_8bit_size: int = 4096,
        guard: bool = True,
        percentile_clipping: int = 100,
        optim_bits: int = 8,
    ):
        settings = {"lr": lr, "betas": betas, "weight_decay": weight_decay}
        super().__init__(params, settings | common(block_size, min_8bit_size, guard, percentile_clipping, optim_bits))

    def numbers(self, group: dict[str, Any], step: int) -> Numbers:
        """Return what a step multiplies by."""
        (beta1, beta2), lr = group["betas"], float(group["lr"])
        decay = 1 - lr * group["weight_decay"]
        return Numbers(lr, beta1=beta1, rest1=1 - beta1, beta2=beta2, rest2=1 - beta2, decay=decay)
