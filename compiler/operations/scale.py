"""scale: multiply by stored numbers, ``y = w · x``; the weight broadcasts to one sample (a number, (C, 1, 1), …).

Layer scale, the 1/√d of attention, the synapses of a shortcut. In integer graphs ``weight_exponent`` shifts the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Operation, Shapes
from compiler.graph.signals import REAL, SignalType
from compiler.operations.conv import shifted
from compiler.operations.rules import INT


def _run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    weight = node.parameters["weight"]
    if weight.ndim > x.ndim - 1:
        x = x.reshape(x.shape[0], *[1] * (weight.ndim - x.ndim + 1), *x.shape[1:])
    return (shifted(x * weight, node),)


def _type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    weight = node.parameters["weight"]
    if not types[0].is_event or not weight.numel() or node.attributes.get("weight_exponent", 0):
        return REAL
    low, high = (float(end) for end in torch.aminmax(weight.detach()))
    return types[0].scaled(low) if low == high and abs(low) < float("inf") else REAL


def _count(node: Node, facts: Facts) -> Mapping[str, float]:
    dense = float(facts.outputs_size)
    if not facts.is_event(0):
        return {"dense_macs": dense, "mac": dense}
    levels = facts.levels(0)
    accumulates = float(levels.sum()) * dense / max(levels.numel(), 1)
    return {"dense_macs": dense, "ac": accumulates, "synaptic_events": accumulates}


OPERATIONS = (
    Operation(
        "scale",
        "synapse",
        _run,
        _type,
        _count,
        NOT_CAPTURED,  # aten.mul with a stored operand: see arithmetic.py
        {},
        {"weight_exponent": INT},
        ("weight",),
        linear=True,
    ),
)
