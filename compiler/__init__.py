"""Everything that reads a Graph: capture, interpret, passes, count, check, compile, simulate, emit.

``import compiler`` costs nothing until a name is used. Some functions share their name with the file they live in
(``compiler.capture``); the attribute of the package is always the function.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler import emit, mapping, passes, simulate
    from compiler.capture import capture
    from compiler.check import check
    from compiler.compile import compile
    from compiler.count import count
    from compiler.graph import Graph, Node, Signal
    from compiler.interpret import interpret
    from compiler.program import Program

_HOME = {
    "capture": "compiler.capture",
    "check": "compiler.check",
    "compile": "compiler.compile",
    "count": "compiler.count",
    "interpret": "compiler.interpret",
    "Graph": "compiler.graph",
    "Node": "compiler.graph",
    "Signal": "compiler.graph",
    "Program": "compiler.program",
}
_MODULES = ("emit", "mapping", "passes", "simulate")

__all__ = [
    "Graph",
    "Node",
    "Program",
    "Signal",
    "capture",
    "check",
    "compile",
    "count",
    "emit",
    "interpret",
    "mapping",
    "passes",
    "simulate",
]


class _Package(ModuleType):
    """The import system binds every imported file to its package; where a function of that name is public, bind it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and _HOME.get(name) == value.__name__:
            value = getattr(value, name)
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"compiler.{name}")
    raise AttributeError(f"module 'compiler' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


sys.modules[__name__].__class__ = _Package
