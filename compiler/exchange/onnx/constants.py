"""What does not depend on the network's input: constants, ranges, shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall

_MOST = 2**31


def _constant(call: OnnxCall) -> Tensor:
    found = call.attributes.found
    if "value" in found:
        value: Tensor = found["value"]
        return value
    for name, dtype in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if name in found:
            return torch.tensor(found[name], dtype=dtype)
    for name in ("value_int", "value_ints"):
        if name in found:
            return torch.tensor(found[name], dtype=torch.int64)
    raise call.refuse("holds strings or a sparse tensor")


def _filled(call: OnnxCall) -> Tensor:
    value: Tensor = call.attribute("value", torch.zeros(1))
    shape = call.ints(0)
    if any(size < 0 for size in shape):
        raise call.refuse(f"has a negative size: {tuple(shape)}")
    return value.reshape(()).expand(shape).clone()


def _range(call: OnnxCall) -> Tensor:
    start, stop, step = (call.stored(index).item() for index in range(3))
    if not step or not all(math.isfinite(value) for value in (start, stop, step)):
        raise call.refuse(f"counts from {start} to {stop} in steps of {step}")
    if (stop - start) / step > _MOST:
        raise call.refuse(f"makes {(stop - start) / step:.3g} numbers")
    dtype = call.x(0).dtype
    return torch.arange(start, max(stop, start) if step > 0 else min(stop, start), step, dtype=dtype)


def _shape(call: OnnxCall) -> Tensor:
    rank = len(call.shape())
    start, end = call.attribute("start", 0), call.attribute("end", rank)
    return torch.tensor(call.shape()[start:end], dtype=torch.int64)


def _size(call: OnnxCall) -> Tensor:
    return torch.tensor(math.prod(call.shape()), dtype=torch.int64)


TABLE: Mapping[str, Callable[[OnnxCall], Tensor]] = {
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Range": _range,
    "Shape": _shape,
    "Size": _size,
}
