"""Everything that reads a Graph: capture, interpret, passes, count, check, compile, simulate, exchange.

``import compiler`` costs nothing until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler import analysis, converting, exchange, mapping, passes, simulate
    from compiler.capturing import capture
    from compiler.compiling import Violation, check, compile
    from compiler.counting import count
    from compiler.graph import Graph, GraphBuilder, Node, Signal, SignalType, verify
    from compiler.interpreting import interpret
    from compiler.program import Program

_HOME = {
    "capture": "capturing",
    "check": "compiling",
    "compile": "compiling",
    "count": "counting",
    "interpret": "interpreting",
    "verify": "graph",
    "Graph": "graph",
    "GraphBuilder": "graph",
    "Node": "graph",
    "Program": "program",
    "Signal": "graph",
    "SignalType": "graph",
    "Violation": "compiling",
}
_MODULES = ("analysis", "converting", "exchange", "mapping", "passes", "simulate")

__all__ = [*_HOME, *_MODULES]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"compiler.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"compiler.{name}")
    raise AttributeError(f"module 'compiler' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
