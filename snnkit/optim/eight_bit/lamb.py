"""LAMB with 8-bit moments: the rate of each tensor is multiplied by a trust ratio (see ``trust.py``).

    m ← β1 m + (1 − β1) g;  v ← β2 v + (1 − β2) g²;  u = m / c1 / (√v / c2 + ε) + wd p;  p ← p − lr r u,  r = ‖p‖ / ‖u‖

c1 = 1 − β1ᵗ and c2 = √(1 − β2ᵗ) at step t. You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76
minutes" (arXiv 1904.00962).
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.checked import Parameters
from snnkit.optim.rules import LAMB, Numbers
from snnkit.optim.step import Step
from snnkit.optim.trust import exempt, go_along


class LAMB8bit(BlockwiseOptimizer):
    """LAMB with 8-bit moments.

    Args beside those of ``AdamW8bit``:
        bias_correction: whether c1 and c2 are used, or 1.
        max_unorm: a bound on ‖u‖ / ‖p‖ in place of the trust ratio.
        always_adapt: False exempts groups without weight decay (biases, norms) from the ratio.
    """

    rule = LAMB

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        bias_correction: bool = True,
        max_unorm: float | None = None,
        always_adapt: bool = True,
        block_size: int = 256,
        min_8bit_size: int = 4096,
        guard: bool = True,
        percentile_clipping: int = 100,
        optim_bits: int = 8,
    ):
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        settings |= {"bias_correction": bias_correction, "max_unorm": max_unorm, "always_adapt": always_adapt}
        super().__init__(params, settings | common(block_size, min_8bit_size, guard, percentile_clipping, optim_bits))

    def numbers(self, group: dict[str, Any], step: int) -> Numbers:
        """Return what a step multiplies by."""
        beta1, beta2 = group["betas"]
        corrected = group["bias_correction"]
        return Numbers(
            rate=float(group["lr"]),
            beta1=beta1,
            rest1=1 - beta1,
            beta2=beta2,
            rest2=1 - beta2,
            root=1 / math.sqrt(1 - beta2**step) if corrected else 1.0,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            correction=1 / (1 - beta1**step) if corrected else 1.0,
        )

    def _direct(self, step: Step, group: dict[str, Any], parameter: Tensor) -> None:
        go_along(step, parameter, group["max_unorm"], exempt(group))
