"""The version of graph files before this one, translated: ``snnkit-graph-1`` knew eleven operations by other names."""

from __future__ import annotations

from fractions import Fraction
from typing import Any


def translated(structure: dict[str, Any]) -> dict[str, Any]:
    """Return the structure of a graph of version 1 as one of version 2."""
    shapes = {name: shape for name, shape, *_ in structure["signals"]}
    nodes = []
    for name, op, inputs, outputs, attributes, parameters, scope in structure["nodes"]:
        if op == "conv2d":
            op = "conv"
        elif op == "avg_pool2d":
            op = "avg_pool"
            attributes = {**attributes, "ceil_mode": False, "count_include_pad": True, "divisor": 0}
        elif op == "flatten":
            op, attributes = "reshape", {"shape": shapes[outputs[0]]}
        elif op == "batch_norm":
            # Channels were the first axis of maps (C, H, W) and of vectors (C,).
            attributes = {**attributes, "axis": -len(shapes[inputs[0]])}
        role = "readout" if op == "lif_fixed" and name == "readout" else ""
        nodes.append([name, op, inputs, outputs, attributes, parameters, scope, role])
    signals = [
        [name, shape, kind, low, high, str(Fraction(float(scale)).limit_denominator(2**20))]
        for name, shape, kind, low, high, scale in structure["signals"]
    ]
    return {**structure, "nodes": nodes, "signals": signals}
