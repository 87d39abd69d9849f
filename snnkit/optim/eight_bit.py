"""AdamW, Adam, SGD with momentum, Lion, RMSprop and Adagrad with 8-bit states; the equations are in ``rules.py``.

Dettmers et al., "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861).
"""

from __future__ import annotations

import math
from typing import Any

from snnkit.errors import InvalidArgumentError
from snnkit.optim.blockwise import BlockwiseOptimizer, Parameters, common
from snnkit.optim.rules import ADAGRAD, ADAM, LION, MOMENTUM, RMSPROP, Numbers


def _adam(group: dict[str, Any], step: int) -> Numbers:
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
        return _adam(group, step)


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
        return _adam(group, step)


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
