"""A recipe: a function that returns one complete run configuration, with its paper and what to expect of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from snnkit.engine.config import RunConfig
from snnkit.errors import unknown_name


@dataclass(frozen=True)
class Recipe:
    """A registered recipe.

    Attributes:
        build: returns a new configuration each time.
        paper: where it comes from.
        expected: the result to expect, and whose figure that is.
        summary: one line.
    """

    build: Callable[[], RunConfig]
    paper: str
    expected: str
    summary: str


RECIPES: dict[str, Recipe] = {}


def recipe(*, paper: str, expected: str) -> Callable[[Callable[[], RunConfig]], Callable[[], RunConfig]]:
    """Register the decorated function under its own name; the first line of its docstring is the summary."""

    def add(build: Callable[[], RunConfig]) -> Callable[[], RunConfig]:
        name = build.__name__
        if name in RECIPES:
            raise ValueError(f"two recipes are called {name!r}")
        RECIPES[name] = Recipe(build, paper, expected, (build.__doc__ or "").strip().splitlines()[0])
        return build

    return add


def get_recipe(name: str) -> RunConfig:
    """Return the configuration of the recipe called ``name``.

    Raises:
        UnknownNameError: no such recipe (names the nearest).
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES, "`snnkit recipes` lists all.")
    config = RECIPES[name].build()
    config.recipe = name
    return config
