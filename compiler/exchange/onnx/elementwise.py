"""Functions of single values, arithmetic, comparisons, and choices."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.exchange.onnx.call import OnnxCall, as_float32
from compiler.exchange.onnx.tensors import dtype_of

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[OnnxCall], Tensor]:
    return lambda call: function(call.x())


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[OnnxCall], Tensor]:
    return lambda call: function(*call.operands())


def _all(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[OnnxCall], Tensor]:
    """Any number of operands, from the left."""
    return lambda call: functools.reduce(function, call.operands())


def _div(call: OnnxCall) -> Tensor:
    a, b = call.operands()
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _mod(call: OnnxCall) -> Tensor:
    a, b = call.operands()
    return torch.fmod(a, b) if call.attribute("fmod", 0) else torch.remainder(a, b)


def _pow(call: OnnxCall) -> Tensor:
    """The exponent may be of another type than the base, whose type the result has."""
    a, b = call.operands()
    if call.is_stored(1) and not call.is_stored(0):
        exponent = call.number(1)
        return torch.pow(a, int(exponent) if exponent.is_integer() else exponent)
    return torch.pow(a, b).to(a.dtype)


def _clip(call: OnnxCall) -> Tensor:
    low = call.number(1) if call.has(1) else None
    high = call.number(2) if call.has(2) else None
    x = call.x()
    if low is None and high is None:
        return x
    if not x.is_floating_point():
        low, high = (None if end is None else int(end) for end in (low, high))
    return x.clamp(low, high)


def _gelu(call: OnnxCall) -> Tensor:
    return F.gelu(call.x(), approximate=call.one_of("approximate", ("none", "tanh"), "none"))


def _hard_sigmoid(call: OnnxCall) -> Tensor:
    """max(0, min(1, α·x + β)); an α of 1/6 was rounded when it was stored."""
    alpha, beta = float(call.attribute("alpha", 0.2)), float(call.attribute("beta", 0.5))
    if math.isclose(alpha, as_float32(1 / 6), rel_tol=1e-7) and beta == 0.5:
        return F.hardsigmoid(call.x())
    line: Tensor = call.x() * alpha + beta
    return line.clamp(0, 1)


def _prelu(call: OnnxCall) -> Tensor:
    x, slope = call.operands()
    return torch.relu(x) - slope * torch.relu(-x)


def _selu(call: OnnxCall) -> Tensor:
    alpha, gamma = call.attribute("alpha", _SELU[0]), call.attribute("gamma", _SELU[1])
    if not all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip((alpha, gamma), _SELU, strict=True)):
        raise call.refuse(f"has alpha={alpha}, gamma={gamma}; only the published ones are read")
    return F.selu(call.x())


def _swish(call: OnnxCall) -> Tensor:
    alpha = call.attribute("alpha", 1.0)
    return F.silu(call.x()) if alpha == 1.0 else call.x() * torch.sigmoid(call.x() * alpha)


def _mean(call: OnnxCall) -> Tensor:
    return functools.reduce(torch.add, call.operands()) / len(call.values)


def _cast(call: OnnxCall) -> Tensor:
    return call.x().to(dtype_of(call.attribute("to"), call.name))


def _where(call: OnnxCall) -> Tensor:
    condition, a, b = call.operands()
    return torch.where(condition, a, b)


def _xor(a: Tensor, b: Tensor) -> Tensor:
    return torch.ne(a, b)


TABLE: Mapping[str, Callable[[OnnxCall], Tensor]] = {
    "Abs": _unary(torch.abs),
    "Neg": _unary(torch.neg),
    "Sign": _unary(torch.sign),
    "Exp": _unary(torch.exp),
    "Log": _unary(torch.log),
    "Sqrt": _unary(torch.sqrt),
    "Reciprocal": _unary(torch.reciprocal),
    "Sin": _unary(torch.sin),
    "Cos": _unary(torch.cos),
    "Erf": _unary(torch.erf),
    "Floor": _unary(torch.floor),
    "Ceil": _unary(torch.ceil),
    "Round": _unary(torch.round),
    "IsNaN": _unary(torch.isnan),
    "Not": _unary(torch.logical_not),
    "Relu": _unary(torch.relu),
    "Sigmoid": _unary(torch.sigmoid),
    "Tanh": _unary(torch.tanh),
    "Softplus": _unary(F.softplus),
    "Softsign": _unary(lambda x: x / (1 + torch.abs(x))),
    "Mish": _unary(F.mish),
    "HardSwish": _unary(F.hardswish),
    "Swish": _swish,
    "Gelu": _gelu,
    "HardSigmoid": _hard_sigmoid,
    "LeakyRelu": lambda call: F.leaky_relu(call.x(), call.attribute("alpha", 0.01)),
    "Elu": lambda call: F.elu(call.x(), call.attribute("alpha", 1.0)),
    "Selu": _selu,
    "PRelu": _prelu,
    "Clip": _clip,
    "Add": _binary(torch.add),
    "Sub": _binary(torch.sub),
    "Mul": _binary(torch.mul),
    "Div": _div,
    "Mod": _mod,
    "Pow": _pow,
    "Sum": _all(torch.add),
    "Max": _all(torch.maximum),
    "Min": _all(torch.minimum),
    "Mean": _mean,
    "Equal": _binary(torch.eq),
    "Less": _binary(torch.lt),
    "LessOrEqual": _binary(torch.le),
    "Greater": _binary(torch.gt),
    "GreaterOrEqual": _binary(torch.ge),
    "And": _binary(torch.logical_and),
    "Or": _binary(torch.logical_or),
    "Xor": _binary(_xor),
    "Where": _where,
    "Cast": _cast,
    "CastLike": lambda call: call.x().to(call.x(1).dtype),
    "Identity": _unary(lambda x: x),
}
