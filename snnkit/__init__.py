"""snnkit: build, train and run spiking networks. ``import snnkit`` costs nothing until a name is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snnkit import (
        checkpoints,
        data,
        deploy,
        encoders,
        engine,
        events,
        importers,
        kernels,
        layers,
        learning,
        memory,
        models,
        neurons,
        readouts,
        recipes,
        surrogates,
        tasks,
    )
    from snnkit.checkpoints import LoadReport, load_weights, save_weights
    from snnkit.errors import SnnkitError
    from snnkit.models import create_model, list_models, model_info
    from snnkit.stream import Stream, detect_nan
    from snnkit.tape import record

__version__ = "0.1.0"

_HOME = {
    "LoadReport": "snnkit.checkpoints",
    "load_weights": "snnkit.checkpoints",
    "save_weights": "snnkit.checkpoints",
    "SnnkitError": "snnkit.errors",
    "create_model": "snnkit.models",
    "list_models": "snnkit.models",
    "model_info": "snnkit.models",
    "record": "snnkit.tape",
    "Stream": "snnkit.stream",
    "detect_nan": "snnkit.stream",
}
_MODULES = (
    "checkpoints",
    "data",
    "deploy",
    "encoders",
    "engine",
    "events",
    "importers",
    "kernels",
    "layers",
    "learning",
    "memory",
    "models",
    "neurons",
    "readouts",
    "recipes",
    "surrogates",
    "tasks",
)

__all__ = [
    "LoadReport",
    "SnnkitError",
    "Stream",
    "checkpoints",
    "create_model",
    "data",
    "deploy",
    "detect_nan",
    "encoders",
    "engine",
    "events",
    "importers",
    "kernels",
    "layers",
    "learning",
    "list_models",
    "load_weights",
    "memory",
    "model_info",
    "models",
    "neurons",
    "readouts",
    "recipes",
    "record",
    "save_weights",
    "surrogates",
    "tasks",
]


def __getattr__(name: str) -> Any:
    """Import on first use: ``snnkit --help`` must not wait for torch."""
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"snnkit.{name}")
    else:
        raise AttributeError(f"module 'snnkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
