"""AdamW with 8-bit moments.

    m ← β1 m + (1 − β1) g;  v ← β2 v + (1 − β2) g²;  p ← p (1 − lr wd) − lr / c1 · m / (√v / c2 + ε)

c1 = 1 − β1ᵗ and c2 = √(1 − β2ᵗ) at step t. Loshchilov & Hutter, "Decoupled Weight Decay Regularization" (arXiv
1711.05101).
"""

from __future__ import annotations

import math
from typing import Any

from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.checked import Parameters
from snnkit.optim.rules import ADAM, Numbers


def numbers_of_adam(group: dict[str, Any], step: int) -> Numbers:
    """Return what a step of Adam, and of AdamW, multiplies by."""
    (beta1, beta2), lr = group["betas"], float(group["lr"])
    return Numbers(
        rate=lr / (1 - beta1**step),
        beta1=beta1,
        rest1=1 - beta1,
        beta2=beta2,
        rest2=1 - beta2,
        root=1 / math.sqrt(1 - beta2**step),
        eps=group["eps"],
        decay=1 - lr * group["weight_decay"],
    )


class AdamW8bit(BlockwiseOptimizer):
    """AdamW with 8-bit moments: 2.03 bytes of state a parameter instead of 8. See ``BlockwiseOptimizer``."""

    rule = ADAM

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        block_size: int = 256,
        min_8bit_size: int = 4096,
        guard: bool = True,
        percentile_clipping: int = 100,
        optim_bits: int = 8,
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, settings | common(block_size, min_8bit_size, guard, percentile_clipping, optim_bits))

    def numbers(self, group: dict[str, Any], step: int) -> Numbers:
        """Return what a step multiplies by."""
        return numbers_of_adam(group, step)
