"""scale: multiply by stored numbers, ``y = w · x``; the weight broadcasts to one sample (a number, (C, 1, 1), …).

Layer scale, the 1/√d of attention, the synapses of a shortcut. In integer graphs ``weight_exponent`` shifts the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import NOT_CAPTURED, Operation, Shapes
from compiler.graph.signals import REAL, SignalType
from compiler.operations.conv import operand_counts, shifted
from compiler.operations.rules import INT, stored


def _run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    weight = node.parameters["weight"]
    if weight.ndim > x.ndim - 1:
        x = x.reshape(x.shape[0], *[1] * (weight.ndim - x.ndim + 1), *x.shape[1:])
    return (shifted(x * weight, node),)


def _type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    # Masks are as good as signals; a weight of whole numbers keeps whole numbers whole.
    return REAL if node.attributes.get("weight_exponent", 0) else types[0].product(stored(node.parameters["weight"]))


def _count(node: Node, facts: Facts) -> Mapping[str, Amount]:
    dense = float(facts.outputs_size)
    return operand_counts(node, facts, dense, lambda: facts.total_units(0) * (dense / max(facts.inputs_size, 1)))


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
