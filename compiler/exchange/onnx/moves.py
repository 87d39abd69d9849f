"""Values that change place: reshapes, transposes, slices, joins, padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall, Result, Shape


def _target(call: OnnxCall) -> Shape:
    """Return the shape that a Reshape names: 0 keeps a size, −1 is what remains."""
    source, target = call.shape(), call.ints(1)
    if not call.attribute("allowzero", 0):
        if any(size == 0 and axis >= len(source) for axis, size in enumerate(target)):
            raise call.refuse(f"keeps an axis that {source} does not have")
        target = [source[axis] if size == 0 else size for axis, size in enumerate(target)]
    if target.count(-1) == 1:
        known, total = math.prod(size for size in target if size != -1), math.prod(source)
        if not known or total % known:
            raise call.refuse(f"makes {tuple(target)} of {source}")
        target[target.index(-1)] = total // known
    if any(size < 0 for size in target) or math.prod(target) != math.prod(source):
        raise call.refuse(f"makes {tuple(target)} of {source}")
    return tuple(target)


def _reshape(call: OnnxCall) -> Tensor:
    return call.x().reshape(call.placed() if call.made else _target(call))


def _flatten(call: OnnxCall) -> Tensor:
    shape, axis = call.shape(), call.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    target = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    return call.x().reshape(call.placed() if call.made else target)


def _transpose(call: OnnxCall) -> Tensor:
    order = call.attribute("perm") or list(reversed(range(len(call.shape()))))
    return call.x().permute(order)


def _squeeze(call: OnnxCall) -> Tensor:
    axes = call.axes(1, 13)
    found = [a for a, size in enumerate(call.shape()) if size == 1] if axes is None else [call.axis(a) for a in axes]
    if any(call.shape()[axis] != 1 for axis in found):
        raise call.refuse(f"drops an axis of {call.shape()} that is not 1")
    layout = call.layouts[0]
    if layout is not None and layout.axis in found:
        raise call.refuse("drops the axis of the batch; export the model with an open batch")
    return call.x().squeeze(found)


def _unsqueeze(call: OnnxCall) -> Tensor:
    axes = call.axes(1, 13) or []
    rank = len(call.shape()) + len(axes)
    x = call.x()
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _concat(call: OnnxCall) -> Tensor:
    """Join along an axis; stored values, such as class tokens, are given to every sample."""
    axis = call.axis(call.attribute("axis"))
    values = [call.x(index) for index in range(len(call.values))]
    like = next((layout for layout in call.layouts if layout is not None), None)
    if like is not None:
        if like.axis == axis:
            raise call.refuse("joins along the batch")
        for index, layout in enumerate(call.layouts):
            if layout is None:
                values[index] = call.spread(index, like, like.axis)
    return torch.cat(values, axis)


def _split(call: OnnxCall) -> Result:
    axis = call.axis(call.attribute("axis", 0))
    size = call.shape()[axis]
    if call.has(1):
        sizes = call.ints(1)
    else:
        count = call.attribute("num_outputs") or call.parts
        step = -(-size // count)
        sizes = [min(step, size - start) for start in range(0, size, step)]
    if sum(sizes) != size or any(part < 0 for part in sizes):
        raise call.refuse(f"splits {size} into {sizes}")
    return torch.split(call.x(), sizes, axis)


def _slice(call: OnnxCall) -> Tensor:
    shape, x = call.shape(), call.x()
    starts, stops = call.ints(1), call.ints(2)
    axes = call.ints(3) if call.has(3) else list(range(len(starts)))
    steps = call.ints(4) if call.has(4) else [1] * len(starts)
    layout = call.layouts[0]
    for start, stop, axis, step in zip(starts, stops, axes, steps, strict=True):
        axis = call.axis(axis)
        taken = range(shape[axis])[_bounds(start, stop, step, shape[axis])]
        if taken == range(shape[axis]):
            continue
        if layout is not None and axis == layout.axis:
            raise call.refuse("takes a part of the batch")
        if step < 0:
            x = x.index_select(axis, torch.tensor(list(taken)))
        else:
            x = x[(*[slice(None)] * axis, slice(taken.start, taken.stop, step))]
    return x


def _bounds(start: int, stop: int, step: int, size: int) -> slice:
    """Return a slice; one that runs backwards beyond the first value has no end."""
    if step < 0 and stop < -size:
        return slice(start, None, step)
    return slice(start, stop, step)


def _expand(call: OnnxCall) -> Tensor:
    source, target = call.shape(), call.ints(1)
    full = np.broadcast_shapes(source, tuple(target))
    layout = call.layouts[0]
    if layout is None:
        return call.x().expand(full)
    place = layout.axis + len(full) - len(source)
    if full[place] != source[layout.axis]:
        raise call.refuse(f"repeats the batch {full[place]} times")
    return call.x().expand(*full[:place], full[place] * call.batch, *full[place + 1 :])


def _tile(call: OnnxCall) -> Tensor:
    return call.x().repeat(call.ints(1))


def _pad(call: OnnxCall) -> Tensor:
    rank, pads = len(call.shape()), call.ints(1)
    axes = [call.axis(axis) for axis in call.ints(3)] if call.has(3) else list(range(rank))
    mode = call.one_of("mode", ("constant", "reflect", "edge", "wrap"), "constant")
    if len(pads) != 2 * len(axes):
        raise call.refuse(f"has {len(pads)} sizes for {len(axes)} axes")
    both = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        both[axis] = (pads[index], pads[index + len(axes)])
    while both and both[0] == (0, 0):
        both.pop(0)
    flat = [size for pair in reversed(both) for size in pair]
    if not flat:
        return call.x()
    if mode != "constant":
        return F.pad(call.x(), flat, {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}[mode])
    value = call.number(2) if call.has(2) else 0.0
    return F.pad(call.x(), flat, value=value)


def _depth_to_space(call: OnnxCall) -> Tensor:
    size, mode = call.attribute("blocksize"), call.one_of("mode", ("DCR", "CRD"), "DCR")
    x = call.x()
    if mode == "DCR":
        channels = x.shape[1] // size**2
        x = torch.unflatten(x, 1, (size, size, channels)).permute(0, 3, 1, 2, 4, 5).flatten(1, 3)
    return F.pixel_shuffle(x, size)


def _space_to_depth(call: OnnxCall) -> Tensor:
    size = call.attribute("blocksize")
    channels = call.shape()[1]
    x = F.pixel_unshuffle(call.x(), size)
    return torch.unflatten(x, 1, (channels, size, size)).permute(0, 2, 3, 1, 4, 5).flatten(1, 3)


def _trilu(call: OnnxCall) -> Tensor:
    diagonal = int(call.number(1)) if call.has(1) else 0
    return call.x().triu(diagonal) if call.attribute("upper", 1) else call.x().tril(diagonal)


TABLE: Mapping[str, Callable[[OnnxCall], Result]] = {
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Split": _split,
    "Slice": _slice,
    "Expand": _expand,
    "Tile": _tile,
    "Pad": _pad,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "Trilu": _trilu,
}
