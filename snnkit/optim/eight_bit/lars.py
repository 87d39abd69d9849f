"""LARS with an 8-bit momentum buffer: the rate of each tensor is multiplied by a trust ratio (see ``trust.py``).

    r = η ‖p‖ / (‖g‖ + wd ‖p‖ + ε);  m ← β m + r (g + wd p);  p ← p − lr m

You et al., "Large Batch Training of Convolutional Networks" (arXiv 1708.03888).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.optim.apply import apply
from snnkit.optim.blockwise import BlockwiseOptimizer, common
from snnkit.optim.checked import Parameters
from snnkit.optim.rules import MOMENTUM, Numbers
from snnkit.optim.step import Step
from snnkit.optim.trust import exempt, go_along, norms


class LARS8bit(BlockwiseOptimizer):
    """LARS with an 8-bit momentum buffer.

    Args beside those of ``SGD8bit``:
        trust_coefficient: η.
        eps: beside the norms.
        max_unorm: a bound on ‖m‖ / ‖p‖ in place of the trust ratio (0.02 is usual).
        always_adapt: False exempts groups without weight decay (biases, norms) from the ratio.
    """

    rule = MOMENTUM

    def __init__(
        self,
        params: Parameters,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        eps: float = 1e-8,
        max_unorm: float | None = None,
        always_adapt: bool = True,
        block_size: int = 256,
        min_8bit_size: int = 4096,
        guard: bool = True,
        percentile_clipping: int = 100,
        optim_bits: int = 8,
    ):
        if momentum == 0:
            raise InvalidArgumentError("momentum=0: LARS has no state then; use optimizer 'lars'.")
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eps": eps}
        settings |= {"trust_coefficient": trust_coefficient, "max_unorm": max_unorm, "always_adapt": always_adapt}
        super().__init__(params, settings | common(block_size, min_8bit_size, guard, percentile_clipping, optim_bits))

    def numbers(self, group: dict[str, Any], step: int) -> Numbers:
        """Return what a step multiplies by."""
        return Numbers(float(group["lr"]), beta1=group["momentum"], weight_decay=group["weight_decay"])

    def _direct(self, step: Step, group: dict[str, Any], parameter: Tensor) -> None:
        if group["max_unorm"] is not None:
            go_along(step, parameter, group["max_unorm"], exempt(group))
            return
        numbers = step.numbers
        ratio = 1.0
        if not exempt(group):
            p, g = norms([step.p, step.g], parameter)
            g *= numbers.scale
            if p > 0 and g > 0:
                ratio = group["trust_coefficient"] * p / (g + numbers.weight_decay * p + group["eps"])
        scaled = replace(numbers, scale=numbers.scale * ratio, weight_decay=numbers.weight_decay * ratio)
        apply(replace(step, numbers=scaled))
