"""Pooling over windows and over whole images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall
from compiler.exchange.onnx.weights import padded, settings

_MAX: Mapping[int, Any] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE: Mapping[int, Any] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _kernel(call: OnnxCall) -> list[int]:
    kernel: list[int] = call.attribute("kernel_shape", [])
    if len(kernel) not in _MAX:
        raise call.refuse(f"pools {len(kernel)} axes; 1 to 3 are known")
    return kernel


def _max_pool(call: OnnxCall) -> Tensor:
    kernel = _kernel(call)
    strides, dilations, front, back = settings(call, kernel)
    x, ceil = call.x(), bool(call.attribute("ceil_mode", 0))
    if front != back or any(2 * size > side for size, side in zip(front, kernel, strict=True)):
        x, front = padded(x, front, back, -math.inf), [0] * len(kernel)
    pooled: Tensor = _MAX[len(kernel)](x, kernel, strides, front, dilations, ceil)
    return pooled


def _average_pool(call: OnnxCall) -> Tensor:
    kernel = _kernel(call)
    strides, dilations, front, back = settings(call, kernel)
    if any(size != 1 for size in dilations):
        raise call.refuse("averages windows with gaps (dilations)")
    x, ceil, counted = call.x(), bool(call.attribute("ceil_mode", 0)), bool(call.attribute("count_include_pad", 0))
    if front != back or any(2 * size > side for size, side in zip(front, kernel, strict=True)):
        if not counted:
            return _uneven_average(call, kernel, strides, front, back)
        x, front = padded(x, front, back), [0] * len(kernel)
    pooled: Tensor = _AVERAGE[len(kernel)](x, kernel, strides, front, ceil, counted)
    return pooled


def _uneven_average(call: OnnxCall, kernel: list[int], strides: list[int], front: list[int], back: list[int]) -> Tensor:
    """Padding that is not counted, and differs at the two ends: sums, divided by how many values there are."""
    if call.attribute("ceil_mode", 0):
        raise call.refuse("is padded unevenly and rounds sizes up (ceil_mode)")
    ones = torch.ones((1, 1, *call.shape()[2:]), dtype=call.x().dtype)
    pool = _AVERAGE[len(kernel)]
    sums: Tensor = pool(padded(call.x(), front, back), kernel, strides)
    counts: Tensor = pool(padded(ones, front, back), kernel, strides)
    return sums * (1 / counts)


def _global_average(call: OnnxCall) -> Tensor:
    return call.x().mean(tuple(range(2, len(call.shape()))), keepdim=True)


def _global_max(call: OnnxCall) -> Tensor:
    return call.x().amax(tuple(range(2, len(call.shape()))), keepdim=True)


TABLE: Mapping[str, Callable[[OnnxCall], Tensor]] = {
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
}
