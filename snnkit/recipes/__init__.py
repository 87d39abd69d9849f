"""Recipes: functions that return one complete configuration, a file a paper. To add one: a file, and its line here."""

from snnkit.recipes import (
    convmae,
    demo,
    e_spikeformer,
    fashion_mnist,
    mae,
    meal_v2,
    meta_spikeformer,
    qkformer,
    simmim,
    spike_driven_transformer,
    spikformer,
    spikformer_v2,
    swin_v2,
    uniformer,
)
from snnkit.recipes.recipe import RECIPES, Recipe, get_recipe, recipe

__all__ = [
    "RECIPES",
    "Recipe",
    "convmae",
    "demo",
    "e_spikeformer",
    "fashion_mnist",
    "get_recipe",
    "mae",
    "meal_v2",
    "meta_spikeformer",
    "qkformer",
    "recipe",
    "simmim",
    "spike_driven_transformer",
    "spikformer",
    "spikformer_v2",
    "swin_v2",
    "uniformer",
]
