"""Windows cut out and added back: unfold (im2col), fold (col2im), windows (``Tensor.unfold`` along one axis)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation, Shapes
from compiler.graph.signals import SignalType
from compiler.operations.call import Call
from compiler.operations.rules import INT, INTS, folded, free, pair, same

_SETTINGS = {"kernel_size": INTS, "dilation": INTS, "padding": INTS, "stride": INTS}


def _settings(call: Call) -> dict[str, tuple[int, ...]]:
    return {key: pair(call[key], 2) for key in _SETTINGS}


def _unfold(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    return (folded(x, 3, lambda z: F.unfold(z, a["kernel_size"], a["dilation"], a["padding"], a["stride"])),)


def _unfold_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].with_zero() if any(node.attributes["padding"]) else types[0]


def _capture_unfold(call: Call) -> None:
    call.give(call.emit("unfold", [call.signal("self")], _settings(call)))


def _fold(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    settings = (a["output_size"], a["kernel_size"], a["dilation"], a["padding"], a["stride"])
    return (folded(x, 2, lambda z: F.fold(z, *settings)),)


def _fold_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0].with_zero().times(math.prod(node.attributes["kernel_size"]))


def _count_fold(node: Node, facts: Facts) -> Mapping[str, float]:
    return {"adds": float(facts.evaluations * facts.inputs[0].size)}


def _capture_fold(call: Call) -> None:
    attributes = {**_settings(call), "output_size": pair(call["output_size"], 2)}
    call.give(call.emit("fold", [call.signal("self")], attributes))


def _windows(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    return (x.unfold(a["axis"], a["size"], a["step"]),)


def _capture_windows(call: Call) -> None:
    axis = call.axis("self", call["dimension"])
    if axis is None:
        raise call.refuse("takes windows of time steps")
    attributes = {"axis": axis, "size": int(call["size"]), "step": int(call["step"])}
    call.give(call.emit("windows", [call.signal("self")], attributes))


OPERATIONS = (
    Operation(
        "unfold",
        "move",
        _unfold,
        _unfold_type,
        free,
        {"aten.im2col.default": _capture_unfold},
        _SETTINGS,
        linear=True,
    ),
    Operation(
        "fold",
        "pool",
        _fold,
        _fold_type,
        _count_fold,
        {"aten.col2im.default": _capture_fold},
        {**_SETTINGS, "output_size": INTS},
        linear=True,
    ),
    Operation(
        "windows",
        "move",
        _windows,
        same,
        free,
        {"aten.unfold.default": _capture_windows},
        {"axis": INT, "size": INT, "step": INT},
        linear=True,
    ),
)
