"""Resize: images and sequences in another size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall

_MODES = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}, "cubic": {2: "bicubic"}}
_CENTRES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")


def _sizes(call: OnnxCall) -> tuple[list[int], list[float], bool]:
    """Return the sizes of the result, how many times the source's they are, and whether the file says the latter."""
    shape = list(call.shape())
    axes = call.attribute("axes") or list(range(len(shape)))
    if call.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refuse("keeps the ratio of sides")
    said = call.has(2) and call.stored(2).size > 0
    given = [float(value) for value in call.stored(2)] if said else [float(value) for value in call.ints(3)]
    if len(given) != len(axes):
        raise call.refuse(f"has {len(given)} sizes for {len(axes)} axes")
    sizes, scales = list(shape), [1.0] * len(shape)
    for axis, value in zip(axes, given, strict=True):
        scales[axis] = value if said else value / shape[axis]
        sizes[axis] = math.floor(shape[axis] * value) if said else int(value)
    return sizes, scales, said


def _resize(call: OnnxCall) -> Tensor:
    if call.attribute("antialias", 0) or call.attribute("exclude_outside", 0):
        raise call.refuse("resizes with antialias or exclude_outside")
    mode = call.one_of("mode", ("nearest", "linear", "cubic"), "nearest")
    where = call.one_of("coordinate_transformation_mode", _CENTRES, "half_pixel")
    sizes, scales, said = _sizes(call)
    shape = call.shape()
    changed = [axis for axis, size in enumerate(shape) if sizes[axis] != size or scales[axis] != 1]
    if not changed:
        return call.x()
    if call.layouts[0] is not None and call.layouts[0].axis in changed:
        raise call.refuse("resizes the batch")
    if mode == "nearest":
        return _nearest(call, where, sizes, scales)
    rank = len(shape) - 2
    if rank not in _MODES[mode] or min(changed) < 2 or where == "asymmetric":
        raise call.refuse(f"resizes axes {changed} of {shape} in the mode {mode!r} with {where!r}")
    if mode == "cubic" and call.attribute("cubic_coeff_a", -0.75) != -0.75:
        raise call.refuse("has a coefficient of cubic interpolation other than −0.75")
    if where == "pytorch_half_pixel" and any(sizes[axis] == 1 < shape[axis] for axis in changed):
        raise call.refuse("resizes an axis to one value with 'pytorch_half_pixel'")
    corners = where == "align_corners"
    if said and not corners:
        return F.interpolate(call.x(), scale_factor=scales[2:], mode=_MODES[mode][rank], align_corners=False)
    return F.interpolate(call.x(), tuple(sizes[2:]), mode=_MODES[mode][rank], align_corners=corners)


def _nearest(call: OnnxCall, where: str, sizes: list[int], scales: list[float]) -> Tensor:
    """One value of the source for each of the result, as the file says how it is chosen."""
    rule = call.one_of(
        "nearest_mode", ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"), "round_prefer_floor"
    )
    rounded: Mapping[str, Callable[[float], int]] = {
        "round_prefer_floor": lambda v: math.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: math.floor(v + 0.5),
        "floor": math.floor,
        "ceil": math.ceil,
    }
    x, shape = call.x(), call.shape()
    plain = where == "asymmetric" and rule == "floor" and sizes[:2] == list(shape[:2]) and 3 <= len(shape) <= 5
    if plain and all(
        sizes[axis] % shape[axis] == 0 and scales[axis] == sizes[axis] // shape[axis] for axis in range(len(shape))
    ):
        return F.interpolate(x, tuple(sizes[2:]), mode="nearest")
    for axis, (size, source) in enumerate(zip(sizes, shape, strict=True)):
        if size == source and scales[axis] == 1:
            continue
        places = [_place(where, index, size, source, scales[axis]) for index in range(size)]
        index = [min(max(rounded[rule](place), 0), source - 1) for place in places]
        x = x.index_select(axis, torch.tensor(index))
    return x


def _place(where: str, index: int, size: int, source: int, scale: float) -> float:
    """Return where a value of the result lies in the source."""
    if where == "asymmetric":
        return index / scale
    if where == "align_corners":
        return index * (source - 1) / (size - 1) if size > 1 else 0.0
    if where == "pytorch_half_pixel" and size == 1:
        return 0.0
    return (index + 0.5) / scale - 0.5


TABLE: Mapping[str, Callable[[OnnxCall], Tensor]] = {"Resize": _resize}
