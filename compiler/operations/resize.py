"""resize: images to another size, nearest (a move), linear, bilinear or bicubic. Spatial axes come last.

``scales`` are the factors that were given, 0 where the size alone decides; they move the sampling points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from compiler.graph.facts import Facts
from compiler.graph.graph import Node
from compiler.graph.operation import Operation, Shapes
from compiler.graph.signals import REAL, SignalType
from compiler.operations.call import Call
from compiler.operations.rules import BOOL, INTS, TEXT, folded

_READS = {"nearest": 0, "nearest-exact": 0, "linear": 2, "bilinear": 4, "trilinear": 8, "bicubic": 16}


def _function(mode: str, rank: int) -> Any:
    aten = torch.ops.aten
    if mode == "nearest":
        return {1: aten.upsample_nearest1d, 2: aten.upsample_nearest2d, 3: aten.upsample_nearest3d}[rank].vec
    if mode == "nearest-exact":
        return {1: aten._upsample_nearest_exact1d, 2: aten._upsample_nearest_exact2d}[rank].vec
    return {
        "linear": aten.upsample_linear1d,
        "bilinear": aten.upsample_bilinear2d,
        "trilinear": aten.upsample_trilinear3d,
        "bicubic": aten.upsample_bicubic2d,
    }[mode].vec


def _run(node: Node, x: Tensor) -> tuple[Tensor, ...]:
    a = node.attributes
    rank, mode = len(a["size"]), a["mode"]
    by_scale = all(a["scales"])
    where = (None, list(a["scales"])) if by_scale else (list(a["size"]), None)
    middle = () if mode.startswith("nearest") else (a["align_corners"],)
    run = _function(mode, rank)
    return (folded(x, rank + 1, lambda z: run(z, where[0], *middle, where[1])),)


def _type(node: Node, types: Sequence[SignalType], shapes: Shapes) -> SignalType:
    return types[0] if node.attributes["mode"].startswith("nearest") else REAL


def _count(node: Node, facts: Facts) -> Mapping[str, float]:
    reads = _READS[node.attributes["mode"]]
    if not reads:
        return {}
    return {"multiplies": float(reads * facts.outputs_size), "adds": float((reads - 1) * facts.outputs_size)}


def _capture(mode: str, rank: int) -> Callable[[Call], None]:
    def capture(call: Call) -> None:
        scales = call["scale_factors"] if call.has("scale_factors") else None
        corners = False if mode.startswith("nearest") else bool(call["align_corners"])
        attributes = {
            "mode": mode,
            "size": tuple(call.out.shape[-rank:]),
            "scales": tuple(float(s) for s in scales) if scales else (0.0,) * rank,
            "align_corners": corners,
        }
        call.give(call.emit("resize", [call.apart("input", rank)], attributes))

    return capture


OPERATIONS = (
    Operation(
        "resize",
        "pool",
        _run,
        _type,
        _count,
        {
            "aten.upsample_nearest1d.vec": _capture("nearest", 1),
            "aten.upsample_nearest2d.vec": _capture("nearest", 2),
            "aten.upsample_nearest3d.vec": _capture("nearest", 3),
            "aten._upsample_nearest_exact1d.vec": _capture("nearest-exact", 1),
            "aten._upsample_nearest_exact2d.vec": _capture("nearest-exact", 2),
            "aten.upsample_linear1d.vec": _capture("linear", 1),
            "aten.upsample_bilinear2d.vec": _capture("bilinear", 2),
            "aten.upsample_trilinear3d.vec": _capture("trilinear", 3),
            "aten.upsample_bicubic2d.vec": _capture("bicubic", 2),
        },
        {"mode": TEXT, "size": INTS, "scales": INTS, "align_corners": BOOL},
        linear=True,
    ),
)
