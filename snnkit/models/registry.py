"""Models by name: a plain dict from name to a function that builds the model.

A family is one file whose functions carry ``@register_model``; adding a family is that file and its import in
``snnkit.models``.
"""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from snnkit.errors import InvalidArgumentError, unknown_name

Kind = Literal["snn", "ann"]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before it is built. ``params`` counts the trainable numbers at default sizes."""

    name: str
    kind: Kind
    paper: str
    source: str
    summary: str
    params: int


@dataclass(frozen=True)
class _Entry:
    build: Callable[..., nn.Module]
    kind: Kind
    paper: str
    source: str


_MODELS: dict[str, _Entry] = {}


def register_model(*, kind: Kind, paper: str, source: str) -> Callable[[Callable[..., nn.Module]], Any]:
    """Register the decorated function under its own name; a second function of that name is an error."""

    def add(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        if build.__name__ in _MODELS:
            raise ValueError(f"two models are called {build.__name__!r}")
        _MODELS[build.__name__] = _Entry(build, kind, paper, source)
        return build

    return add


def _entry(name: str) -> _Entry:
    if name not in _MODELS:
        raise unknown_name("model", name, _MODELS, "`snnkit models` lists all.")
    return _MODELS[name]


def _whole_number(key: str, value: Any) -> int:
    try:
        whole = int(value)
    except (TypeError, ValueError, OverflowError):  # a list, text or nan, inf
        whole = 0
    if isinstance(value, bool) or whole != value or whole < 1:
        raise InvalidArgumentError(f"{key}={value!r}: must be a whole number ≥ 1.")
    return whole


def create_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    img_size: int | None = None,
    timesteps: int | None = None,
    drop_path_rate: float | None = None,
    features_only: bool = False,
    **sizes: Any,
) -> nn.Module:
    """Build the model called ``name``; what is left None stays at the model's own default.

    Args:
        name: a name from ``list_models()``.
        num_classes: K, outputs of the classifier.
        in_chans: channels of the input images.
        img_size: side of the square input images in pixels.
        timesteps: T for spiking models.
        drop_path_rate: stochastic depth, where the model has it.
        features_only: return feature maps instead of logits, where the model can.
        sizes: further arguments of that model.

    Raises:
        UnknownNameError: no such model, or no such argument (names the nearest match).
        InvalidArgumentError: an argument outside its range.
    """
    entry = _entry(name)
    given = {
        "num_classes": num_classes,
        "in_chans": in_chans,
        "img_size": img_size,
        "timesteps": timesteps,
        "drop_path_rate": drop_path_rate,
        "features_only": features_only or None,
        **sizes,
    }
    given = {key: value for key, value in given.items() if value is not None}
    allowed = set(inspect.signature(entry.build).parameters)
    for key in given:
        if key not in allowed:
            raise unknown_name(f"argument of {name}", key, allowed)
    for key in ("num_classes", "in_chans", "img_size", "timesteps"):
        if key in given:
            given[key] = _whole_number(key, given[key])
    return entry.build(**given)


def list_models(pattern: str = "*", kind: Kind | None = None) -> list[str]:
    """Return the sorted names that match a shell pattern, of one kind ("snn", "ann") or of both (None)."""
    if kind not in (None, "snn", "ann"):
        raise unknown_name("kind of model", str(kind), ["snn", "ann"])
    return sorted(n for n, e in _MODELS.items() if fnmatch.fnmatchcase(n, pattern) and kind in (None, e.kind))


def model_info(name: str) -> ModelInfo:
    """Return paper, source, parameter count and one-line summary of a model (builds it once to count)."""
    entry = _entry(name)
    params = sum(p.numel() for p in entry.build().parameters())
    summary = (entry.build.__doc__ or "").strip().splitlines()[0]
    return ModelInfo(name, entry.kind, entry.paper, entry.source, summary, params)
