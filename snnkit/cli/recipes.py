"""``snnkit recipes``: what can be trained by name."""

from __future__ import annotations


def recipes(name: str | None = None) -> None:
    """List the recipes with paper and expected result, or show one whole.

    Parameters
    ----------
    name
        Name of a recipe; its complete configuration is printed, key by key, as --set takes it.
    """

    from snnkit.engine.config import settings
    from snnkit.engine.progress import console, say
    from snnkit.recipes import RECIPES, get_recipe

    if name is None:
        for key, entry in sorted(RECIPES.items()):
            console.print(key)
            for text in (entry.summary, f"expected: {entry.expected}", f"paper: {entry.paper}"):
                say(f"  {text}", "    ")
        return
    config, entry = get_recipe(name), RECIPES[name]
    say(f"{name}: {entry.summary}")
    say(f"paper     {entry.paper}", " " * 10)
    say(f"expected  {entry.expected}", " " * 10)
    for key, value in settings(config):
        console.print(f"{key}={value}")
