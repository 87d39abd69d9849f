"""The workspace of torch's operators on the CPU, memory that shapes do not tell: asked of the operator itself.

A convolution may copy its input and weights into blocked layouts, or unfold its input; which, depends on its size, the
processor and the build of torch. So every convolution, norm and pooling of a simulation is run, on as many samples as
fit into a few megabytes; each of its allocations grows linearly with the batch, so two such runs give any batch.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from snnkit.memory.allocations import allocations, highest

_ENOUGH = 1 << 22
"""Elements of the largest tensor of such a run: small convolutions take other ways through the library."""

aten = torch.ops.aten
_BATCHED: dict[Any, tuple[int, ...]] = {
    aten.convolution.default: (0,),
    aten.convolution_backward.default: (0, 1),
    aten.native_batch_norm.default: (0,),
    aten.native_batch_norm_backward.default: (0, 1),
    aten.max_pool2d_with_indices.default: (0,),
    aten.max_pool2d_with_indices_backward.default: (0, 1, 7),
    aten.avg_pool2d.default: (0,),
    aten.avg_pool2d_backward.default: (0, 1),
}
"""Operators with a workspace, and which of their arguments hold the batch in their first axis."""


def workspace(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> int:
    """Return the most bytes that live while ``func`` runs, its results included; 0 for operators without a workspace.

    Args:
        func: an ATen operator.
        args, kwargs: its arguments; only shapes, strides and dtypes of tensors matter.
    """
    batched = _BATCHED.get(func)
    if batched is None or kwargs or args[0].device.type != "cpu" or args[0].ndim < 2:
        return 0
    batch = args[0].shape[0]
    described = tuple(_describe(value, i in batched) for i, value in enumerate(args))
    largest = max(args[i].numel() // batch for i in batched)
    few = min(batch, max(3, _ENOUGH // largest))
    changes = _changes(func, described, few)
    if few == batch:
        return highest(changes)
    fewer = _changes(func, described, few - 1)
    if len(changes) != len(fewer):
        return highest(changes) * batch // few
    return highest(a + (a - b) * (batch - few) for a, b in zip(changes, fewer, strict=True))


@lru_cache(maxsize=4096)
def _changes(func: Any, described: tuple[Any, ...], batch: int) -> tuple[int, ...]:
    with _disable_current_modes(), torch.no_grad():
        args = [_make(value, batch) for value in described]
        return tuple(allocations(lambda: func(*args)))


def _describe(value: Any, batched: bool) -> Any:
    """A hashable description; the batch is left out, and where it lies in memory as far as it can be."""
    if isinstance(value, Tensor):
        shape = tuple(value.shape)
        return ("tensor", batched, shape[1:] if batched else shape, _order(value), value.dtype)
    return ("list", *value) if isinstance(value, list) else value


def _order(x: Tensor) -> tuple[int, ...]:
    """The axes from the one farthest apart in memory to the nearest; () for a tensor that is repeated."""
    return () if 0 in x.stride() else tuple(sorted(range(x.ndim), key=lambda axis: (-x.stride(axis), axis)))


def _make(value: Any, batch: int) -> Any:
    if not isinstance(value, tuple):
        return value
    if value[0] == "list":
        return list(value[1:])
    _, batched, shape, order, dtype = value
    size = (batch, *shape) if batched else shape
    if not order:
        return torch.zeros((), dtype=dtype).expand(size)
    dense = torch.zeros([size[axis] for axis in order], dtype=dtype)
    return dense.permute([order.index(axis) for axis in range(len(order))])
