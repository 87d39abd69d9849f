"""Windows cut out and added back: unfold (im2col), fold (col2im), windows (``Tensor.unfold`` along one axis)."""

from __future__ import annotations

from collections import Counter
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
    call.give(call.emit("unfold", [call.apart("self", 3)], _settings(call)))


def _fold(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    settings = (a["output_size"], a["kernel_size"], a["dilation"], a["padding"], a["stride"])
    return (folded(x, 2, lambda z: F.fold(z, *settings)),)


def _fold_type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    """As many values meet at a place as kernel offsets of each axis reach it."""
    a, most, fewest = node.attributes, 1, 1
    for axis in (0, 1):
        size, pad, stride = a["output_size"][axis], a["padding"][axis], a["stride"][axis]
        reach = (a["kernel_size"][axis] - 1) * a["dilation"][axis]
        blocks = (size + 2 * pad - reach - 1) // stride + 1
        starts = [block * stride - pad for block in range(blocks)]
        offsets = [offset * a["dilation"][axis] for offset in range(a["kernel_size"][axis])]
        met = Counter(start + offset for start in starts for offset in offsets)
        numbers = [met[place] for place in range(size)]
        most, fewest = most * max(numbers), fewest * min(numbers)
    kind = types[0] if fewest else types[0].with_zero()
    return kind.times(most) if fewest == most else kind.times(most).union(kind.times(fewest or 1))


def _count_fold(node: Node, facts: Facts) -> Mapping[str, float]:
    return {"adds": float(facts.inputs_size)}


def _capture_fold(call: Call) -> None:
    attributes = {**_settings(call), "output_size": pair(call["output_size"], 2)}
    call.give(call.emit("fold", [call.apart("self", 2)], attributes))


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
