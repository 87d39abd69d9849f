"""Recipes: functions that return one complete configuration, a file a paper. To add one: a file, and its line here."""

from snnkit.recipes import (
    demo,
    e_spikeformer,
    fashion_mnist,
    meal_v2,
    meta_spikeformer,
    qkformer,
    spike_driven_transformer,
    spikformer,
    swin_v2,
    uniformer,
)
from snnkit.recipes.recipe import RECIPES, Recipe, get_recipe, recipe

__all__ = [
    "RECIPES",
    "Recipe",
    "demo",
    "e_spikeformer",
    "fashion_mnist",
    "get_recipe",
    "meal_v2",
    "meta_spikeformer",
    "qkformer",
    "recipe",
    "spike_driven_transformer",
    "spikformer",
    "swin_v2",
    "uniformer",
]
