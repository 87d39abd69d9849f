"""How many weights an event meets in a convolution, exactly: strides, padding, dilation and groups respected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

Numbers = tuple[int, ...]


def numbers(value: Any, rank: int) -> Numbers:
    """Return ``rank`` whole numbers: those given, or one repeated."""
    given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return tuple(int(v) for v in (given if len(given) == rank else given * rank))


def padding_of(value: Any, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[Numbers, Numbers]:
    """Return the zeros in front and behind of each axis; "same" puts the odd one behind, as torch does."""
    rank = len(kernel)
    if value == "valid":
        return (0,) * rank, (0,) * rank
    if value == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    return numbers(value, rank), numbers(value, rank)


@lru_cache(maxsize=512)
def conv_fan_out(
    sizes: Numbers,
    kernel: Numbers,
    stride: Numbers,
    front: Numbers,
    behind: Numbers,
    dilation: Numbers,
    device: torch.device,
) -> Tensor:
    """Return how many outputs of one filter read each place of an input of these ``sizes``; float32, that shape."""
    axes = []
    for size, k, s, before, after, d in zip(sizes, kernel, stride, front, behind, dilation, strict=True):
        outputs = (size + before + after - d * (k - 1) - 1) // s + 1
        read = torch.arange(outputs)[:, None] * s + torch.arange(k) * d - before
        axes.append(torch.bincount(read[(read >= 0) & (read < size)], minlength=size))
    return _outer(axes, device)


@lru_cache(maxsize=512)
def transposed_fan_out(
    sizes: Numbers,
    kernel: Numbers,
    stride: Numbers,
    padding: Numbers,
    output_padding: Numbers,
    dilation: Numbers,
    device: torch.device,
) -> Tensor:
    """Return to how many outputs of one filter each place of a transposed convolution's input is written."""
    axes = []
    for size, k, s, p, extra, d in zip(sizes, kernel, stride, padding, output_padding, dilation, strict=True):
        outputs = (size - 1) * s - 2 * p + d * (k - 1) + extra + 1
        written = torch.arange(size)[:, None] * s + torch.arange(k) * d - p
        axes.append(((written >= 0) & (written < outputs)).sum(1))
    return _outer(axes, device)


def _outer(axes: Sequence[Tensor], device: torch.device) -> Tensor:
    fan = torch.ones((), dtype=torch.float32)
    for axis in axes:
        fan = fan.unsqueeze(-1) * axis.to(torch.float32)
    return fan.to(device)


def window_sizes(size: int, outputs: int) -> list[int]:
    """Return the sizes of adaptive pooling's windows along one axis: from ⌊i·n/m⌋ to ⌈(i + 1)·n/m⌉."""
    return [-(-(i + 1) * size // outputs) - i * size // outputs for i in range(outputs)]


def common_window(sizes: Sequence[int], outputs: Sequence[int]) -> int:
    """Return the smallest number that all windows' sizes of an adaptive pooling divide."""
    found = {1}
    for size, number in zip(sizes, outputs, strict=True):
        found = {one * other for one in found for other in window_sizes(size, number)}
    return math.lcm(*found)
