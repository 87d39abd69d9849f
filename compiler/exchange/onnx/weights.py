"""Layers with weights and products: convolutions, Gemm, MatMul, Einsum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def settings(call: OnnxCall, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return strides, dilations, and how much is padded in front of and behind every axis of an image."""
    rank, shape = len(kernel), call.shape()
    if len(shape) != rank + 2:
        raise call.refuse(f"has a window of {rank} axes on what has {len(shape)}")
    strides = call.attribute("strides") or [1] * rank
    dilations = call.attribute("dilations") or [1] * rank
    auto = call.one_of("auto_pad", ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"), "NOTSET")
    pads = call.attribute("pads") or [0] * 2 * rank
    if not len(strides) == len(dilations) == len(pads) // 2 == rank:
        raise call.refuse(f"has strides, dilations or pads for another number of axes than {rank}")
    if auto == "NOTSET":
        return strides, dilations, pads[:rank], pads[rank:]
    front, back = [0] * rank, [0] * rank
    for axis in range(rank) if auto != "VALID" else ():
        size = shape[axis + 2]
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        total = max((-(-size // strides[axis]) - 1) * strides[axis] + reach - size, 0)
        more = (total + 1) // 2
        front[axis], back[axis] = (total - more, more) if auto == "SAME_UPPER" else (more, total - more)
    return strides, dilations, front, back


def padded(x: Tensor, front: Sequence[int], back: Sequence[int], value: float = 0.0) -> Tensor:
    """Return an image with so much in front of and behind its last axes."""
    both = [size for pair in zip(reversed(front), reversed(back), strict=True) for size in pair]
    return F.pad(x, both, value=value) if any(both) else x


def _conv(call: OnnxCall) -> Tensor:
    kernel = call.shape(1)[2:]
    if len(kernel) not in _CONV:
        raise call.refuse(f"convolves {len(kernel)} axes; 1 to 3 are known")
    strides, dilations, front, back = settings(call, kernel)
    x, padding = call.x(), front
    if front != back:
        x, padding = padded(x, front, back), [0] * len(kernel)
    bias = call.x(2) if call.has(2) else None
    groups = call.attribute("group", 1)
    return _CONV[len(kernel)](x, call.x(1), bias, strides, padding, dilations, groups)


def _conv_transpose(call: OnnxCall) -> Tensor:
    kernel = call.shape(1)[2:]
    rank = len(kernel)
    if rank not in _TRANSPOSED:
        raise call.refuse(f"convolves {rank} axes; 1 to 3 are known")
    if call.attribute("auto_pad", "NOTSET") != "NOTSET" or call.attribute("output_shape"):
        raise call.refuse("says the shape of its result instead of its padding; export it with pads")
    strides, dilations, front, back = settings(call, kernel)
    if front != back:
        raise call.refuse("is padded by different amounts in front and behind")
    extra = call.attribute("output_padding") or [0] * rank
    bias = call.x(2) if call.has(2) else None
    groups = call.attribute("group", 1)
    return _TRANSPOSED[rank](call.x(), call.x(1), bias, strides, front, extra, groups, dilations)


def _gemm(call: OnnxCall) -> Tensor:
    """α·A′·B′ + β·C, a linear layer where B and C are stored."""
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    a, b = call.x(0), call.x(1)
    a = a.T if call.attribute("transA", 0) else a
    weight = b if call.attribute("transB", 0) else b.T  # (out, in)
    if alpha != 1.0:
        weight = weight * alpha
    if not call.has(2):
        return F.linear(a, weight)
    c = call.x(2) if beta == 1.0 else call.x(2) * beta
    if call.is_stored(2) and c.numel() == weight.shape[0]:
        return F.linear(a, weight, c.reshape(-1))
    return F.linear(a, weight) + c


def _matmul(call: OnnxCall) -> Tensor:
    """A product of matrices; with a stored matrix at the right a linear layer, to which ``fusing`` may give a bias."""
    if call.is_stored(1) and not call.is_stored(0) and len(call.shape(1)) == 2:
        return F.linear(call.x(0), call.x(1).T, call.x(2) if call.has(2) else None)
    a, b = call.operands()
    return torch.matmul(a, b)


def _einsum(call: OnnxCall) -> Tensor:
    return torch.einsum(call.attribute("equation"), [call.x(index) for index in range(len(call.values))])


TABLE: Mapping[str, Callable[[OnnxCall], Tensor]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
}
