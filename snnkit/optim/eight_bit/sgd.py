"""SGD with an 8-bit momentum buffer.

    m ← β m + g + wd p;  p ← p − lr m

torch's ``SGD`` without dampening.
"""

from __future__ import annotations

from typing import Any

from snnkit.errors import InvalidArgumentError
from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.checked import Parameters
from snnkit.optim.rules import MOMENTUM, Numbers


class SGD8bit(BlockwiseOptimizer):
    """SGD with an 8-bit momentum buffer, without dampening."""

    rule = MOMENTUM

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        block_size: int = 256,
        min_8bit_size: int = 4096,
        guard: bool = True,
        percentile_clipping: int = 100,
        optim_bits: int = 8,
    ):
        if momentum == 0:
            raise InvalidArgumentError("momentum=0: SGD has no state then; use optimizer 'sgd'.")
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, settings | common(block_size, min_8bit_size, guard, percentile_clipping, optim_bits))

    def numbers(self, group: dict[str, Any], step: int) -> Numbers:
        """Return what a step multiplies by."""
        return Numbers(float(group["lr"]), beta1=group["momentum"], weight_decay=group["weight_decay"])
