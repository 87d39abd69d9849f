"""Exchange formats: a graph or a program in someone else's format, one package each, with ``write`` and ``read``.

``import compiler.exchange`` costs nothing until a format is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler.exchange import lava as lava
    from compiler.exchange import nir as nir
    from compiler.exchange import onnx as onnx
    from compiler.exchange import speck as speck

__all__ = ["lava", "nir", "onnx", "speck"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"compiler.exchange.{name}")
    raise AttributeError(f"module 'compiler.exchange' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
