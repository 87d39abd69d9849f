"""Adam with 8-bit moments: the rule of AdamW, without weight decay unless it is asked for.

Kingma & Ba, "Adam: A Method for Stochastic Optimization" (arXiv 1412.6980).
"""

from __future__ import annotations

from typing import Any

from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.checked import Parameters
from snnkit.optim.eight_bit.adamw import numbers_of_adam
from snnkit.optim.rules import ADAM, Numbers


class Adam8bit(BlockwiseOptimizer):
    """Adam with 8-bit moments. A weight decay, 0 by default, is decoupled as in AdamW, as published."""

    rule = ADAM

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
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
