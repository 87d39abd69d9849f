"""softmax and log_softmax along ``axis`` (negative)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from compiler.graph.graph import Node
from compiler.graph.operation import Operation
from compiler.operations.call import Call
from compiler.operations.rules import INT, each, real


def _softmax(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.softmax(x, node.attributes["axis"]),)


def _log_softmax(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.log_softmax(x, node.attributes["axis"]),)


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
        each(exponentials=1, divisions=1, adds=2, activations=1),
        {"aten.softmax.int": _capture("softmax"), "aten._softmax.default": _capture("softmax")},
        {"axis": INT},
    ),
    Operation(
        "log_softmax",
        "norm",
        _log_softmax,
        real,
        each(exponentials=1, adds=3, activations=1),
        {"aten.log_softmax.int": _capture("log_softmax")},
        {"axis": INT},
    ),
)
