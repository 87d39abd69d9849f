"""Parts of an installed SpikingJelly (``model``, ``rnn``, ``monitor``, ``learning``, ``ann2snn``) beside the old names.

They are loaded as their own package means them, with its own layers and neurons, while the old names are out of the way
for a moment; then they are found under the old names.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

TAKEN = ("clock_driven", "activation_based")


class Finder:
    """Finds what is not among the old names in an installed SpikingJelly, or says in one line that it is not there.

    Args:
        parts: the modules that the old names have themselves.
    """

    def __init__(self, parts: Sequence[str]):
        self.parts = tuple(parts)
        self.loaded: dict[str, ModuleType] = {}  # of the installed package, under its own names

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, None for names that are not SpikingJelly's old ones."""
        top, *rest = name.split(".")
        if top != "spikingjelly" or len(rest) < 2 or rest[0] not in TAKEN or rest[1] in self.parts:
            return None
        return ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the installed module.

        Raises:
            ModuleNotFoundError: there is none.
        """
        part = spec.name.split(".", 2)[2]
        reason: Exception | None = None
        with _out_of_the_way(self.loaded):
            for folder in reversed(TAKEN):
                try:
                    return importlib.import_module(f"spikingjelly.{folder}.{part}")
                except ImportError as error:
                    reason = reason or error
        raise ModuleNotFoundError(
            f"No module named {spec.name!r}: of SpikingJelly's old names {', '.join(self.parts)} are here, and no "
            f"installed SpikingJelly has this one ({str(reason).splitlines()[0]}).",
            name=spec.name,
        )

    def exec_module(self, module: ModuleType) -> None:
        """It has run already."""


@contextmanager
def _out_of_the_way(loaded: dict[str, ModuleType]) -> Iterator[None]:
    """Take the old names away; what is ``loaded`` under them meanwhile is kept there for the next time."""
    top = sys.modules["spikingjelly"]
    finders = [finder for finder in sys.meta_path if isinstance(finder, Finder)]
    saved = {name: sys.modules.pop(name) for name in _loaded()}
    held = {name: top.__dict__.pop(name) for name in TAKEN if name in top.__dict__}
    sys.meta_path[:] = [finder for finder in sys.meta_path if finder not in finders]
    sys.modules.update(loaded)
    try:
        yield
    finally:
        loaded.update({name: sys.modules.pop(name) for name in _loaded()})
        for name in TAKEN:
            top.__dict__.pop(name, None)
        sys.modules.update(saved)
        top.__dict__.update(held)
        sys.meta_path[:0] = finders


def _loaded() -> list[str]:
    return [n for n in sys.modules if n.split(".")[:2] in (["spikingjelly", taken] for taken in TAKEN)]
