"""The demo's network on all of Fashion-MNIST where it is installed, else on the subset that comes with snnkit."""

from __future__ import annotations

from snnkit.engine.config import RunConfig
from snnkit.recipes.demo import demo
from snnkit.recipes.recipe import recipe


@recipe(paper="own design", expected="90.9 % after 5 epochs (all ten were not measured)")
def fashion_mnist() -> RunConfig:
    """60,000 images where Debian's package dataset-fashion-mnist is installed, or those of a folder (data.source)."""
    config = demo()
    config.data.source, config.data.batch_size = "auto", 64
    config.data.mixup, config.epochs, config.threads = 0.0, 10, 0
    return config
