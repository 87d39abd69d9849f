"""Recipes: functions that return one complete run configuration. To add one: a file, and its line in ``RECIPES``."""

from __future__ import annotations

from collections.abc import Callable

from snnkit.engine.config import RunConfig
from snnkit.errors import unknown_name
from snnkit.recipes.demo import demo
from snnkit.recipes.fashion_mnist import fashion_mnist

RECIPES: dict[str, Callable[[], RunConfig]] = {"demo": demo, "fashion_mnist": fashion_mnist}


def get_recipe(name: str) -> RunConfig:
    """Return the configuration of the recipe called ``name``.

    Raises:
        UnknownNameError: no such recipe (names the nearest).
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]()


__all__ = ["RECIPES", "get_recipe"]
