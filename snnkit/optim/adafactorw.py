"""AdaFactorW: a factored second moment, a first moment in half the bytes, decay apart from the gradient.

    β_t = min(β_max, 1 − t^−ρ)
    R ← β_t R + (1 − β_t) mean_columns(g² + ε),   C likewise over rows              matrices and larger
    V ← β_t V + (1 − β_t) (g² + ε)                                                  what is too small to factor
    u = g / √(R Cᵀ / mean(R)),  or  g / √V
    m ← bfloat16(μ m + (1 − μ) u)
    w ← (1 − η λ) w − η m

The two largest axes are factored where both have ``factored_from`` numbers. A matrix of n numbers takes 2 n bytes and
a little, AdamW 8 n.

With ``momentum_dtype="float32"`` these are the numbers of timm's AdafactorBigVision. With bfloat16 timm rounds the
update before it is averaged, here the average alone is rounded. To the nearest, an update that is within 2 to 4 % of m
(μ = 0.9) changes nothing in either; with ``stochastic`` m is rounded at random to one of its neighbours, so that such
updates count on average. Parameters that FSDP2 shards are factored as one.

Sources: Shazeer and Stern, "Adafactor", arXiv 1804.04235; Zhai et al., "Scaling Vision Transformers", arXiv 2106.04560
(β_max, the first moment in bfloat16); Pham et al., "Combined Scaling for Zero-shot Transfer Learning", arXiv 2111.10050
(the name); huggingface/pytorch-image-models, timm/optim/adafactor_bv.py.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from snnkit.errors import InvalidArgumentError
from snnkit.optim.checked import CheckedOptimizer, Parameters
from snnkit.optim.shards import local

_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class AdaFactorW(CheckedOptimizer):
    """AdaFactorW; see the module.

    Args:
        params: tensors or groups.
        lr: η.
        momentum: μ; 0 keeps no first moment.
        weight_decay: λ.
        decay_rate: ρ.
        beta2_cap: β_max.
        eps: ε.
        factored_from: smallest length of the two largest axes that are factored.
        momentum_dtype: of m: "bfloat16" or "float32".
        stochastic: round m at random; from torch's generator.
        clipping_threshold: largest root mean square of u; None for no bound.

    Raises:
        InvalidArgumentError: a setting out of range; at a step, a sparse or complex gradient.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        decay_rate: float = 0.8,
        beta2_cap: float = 0.999,
        eps: float = 1e-30,
        factored_from: int = 16,
        momentum_dtype: str = "bfloat16",
        stochastic: bool = False,
        clipping_threshold: float | None = None,
    ):
        given = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "decay_rate": decay_rate,
            "beta2_cap": beta2_cap,
            "eps": eps,
            "factored_from": factored_from,
            "momentum_dtype": momentum_dtype,
            "stochastic": stochastic,
            "clipping_threshold": clipping_threshold,
        }
        super().__init__(params, given)

    @staticmethod
    def check(group: dict[str, Any]) -> None:
        """Raise InvalidArgumentError for a setting out of range."""
        for name in ("momentum", "beta2_cap"):
            if not 0 <= group[name] < 1:
                raise InvalidArgumentError(f"{name}={group[name]}: must be at least 0 and below 1.")
        for name in ("lr", "weight_decay", "decay_rate"):
            if not group[name] >= 0:
                raise InvalidArgumentError(f"{name}={group[name]}: must be ≥ 0.")
        if not group["eps"] > 0:
            raise InvalidArgumentError(f"eps={group['eps']}: must be > 0; a row without gradient is divided by it.")
        if group["momentum_dtype"] not in _DTYPES:
            raise InvalidArgumentError(f"momentum_dtype={group['momentum_dtype']!r}: must be bfloat16 or float32.")
        if group["factored_from"] < 1:
            raise InvalidArgumentError(f"factored_from={group['factored_from']}: must be ≥ 1.")
        bound = group["clipping_threshold"]
        if bound is not None and not bound > 0:
            raise InvalidArgumentError(f"clipping_threshold={bound}: must be above 0, or None.")

    def move(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """Take a step with a parameter."""
        gradient: Tensor = parameter.grad.float()  # type: ignore[union-attr]
        state = self.state[parameter]
        axes = factored_axes(tuple(parameter.shape), group["factored_from"])
        if not state:
            self._begin(state, gradient, axes, group)
        state["step"] += 1
        rest = max(1 - group["beta2_cap"], float(state["step"]) ** -group["decay_rate"])
        update = _scaled(gradient, state, axes, rest, group["eps"])
        if group["clipping_threshold"] is not None:
            root = _mean(update.square(), tuple(range(update.ndim))).sqrt()
            update = update / (root / group["clipping_threshold"]).clamp(min=1.0)
        if group["momentum"]:
            moment = state["exp_avg"].float()
            local(moment).lerp_(local(update), 1 - group["momentum"])
            _keep(local(state["exp_avg"]), local(moment), group["stochastic"])
            update = state["exp_avg"].float()
        if group["weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.to(parameter.dtype), alpha=-group["lr"])

    @staticmethod
    def _begin(state: dict[str, Any], gradient: Tensor, axes: tuple[int, int] | None, group: dict[str, Any]) -> None:
        state["step"] = torch.zeros(())
        if axes is None:
            state["exp_avg_sq"] = torch.zeros_like(gradient)
        else:
            shape = list(gradient.shape)
            for name, axis in zip(("exp_avg_sq_r", "exp_avg_sq_c"), reversed(axes), strict=True):
                short = [1 if n == axis else size for n, size in enumerate(shape)]
                state[name] = torch.zeros(short, device=gradient.device)
        if group["momentum"]:
            state["exp_avg"] = torch.zeros_like(gradient, dtype=_DTYPES[group["momentum_dtype"]])


def factored_axes(shape: tuple[int, ...], factored_from: int) -> tuple[int, int] | None:
    """Return the second largest axis and the largest, later ones first among equals; None where they are too short."""
    if len(shape) < 2:
        return None
    order = sorted(range(len(shape)), key=lambda axis: (shape[axis], axis))
    return (order[-2], order[-1]) if shape[order[-2]] >= factored_from else None


def _scaled(gradient: Tensor, state: dict[str, Any], axes: tuple[int, int] | None, rest: float, eps: float) -> Tensor:
    """Return u, after the second moments took note of the gradient."""
    square = gradient.square() + eps
    if axes is None:
        local(state["exp_avg_sq"]).lerp_(local(square), rest)
        return gradient * state["exp_avg_sq"].rsqrt()
    small, large = axes
    rows = state["exp_avg_sq_r"].lerp_(_mean(square, (large,)), rest)
    columns = state["exp_avg_sq_c"].lerp_(_mean(square, (small,)), rest)
    by_row, by_column = (rows / rows.mean(small, keepdim=True)).rsqrt(), columns.rsqrt()
    return gradient * _laid_out(by_row, gradient) * _laid_out(by_column, gradient)


def _mean(values: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the mean over axes, which stay with length 1; of shards, that of the whole, in every process."""
    found = values.sum(axes, keepdim=True)
    if isinstance(found, DTensor):  # whose mean over shards of unequal length would be that of their means
        found = found.full_tensor()
    return found / math.prod(values.shape[axis] for axis in axes)


def _laid_out(values: Tensor, like: Tensor) -> Tensor:
    """Return what every process has whole as a tensor that can be multiplied with ``like``."""
    if not isinstance(like, DTensor):
        return values
    return DTensor.from_local(values, like.device_mesh, [Replicate()] * like.device_mesh.ndim, run_check=False)


def _keep(kept: Tensor, values: Tensor, stochastic: bool) -> None:
    """Round values into what is kept: to the nearest, or to one of both neighbours with the odds of its distance."""
    if not stochastic or kept.dtype != torch.bfloat16:
        kept.copy_(values)
        return
    bits = values.contiguous().view(torch.int32)
    noise = torch.randint(1 << 16, bits.shape, dtype=torch.int32, device=bits.device)
    kept.copy_(((bits + noise) & -65536).view(torch.float32))
