"""Old names of modules: importable for one release, with a warning that says the new name."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import Any


class _Renamed(ModuleType):
    """Stands where a module was."""

    def __init__(self, name: str, moved: Mapping[str, str]):
        super().__init__(name, f"Names that have moved: {', '.join(moved.values())}.")
        self._moved = dict(moved)

    def __getattr__(self, name: str) -> Any:
        new = self._moved.get(name)
        if new is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        warnings.warn(
            f"{self.__name__}.{name} is now {new}; the old name goes with the next release.",
            DeprecationWarning,
            stacklevel=2,
        )
        home, _, attribute = new.rpartition(".")
        return getattr(importlib.import_module(home), attribute)

    def __dir__(self) -> list[str]:
        return sorted(self._moved)


def old_module(name: str, moved: Mapping[str, str]) -> None:
    """Keep the module ``name`` importable, whose file has gone; to be called by the package it was in.

    Args:
        name: the old name in full.
        moved: for each name in it that may be in use, where it stands now, in full.
    """
    package, _, last = name.rpartition(".")
    stand_in = _Renamed(name, moved)
    sys.modules[name] = stand_in
    setattr(sys.modules[package], last, stand_in)
