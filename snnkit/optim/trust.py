"""LAMB and LARS with 8-bit states: the rate of each tensor is multiplied by a trust ratio.

    LAMB  u = m / c1 / (√v / c2 + ε) + wd p;        p ← p − lr r u,  r = ‖p‖ / ‖u‖               (arXiv 1904.00962)
    LARS  r = η ‖p‖ / (‖g‖ + wd ‖p‖ + ε);  m ← β m + r (g + wd p);  p ← p − lr m                 (arXiv 1708.03888)

r = 1 where ‖p‖ or the other norm is 0. With ``max_unorm`` the ratio is a bound instead: the direction u (LARS: the
momentum m, made of bare gradients) is scaled down to the norm max_unorm ‖p‖ where it is longer, and left alone else.
Norms are those of the whole tensor, over all shards.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from snnkit.errors import InvalidArgumentError
from snnkit.optim.apply import Step, apply
from snnkit.optim.blockwise import BlockwiseOptimizer, Parameters, common
from snnkit.optim.rules import LAMB, MOMENTUM, Numbers
from snnkit.optim.shards import square_sums


def _norms(tensors: list[Tensor], parameter: Tensor) -> list[float]:
    return square_sums(tensors, parameter).sqrt().tolist()


def _bound(parameter: float, direction: float, most: float) -> float:
    return most * parameter / direction if direction > most * parameter else 1.0


def _exempt(group: dict[str, Any]) -> bool:
    return not group["always_adapt"] and group["weight_decay"] == 0


def _along(step: Step, parameter: Tensor, max_unorm: float | None, exempt: bool) -> None:
    """Compute the direction, then go along it as far as its norm allows."""
    direction = torch.empty_like(step.p)
    apply(replace(step, out=direction))
    ratio = 1.0
    if not exempt:
        p, u = _norms([step.p, direction], parameter)
        if max_unorm is not None:
            ratio = _bound(p, u, max_unorm)
        elif p > 0 and u > 0:
            ratio = p / u
    step.p.sub_(direction.mul_(step.numbers.rate * ratio))


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
        _along(step, parameter, group["max_unorm"], _exempt(group))


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
            _along(step, parameter, group["max_unorm"], _exempt(group))
            return
        numbers = step.numbers
        ratio = 1.0
        if not _exempt(group):
            p, g = _norms([step.p, step.g], parameter)
            g *= numbers.scale
            if p > 0 and g > 0:
                ratio = group["trust_coefficient"] * p / (g + numbers.weight_decay * p + group["eps"])
        scaled = replace(numbers, scale=numbers.scale * ratio, weight_decay=numbers.weight_decay * ratio)
        apply(replace(step, numbers=scaled))
