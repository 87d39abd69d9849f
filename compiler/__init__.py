"""Everything that reads a Graph: capture, interpret, passes, count, check, compile, simulate, exchange.

``import compiler`` costs nothing until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler import analysis as analysis
    from compiler import checking as checking
    from compiler import converting as converting
    from compiler import exchange as exchange
    from compiler import mapping as mapping
    from compiler import passes as passes
    from compiler import simulate as simulate
    from compiler.capturing import capture as capture
    from compiler.checking import check as check
    from compiler.compiling import Violation as Violation
    from compiler.compiling import compile as compile
    from compiler.converting import Converted as Converted
    from compiler.converting import convert as convert
    from compiler.counting import count as count
    from compiler.graph import Graph as Graph
    from compiler.graph import GraphBuilder as GraphBuilder
    from compiler.graph import Node as Node
    from compiler.graph import Signal as Signal
    from compiler.graph import SignalType as SignalType
    from compiler.graph import verify as verify
    from compiler.interpreting import interpret as interpret
    from compiler.program import Program as Program

_HOME = {
    "capture": "capturing",
    "check": "checking",
    "compile": "compiling",
    "convert": "converting",
    "count": "counting",
    "interpret": "interpreting",
    "verify": "graph",
    "Converted": "converting",
    "Graph": "graph",
    "GraphBuilder": "graph",
    "Node": "graph",
    "Program": "program",
    "Signal": "graph",
    "SignalType": "graph",
    "Violation": "compiling",
}
_MODULES = ("analysis", "checking", "converting", "exchange", "mapping", "passes", "simulate")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"compiler.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"compiler.{name}")
    raise AttributeError(f"module 'compiler' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
