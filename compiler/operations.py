"""What each operation of a graph does to tensors: the table that gives a graph its meaning.

Tensors carry a batch axis in front: a signal of shape (C, H, W) is (B, C, H, W). An operation takes the node and its
input tensors and returns one tensor per output. To add one: its function, and its line in ``OPERATIONS``.

| kind | operations |
|---|---|
| synapse: weights meet a signal | conv2d, linear, scale |
| neuron: state, spikes | lif_fixed, and every operator of ``snnkit.neurons`` |
| activation | relu |
| other | batch_norm, add, avg_pool2d, flatten, bias_current, identity |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from compiler.graph import BINARY, REAL, Node, SignalType
from snnkit.kernels import Operator
from snnkit.neurons import OPERATORS
from snnkit.surrogates import Sigmoid


@dataclass(frozen=True)
class Operation:
    """One kind of node: ``run(node, *inputs) -> outputs`` and its ``kind`` (see the module's table)."""

    run: Callable[..., tuple[Tensor, ...]]
    kind: str


def _shifted(y: Tensor, node: Node) -> Tensor:
    """Apply the integer exponent of quantised weights: the *sum* is shifted, a negative exponent floors it."""
    exponent = int(node.attributes.get("weight_exponent", 0))
    return torch.floor(torch.ldexp(y, torch.tensor(exponent))) if exponent else y


def _with_bias(y: Tensor, node: Node, axis_shape: tuple[int, ...]) -> Tensor:
    bias = node.parameters.get("bias")
    return y if bias is None else y + bias.reshape(axis_shape)


def conv2d(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """Cross-correlation; attributes stride, padding, dilation, groups, weight_exponent."""
    a = node.attributes
    if "weight_exponent" not in a:
        weight, bias = node.parameters["weight"], node.parameters.get("bias")
        return (F.conv2d(x, weight, bias, a["stride"], a["padding"], a["dilation"], a["groups"]),)
    y = F.conv2d(x, node.parameters["weight"], None, a["stride"], a["padding"], a["dilation"], a["groups"])
    return (_with_bias(_shifted(y, node), node, (1, -1, 1, 1)),)


def linear(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """``x Wᵀ + b`` on the last axis."""
    if "weight_exponent" not in node.attributes:
        return (F.linear(x, node.parameters["weight"], node.parameters.get("bias")),)
    return (_with_bias(_shifted(F.linear(x, node.parameters["weight"]), node), node, (1, -1)),)


def scale(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """Multiply by one number: the synapses of a shortcut."""
    return (_shifted(x * node.parameters["weight"], node),)


def batch_norm(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """Batch norm with stored statistics."""
    p = node.parameters
    return (
        F.batch_norm(x, p["mean"], p["variance"], p.get("weight"), p.get("bias"), False, 0.0, node.attributes["eps"]),
    )


def add(node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Elementwise sum of two signals."""
    return (x + y,)


def avg_pool2d(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """Average over windows; attributes kernel_size, stride, padding; padded zeros count."""
    a = node.attributes
    return (F.avg_pool2d(x, a["kernel_size"], a["stride"], a["padding"]),)


def flatten(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """All axes but the batch into one."""
    return (x.flatten(1),)


def identity(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """The signal under another name."""
    return (x,)


def relu(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """max(x, 0)."""
    return (torch.relu(x),)


def _neuron(operator: Operator) -> Callable[..., tuple[Tensor, ...]]:
    def run(node: Node, x: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        given = {**node.attributes, **node.parameters}
        constants = operator.parameters(**{key: given[key] for key in operator.parameter_names})
        out, after = operator(x.unsqueeze(0), state, constants, Sigmoid())
        return (out[0], *(after or ()))

    return run


def bias_current(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """Round a real current to what a bias register holds: mantissa (signed) << exponent, in membrane units.

    Attribute scale: membrane units per unit of current; exponent; mantissa_limit (largest magnitude).
    """
    step = 2.0 ** node.attributes["exponent"]
    limit = float(node.attributes["mantissa_limit"])
    return ((x * node.attributes["scale"] / step).round().clamp(-limit, limit) * step,)


def lif_fixed(node: Node, drive: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """The integer LIF of lava-nc 0.10 ``fixed_pt``: returns (spikes, u, v); attributes du, dv, vth.

    ``drive`` is the synaptic current, or a bias straight into the membrane where the attribute drive says "bias".

    ``u ← decay(u, du + 1) + (current << 6)``, one wrap at 24 bits; ``v ← clip(decay(v, dv) + u + bias)``;
    spike where ``v > vth << 6`` (strict), which sets v to 0; ``decay(x, d) = sgn(x)·(|x|·(4096 − d) >> 12)``.
    All tensors are float64 holding integers; the arithmetic is int64 with the wraps of int32 written out.
    """

    def decay(x: Tensor, amount: int) -> Tensor:
        return x.sign() * ((x.abs() * (4096 - amount)) >> 12)

    def wrap32(x: Tensor) -> Tensor:
        return ((x + 2**31) % 2**32) - 2**31

    a = node.attributes
    u, v, given = u.long(), v.long(), drive.long()
    none = torch.zeros_like(given)
    a_in, b = (none, given) if a["drive"] == "bias" else (given, none)
    u = wrap32(decay(u, a["du"] + 1) + wrap32(a_in << 6))
    u = torch.where(u > 2**23, u - 2**24, torch.where(u <= -(2**23), u + 2**24, u))
    v = (decay(v, a["dv"]) + u + b).clamp(-(2**23) + 1, 2**23 - 1)
    spikes = v > (a["vth"] << 6)
    v = torch.where(spikes, torch.zeros_like(v), v)
    dtype = drive.dtype
    return spikes.to(dtype), u.to(dtype), v.to(dtype)


OPERATIONS: dict[str, Operation] = {
    "conv2d": Operation(conv2d, "synapse"),
    "linear": Operation(linear, "synapse"),
    "scale": Operation(scale, "synapse"),
    "batch_norm": Operation(batch_norm, "other"),
    "add": Operation(add, "other"),
    "avg_pool2d": Operation(avg_pool2d, "other"),
    "flatten": Operation(flatten, "other"),
    "identity": Operation(identity, "other"),
    "bias_current": Operation(bias_current, "other"),
    "relu": Operation(relu, "activation"),
    "lif_fixed": Operation(lif_fixed, "neuron"),
    **{name: Operation(_neuron(operator), "neuron") for name, operator in OPERATORS.items()},
}


def is_neuron(node: Node) -> bool:
    """Whether a node is a spiking neuron."""
    return OPERATIONS[node.op].kind == "neuron"


def events_of(op: str, constants: Mapping[str, Any]) -> SignalType:
    """Return what a neuron with these constants says it sends."""
    operator = OPERATORS[op]
    p = operator.parameters(**{name: constants[name] for name in operator.parameter_names})
    kind, low, high, *scale = operator.events(p)
    return {"binary": BINARY, "real": REAL}.get(kind) or SignalType(kind, int(low), int(high), *scale)
