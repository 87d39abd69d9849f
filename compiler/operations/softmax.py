"""softmax and log_softmax along ``axis`` (negative)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation
from compiler.operations.call import Call
from compiler.operations.rules import INT, real


def _softmax(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.softmax(x, node.attributes["axis"]),)


def _log_softmax(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.log_softmax(x, node.attributes["axis"]),)


def softmax_counts(size: float, rows: float) -> dict[str, float]:
    """Each value: subtract the row's maximum, exponential, add up, divide."""
    return {"activations": size - rows, "adds": 2 * size, "exponentials": size, "divisions": size}


def _rows(node: Node, facts: Facts) -> float:
    return float(facts.inputs_size / facts.inputs[0].shape[node.attributes["axis"]])


def _count(node: Node, facts: Facts) -> Mapping[str, float]:
    return softmax_counts(float(facts.inputs_size), _rows(node, facts))


def _count_log(node: Node, facts: Facts) -> Mapping[str, float]:
    """As softmax, but a logarithm a row that is subtracted in place of the division."""
    size, rows = float(facts.inputs_size), _rows(node, facts)
    return {"activations": size - rows, "adds": 3 * size, "exponentials": size + rows}


def _capture(name: str) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        axis = call.axis("self", call["dim"])
        if axis is None:
            raise call.refuse("is a softmax over time steps")
        call.give(call.emit(name, [call.signal("self")], {"axis": axis}))

    return capture


OPERATIONS = (
    Operation(
        "softmax",
        "norm",
        _softmax,
        real,
        _count,
        {"aten.softmax.int": _capture("softmax"), "aten._softmax.default": _capture("softmax")},
        {"axis": INT},
    ),
    Operation(
        "log_softmax",
        "norm",
        _log_softmax,
        real,
        _count_log,
        {"aten.log_softmax.int": _capture("log_softmax")},
        {"axis": INT},
    ),
)
