"""Sums of a few weighted rows each: ``embedding_bag`` with a backward of its own on the CPU.

torch's backward sorts the places by comparing and adds one by one. Here they are counted and laid out by row, and the
gradient of a row is again a sum of weighted rows, those of the sums that read it.

Letters: P rows, C channels, B sums, K rows in each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snnkit.kernels.compiled import compiled


def weighted_rows(rows_PC: Tensor, places_BK: Tensor, weights_BK: Tensor) -> Tensor:
    """Return Σ_k weights[b, k] · rows[places[b, k]], (B, C), of float32 or float64; weights learn nothing."""
    plain = type(rows_PC) is Tensor and rows_PC.device.type == "cpu"
    if plain and torch.is_grad_enabled() and rows_PC.requires_grad:
        found: Tensor = _WeightedRows.apply(rows_PC, places_BK, weights_BK.detach())  # type: ignore[no-untyped-call]
        return found
    return _summed(rows_PC, places_BK, weights_BK)


def _summed(rows_PC: Tensor, places_BK: Tensor, weights_BK: Tensor) -> Tensor:
    return F.embedding_bag(places_BK, rows_PC, mode="sum", per_sample_weights=weights_BK)


class _WeightedRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_PC: Tensor, places_BK: Tensor, weights_BK: Tensor) -> Tensor:
        ctx.save_for_backward(places_BK, weights_BK)
        ctx.rows = len(rows_PC)
        return _summed(rows_PC, places_BK, weights_BK)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_BC: Tensor) -> tuple[Tensor, None, None]:
        places_BK, weights_BK = ctx.saved_tensors
        found = _by_row(places_BK.contiguous().numpy(), weights_BK.contiguous().numpy(), ctx.rows)
        sums, weights, first = (torch.from_numpy(one) for one in found)
        return F.embedding_bag(sums, grad_BC.contiguous(), first, mode="sum", per_sample_weights=weights), None, None


@compiled(nogil=True)
def _by_row(places: np.ndarray, weights: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sums that read each row and with which weights, row by row, and where each row's begin."""
    bags, size = places.shape
    following = np.zeros(rows + 1, np.int64)
    for bag in range(bags):
        for k in range(size):
            if weights[bag, k] != 0:
                following[places[bag, k] + 1] += 1
    for row in range(rows):
        following[row + 1] += following[row]
    first = following[:rows].copy()
    sums, sorted_weights = np.empty(following[rows], np.int64), np.empty(following[rows], weights.dtype)
    for bag in range(bags):
        for k in range(size):
            if weights[bag, k] != 0:
                at = following[places[bag, k]]
                following[places[bag, k]] = at + 1
                sums[at], sorted_weights[at] = bag, weights[bag, k]
    return sums, sorted_weights, first
