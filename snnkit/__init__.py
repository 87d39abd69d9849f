"""snnkit: build, train and run spiking networks. ``import snnkit`` costs nothing until a name is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # "as" says to static tools that a name is public
    from snnkit import checkpoints as checkpoints
    from snnkit import data as data
    from snnkit import deploy as deploy
    from snnkit import encoders as encoders
    from snnkit import engine as engine
    from snnkit import errors as errors
    from snnkit import events as events
    from snnkit import importers as importers
    from snnkit import kernels as kernels
    from snnkit import layers as layers
    from snnkit import learning as learning
    from snnkit import memory as memory
    from snnkit import models as models
    from snnkit import neurons as neurons
    from snnkit import optim as optim
    from snnkit import readouts as readouts
    from snnkit import recipes as recipes
    from snnkit import report as report
    from snnkit import surrogates as surrogates
    from snnkit import tasks as tasks
    from snnkit.checkpoints import LoadReport as LoadReport
    from snnkit.checkpoints import load_weights as load_weights
    from snnkit.checkpoints import save_weights as save_weights
    from snnkit.errors import SnnkitError as SnnkitError
    from snnkit.models import create_model as create_model
    from snnkit.models import list_models as list_models
    from snnkit.models import model_info as model_info
    from snnkit.stream import Stream as Stream
    from snnkit.stream import detect_nan as detect_nan
    from snnkit.tape import record as record

__version__ = "0.1.0"

_PUBLIC = {
    "snnkit": (
        "checkpoints",
        "data",
        "deploy",
        "encoders",
        "engine",
        "errors",
        "events",
        "importers",
        "kernels",
        "layers",
        "learning",
        "memory",
        "models",
        "neurons",
        "optim",
        "readouts",
        "recipes",
        "report",
        "surrogates",
        "tasks",
    ),
    "snnkit.checkpoints": ("LoadReport", "load_weights", "save_weights"),
    "snnkit.errors": ("SnnkitError",),
    "snnkit.models": ("create_model", "list_models", "model_info"),
    "snnkit.stream": ("Stream", "detect_nan"),
    "snnkit.tape": ("record",),
}
_HOME = {name: home for home, names in _PUBLIC.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Import on first use: ``snnkit --help`` must not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'snnkit' has no attribute {name!r}")
    home = _HOME[name]
    found = importlib.import_module(f"snnkit.{name}" if home == "snnkit" else home)
    value = found if home == "snnkit" else getattr(found, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
