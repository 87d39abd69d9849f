"""Indexing by what was computed: gather, scatter, argsort. Which value goes where depends on the sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from compiler.graph.facts import Amount, Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation, Shapes
from compiler.graph.signals import SignalType, integer
from compiler.operations.call import Call
from compiler.operations.rules import BOOL, INT, align, compared, free, same, stored


def _gather(node: Node, x: Tensor, index: Tensor) -> tuple[Tensor, ...]:
    x, index = align(x, index)
    batch = max(x.shape[0], index.shape[0])
    x, index = (t.expand(batch, *t.shape[1:]) for t in (x, index))
    return (torch.gather(x, node.attributes["axis"], index.long()),)


def _capture_gather(call: Call) -> None:
    axis = call.axis("self", call["dim"])
    if axis is None:
        raise call.refuse("gathers time steps")
    call.give(call.emit("gather", [call.operand("self"), call.operand("index")], {"axis": axis}))


def _scatter(node: Node, x: Tensor, index: Tensor, source: Tensor) -> tuple[Tensor, ...]:
    x, index, source = align(x, index, source)
    batch = max(t.shape[0] for t in (x, index, source))
    x, index, source = (t.expand(batch, *t.shape[1:]) for t in (x, index, source))
    return (torch.scatter(x, node.attributes["axis"], index.long(), source),)


def _capture_scatter(call: Call) -> None:
    axis = call.axis("self", call["dim"])
    if axis is None:
        raise call.refuse("scatters time steps")
    inputs = [call.operand("self"), call.operand("index"), call.operand("src")]
    call.give(call.emit("scatter", inputs, {"axis": axis}))


def _scatter_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].union(types[2])


def _argsort(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    return (torch.argsort(x, stable=a["stable"], dim=a["axis"], descending=a["descending"]),)


def _count_sort(node: Node, facts: Facts) -> Mapping[str, float]:
    """n·⌈log₂ n⌉ comparisons, as merging halves takes at most."""
    length = facts.inputs[0].shape[node.attributes["axis"]]
    return {"activations": float(facts.inputs_size * math.ceil(math.log2(length)))}


def _lookup_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return stored(node.parameters["weight"])


def _position(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return integer(0, max(shapes[0][node.attributes["axis"]] - 1, 0))


def _capture_argsort(call: Call) -> None:
    axis = call.axis("self", call["dim"])
    if axis is None:
        raise call.refuse("sorts time steps")
    try:
        stable = bool(call["stable"])
    except KeyError:
        stable = False
    attributes = {"axis": axis, "descending": bool(call["descending"]), "stable": stable}
    call.give(call.emit("argsort", [call.signal("self")], attributes))


def _argmax(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.argmax(x, node.attributes["axis"], keepdim=True),)


def _capture_argmax(call: Call) -> None:
    axis = call.axis("self", call["dim"]) if call.has("dim") else None
    if axis is None:
        raise call.refuse("looks for a maximum over all axes at once, the batch included; name the axis")
    made = call.emit("argmax", [call.signal("self")], {"axis": axis})
    call.give(call.reshape(made, call.out.sample))


def _capture_index(call: Call) -> None:
    call.give(call.indexed())


def _lookup(node: Node, index: Tensor) -> tuple[Tensor, ...]:
    return (node.parameters["weight"][index.long()],)


def _count_lookup(node: Node, facts: Facts) -> Mapping[str, Amount]:
    """Every index reads one row."""
    return {"lookups": float(facts.inputs_size)}


def _capture_embedding(call: Call) -> None:
    call.give(call.emit("lookup", [call.signal("indices")], {}, {"weight": call.tensor("weight")}))


OPERATIONS = (
    Operation(
        "lookup",
        "move",
        _lookup,
        _lookup_type,
        _count_lookup,
        {"aten.embedding.default": _capture_embedding},
        parameters=("weight",),
    ),
    Operation(
        "gather",
        "move",
        _gather,
        same,
        free,
        {"aten.gather.default": _capture_gather, "aten.index.Tensor": _capture_index},
        {"axis": INT},
        inputs=(2, 2),
    ),
    Operation(
        "scatter",
        "move",
        _scatter,
        _scatter_type,
        free,
        {"aten.scatter.src": _capture_scatter},
        {"axis": INT},
        inputs=(3, 3),
    ),
    Operation(
        "argsort",
        "elementwise",
        _argsort,
        _position,
        _count_sort,
        {"aten.argsort.stable": _capture_argsort, "aten.argsort.default": _capture_argsort},
        {"axis": INT, "descending": BOOL, "stable": BOOL},
    ),
    Operation(
        "argmax",
        "pool",
        _argmax,
        _position,
        compared,
        {"aten.argmax.default": _capture_argmax},
        {"axis": INT},
    ),
)
