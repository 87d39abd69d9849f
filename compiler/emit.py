"""The old name of ``compiler.exchange``, for one release: each name warns and says where it stands now."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

_MOVED = {"lava": "lava.write", "nir": "nir.write", "read_nir": "nir.read"}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"compiler.emit.{name} is now compiler.exchange.{_MOVED[name]}; the old name goes with the next release.",
        DeprecationWarning,
        stacklevel=2,
    )
    package, _, attribute = _MOVED[name].partition(".")
    return getattr(importlib.import_module(f"compiler.exchange.{package}"), attribute)


def __dir__() -> list[str]:
    return sorted(_MOVED)
