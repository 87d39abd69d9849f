"""linear: ``y = W x + b`` on the last axis. In integer graphs ``weight_exponent`` shifts the sum, as in ``conv``."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation
from compiler.operations.call import Call
from compiler.operations.conv import shifted, weighted
from compiler.operations.rules import INT, real


def _run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    weight, bias = node.parameters["weight"], node.parameters.get("bias")
    if "weight_exponent" not in node.attributes:
        return (F.linear(x, weight, bias),)
    y = shifted(F.linear(x, weight), node)
    return (y if bias is None else y + bias,)


def _count(node: Node, facts: Facts) -> Mapping[str, Amount]:
    outputs = node.parameters["weight"].shape[0]
    return weighted(node, facts, lambda: facts.total_units(0) * outputs)


def _capture(call: Call) -> None:
    x = call.signal("input")
    parameters = call.stored(weight="weight", bias="bias")
    if call.axis("input", -1) is None:
        raise call.refuse("is a linear layer over time steps")
    call.give(call.emit("linear", [x], {}, parameters))


OPERATIONS = (
    Operation(
        "linear",
        "synapse",
        _run,
        real,
        _count,
        {"aten.linear.default": _capture},
        {},
        {"weight_exponent": INT},
        ("weight",),
        ("bias",),
        linear=True,
    ),
)
