"""Normalisations, softmax, and dropout, which does nothing outside of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall


def _batch_norm(call: OnnxCall) -> Tensor:
    if call.attribute("training_mode", 0):
        raise call.refuse("takes statistics of the batch, which mixes samples; export the model in eval mode")
    eps = call.attribute("epsilon", 1e-5)
    weight, bias, mean, variance = (call.x(index) for index in range(1, 5))
    return F.batch_norm(call.x(), mean, variance, weight, bias, False, 0.0, eps)


def _instance_norm(call: OnnxCall) -> Tensor:
    weight, bias = call.x(1), call.x(2)
    return F.instance_norm(call.x(), None, None, weight, bias, True, 0.0, call.attribute("epsilon", 1e-5))


def _layer_norm(call: OnnxCall) -> Tensor:
    axis = call.axis(call.attribute("axis", -1))
    if not all(call.is_stored(index) for index in (1, 2) if call.has(index)):
        raise call.refuse("computes its scale from the network's input")
    shape = call.shape()[axis:]
    weight = call.x(1).expand(shape)
    bias = call.x(2).expand(shape) if call.has(2) else None
    return F.layer_norm(call.x(), shape, weight, bias, call.attribute("epsilon", 1e-5))


def _rms_norm(call: OnnxCall) -> Tensor:
    shape = call.shape()[call.axis(call.attribute("axis", -1)) :]
    made: Tensor = F.rms_norm(call.x(), shape, call.x(1).expand(shape), call.attribute("epsilon", 1e-5))
    return made


def _group_norm(call: OnnxCall) -> Tensor:
    """From version 21 of the operators on a scale a channel; before it was one a group."""
    groups, channels = call.attribute("num_groups"), call.shape()[1]
    weight, bias = call.x(1), call.x(2)
    if call.opset < 21:
        weight, bias = (x.repeat_interleave(channels // groups) for x in (weight, bias))
    return F.group_norm(call.x(), groups, weight, bias, call.attribute("epsilon", 1e-5))


def _lp_norm(call: OnnxCall) -> Tensor:
    order = call.one_of("p", (1, 2), 2)
    axis = call.axis(call.attribute("axis", -1))
    length: Tensor = torch.linalg.vector_norm(call.x(), order, axis, keepdim=True)
    return call.x() / length


def _softmax(call: OnnxCall) -> Tensor:
    return torch.softmax(call.x(), call.axis(call.attribute("axis", -1)))


def _log_softmax(call: OnnxCall) -> Tensor:
    return torch.log_softmax(call.x(), call.axis(call.attribute("axis", -1)))


def _dropout(call: OnnxCall) -> Tensor:
    if call.has(2) and call.number(2):
        raise call.refuse("drops values at random; export the model in eval mode")
    return call.x()


TABLE: Mapping[str, Callable[[OnnxCall], Tensor]] = {
    "BatchNormalization": _batch_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "RMSNormalization": _rms_norm,
    "GroupNormalization": _group_norm,
    "LpNormalization": _lp_norm,
    "Softmax": _softmax,
    "LogSoftmax": _log_softmax,
    "Dropout": _dropout,
}
