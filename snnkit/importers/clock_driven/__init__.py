"""The names of SpikingJelly 0.0.0.0.12 to 0.0.0.0.14, on snnkit's kernels: published repositories run unchanged.

    from snnkit.importers import clock_driven
    clock_driven.install()          # before the repository's own imports

or, without touching any file, ``python -m snnkit.importers.clock_driven train.py --its-own-arguments``.

Afterwards ``from spikingjelly.clock_driven.neuron import MultiStepLIFNode`` and ``spikingjelly.activation_based`` with
``backend=`` and ``step_mode=`` mean the modules of this package: ``neuron``, ``functional``, ``layer``, ``surrogate``,
``encoding``, ``base``. Unlike snnkit's own neurons these keep their membrane between calls until
``functional.reset_net``, as the originals did. ``backend=`` is accepted and has no effect: the fastest kernel for the
tensor's device runs.

A SpikingJelly that is installed stays usable: only the two names above are taken over, and only after ``install``. Its
other parts (``model``, ``rnn``, ``monitor`` …) are found under them as they are installed; without it their import says
so in one line.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from snnkit.importers.clock_driven.installed import TAKEN, Finder

_PARTS = ("base", "encoding", "functional", "layer", "neuron", "surrogate")
_OTHERS = ("accelerating", "ann2snn", "cext", "cuda_utils", "learning", "model", "monitor", "neuron_kernel", "rnn")


def __getattr__(name: str) -> ModuleType:
    """Return another part of an installed SpikingJelly: ``from spikingjelly.clock_driven import monitor``.

    Raises:
        ModuleNotFoundError: there is none.
    """
    if name not in _OTHERS or "spikingjelly.clock_driven" not in sys.modules:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"spikingjelly.clock_driven.{name}")


def install() -> None:
    """Let ``spikingjelly.clock_driven`` and ``spikingjelly.activation_based`` be the modules of this package.

    Raises:
        ImportError: one of them has been imported from elsewhere already.
    """
    here = sys.modules[__name__]
    for name in TAKEN:
        known = sys.modules.get(f"spikingjelly.{name}")
        if known is not None and known is not here:
            raise ImportError(f"spikingjelly.{name} has been imported already; call install() before any import of it.")
    try:
        top = importlib.import_module("spikingjelly")  # if it is installed, its data sets stay within reach
    except ModuleNotFoundError:
        top = sys.modules["spikingjelly"] = ModuleType("spikingjelly", "Old names on snnkit's kernels.")
        top.__path__ = []  # type: ignore[attr-defined]
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder(_PARTS))
    for name in TAKEN:
        sys.modules[f"spikingjelly.{name}"] = here
        setattr(top, name, here)
        for part in _PARTS:
            sys.modules[f"spikingjelly.{name}.{part}"] = importlib.import_module(f"{__name__}.{part}")


def uninstall() -> None:
    """Take the names away again."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Finder)]
    for name in list(sys.modules):
        if name.split(".")[:2] in (["spikingjelly", taken] for taken in TAKEN):
            del sys.modules[name]
    top = sys.modules.get("spikingjelly")
    for name in TAKEN:
        if top is not None and hasattr(top, name):
            delattr(top, name)
    if top is not None and not getattr(top, "__path__", None):
        del sys.modules["spikingjelly"]
