"""Sums, means, extremes and norms along axes; cumulative sums; positions of extremes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(function: Reduce, since: int = 18) -> Callable[[OnnxCall], Tensor]:
    """Reduce along axes, which are an input from version ``since`` of the operators on."""

    def handler(call: OnnxCall) -> Tensor:
        axes = call.axes(1, since)
        if not axes:
            if call.attribute("noop_with_empty_axes", 0):
                return call.x()
            axes = list(range(len(call.shape())))
        return function(call.x(), [call.axis(axis) for axis in axes], bool(call.attribute("keepdims", 1)))

    return handler


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _cumsum(call: OnnxCall) -> Tensor:
    if call.attribute("exclusive", 0) or call.attribute("reverse", 0):
        raise call.refuse("sums from the end, or without the value itself")
    return call.x().cumsum(call.axis(int(call.number(1))))


def _argmax(call: OnnxCall) -> Tensor:
    if call.attribute("select_last_index", 0):
        raise call.refuse("takes the last of several extremes")
    return call.x().argmax(call.axis(call.attribute("axis", 0)), keepdim=bool(call.attribute("keepdims", 1)))


TABLE: Mapping[str, Callable[[OnnxCall], Tensor]] = {
    "ReduceSum": _reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep), since=13),
    "ReduceMean": _reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)),
    "ReduceMax": _reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceMin": _reduction(lambda x, axes, keep: x.amin(axes, keepdim=keep)),
    "ReduceL1": _reduction(lambda x, axes, keep: x.abs().sum(axes, keepdim=keep)),
    "ReduceL2": _reduction(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keepdim=keep)),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keepdim=keep)),
    "ReduceLogSumExp": _reduction(lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep)),
    "ReduceProd": _reduction(_product),
    "CumSum": _cumsum,
    "ArgMax": _argmax,
}
