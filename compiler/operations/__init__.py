"""Operations: what the nodes of a graph do, one file each (close kin share one). To add one: its file and its line.

Every operation brings all that is known of it: attributes, ``run``, the rule for types, the rule for counts, and which
calls of ATen it captures. Nothing is real or free by default.
"""

from __future__ import annotations

import importlib

from compiler.graph.operation import Operation

_FILES = (
    "activations",
    "arithmetic",
    "comparisons",
    "conv",
    "conversion",
    "functions",
    "indexing",
    "linear",
    "moves",
    "neurons",
    "norms",
    "pooling",
    "products",
    "reductions",
    "resize",
    "scale",
    "softmax",
    "windows",
)

OPERATIONS: tuple[Operation, ...] = tuple(
    operation for name in _FILES for operation in importlib.import_module(f"compiler.operations.{name}").OPERATIONS
)

__all__ = ["OPERATIONS"]
