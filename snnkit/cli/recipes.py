"""``snnkit recipes``: what can be trained by name."""

from __future__ import annotations


def recipes(name: str | None = None) -> None:
    """List the recipes with paper and expected result, or show one whole.

    Parameters
    ----------
    name
        Name of a recipe; its complete configuration is printed, key by key, as --set takes it.
    """
    from rich.table import Column, Table

    from snnkit.engine.config import settings
    from snnkit.engine.progress import console
    from snnkit.recipes import RECIPES, get_recipe

    if name is None:
        table = Table(Column("recipe", no_wrap=True), "what", "expected", "paper", box=None)
        for key, entry in sorted(RECIPES.items()):
            table.add_row(key, entry.summary, entry.expected, entry.paper)
        console.print(table)
        return
    config, entry = get_recipe(name), RECIPES[name]
    console.print(f"{name}: {entry.summary}\npaper     {entry.paper}\nexpected  {entry.expected}")
    for key, value in settings(config):
        console.print(f"{key}={value}")
