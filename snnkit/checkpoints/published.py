"""What published weights ask of a model beside their values: the form they were trained in, what they do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from snnkit.models import family_of

# Numbers that shape no tensor: with another one the same weights give another result.
_SHAPELESS = ("num_heads", "timesteps", "levels")


def published_form(model: nn.Module, source: str) -> dict[str, Any]:
    """Return the arguments in which the model is to change, since published weights were recognised (``source``).

    What was given when the model was made stays.
    """
    family = family_of(model)
    if source == "own" or family is None:
        return {}
    return {key: value for key, value in family.form.items() if getattr(model, key, value) is None}


def take_form(model: nn.Module, form: Mapping[str, Any]) -> None:
    """Change a model to the form that ``published_form`` gave."""
    family = family_of(model)
    if form and family is not None and family.take_form is not None:
        family.take_form(model)


def untold(model: nn.Module, source: str) -> tuple[str, ...]:
    """Return what published weights do not tell, with the value the model has: ("num_heads=8", …)."""
    family = family_of(model)
    if source == "own" or family is None or family.kind != "snn":
        return ()
    found = {}
    for name in _SHAPELESS:
        values = dict.fromkeys(v for m in model.modules() if isinstance(v := getattr(m, name, None), int))
        if values:
            found[name] = "/".join(map(str, values))
    return tuple(f"{name}={value}" for name, value in found.items())
