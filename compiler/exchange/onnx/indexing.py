"""Values at positions: Gather and its relatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall


def _gather(call: OnnxCall) -> Tensor:
    axis = call.axis(call.attribute("axis", 0))
    x, shape = call.x(), call.shape()
    if not call.is_stored(1):
        if call.is_stored(0) and axis == 0 and len(shape) == 2:
            return F.embedding(call.x(1), x)
        raise call.refuse("takes values at computed positions, other than rows of a stored table")
    size = shape[axis]
    given = call.stored(1)
    if given.size and not (-size <= given.min() and given.max() < size):
        raise call.refuse(f"takes values beyond the {size} of axis {axis}")
    layout = call.layouts[0]
    merged = layout is not None and layout.axis == axis
    if given.ndim == 0:
        if merged:
            raise call.refuse("takes samples out of the batch")
        return x.select(axis, int(given))
    index = torch.from_numpy((given % size).astype("int64").reshape(-1))
    if layout is None or not merged:
        taken = x.index_select(axis, index)
        return taken if given.ndim == 1 else torch.unflatten(taken, axis, given.shape)
    if layout.outer > 1:
        raise call.refuse("takes values along the batch")
    taken = torch.unflatten(x, axis, (call.batch, size)).index_select(axis + 1, index)
    return torch.unflatten(taken, axis + 1, given.shape).flatten(axis, axis + 1)


def _gather_elements(call: OnnxCall) -> Tensor:
    axis = call.axis(call.attribute("axis", 0))
    return torch.gather(call.x(), axis, call.x(1))


def _gather_nd(call: OnnxCall) -> Tensor:
    """Positions along the first axes."""
    if call.attribute("batch_dims", 0) or not call.is_stored(0):
        raise call.refuse("takes values of a signal along several axes at once")
    return call.x()[tuple(call.x(1).long().unbind(-1))]


def _scatter_nd(call: OnnxCall) -> Tensor:
    if not (call.is_stored(0) and call.is_stored(1) and call.is_stored(2)):
        raise call.refuse("writes computed values into a tensor")
    if call.attribute("reduction", "none") != "none":
        raise call.refuse("adds into a tensor at positions")
    made = call.x().clone()
    made[tuple(call.x(1).long().unbind(-1))] = call.x(2)
    return made


TABLE: Mapping[str, Callable[[OnnxCall], Tensor]] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterND": _scatter_nd,
}
