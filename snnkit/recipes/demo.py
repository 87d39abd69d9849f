"""The run of ``snnkit demo``: a small spiking CNN on the Fashion-MNIST subset that comes with snnkit."""

from __future__ import annotations

from snnkit.data import DataConfig
from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, TaskConfig
from snnkit.recipes.recipe import recipe


@recipe(paper="own design", expected="86 % on the subset's 1,000 test images")
def demo() -> RunConfig:
    """Small enough for two CPU cores and a few minutes."""
    return RunConfig(
        model=ModelConfig(name="spiking_cnn_small", timesteps=4),
        data=DataConfig(dataset="fashion_mnist", source="vendored", batch_size=32, shift_pixels=1),
        task=TaskConfig(label_smoothing=0.05),
        optim=OptimConfig(lr=5e-3, weight_decay=0.05),
        epochs=14,
    )
