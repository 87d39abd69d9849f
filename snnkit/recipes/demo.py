"""The run of ``snnkit demo``: a small spiking CNN on the Fashion-MNIST subset that comes with snnkit."""

from __future__ import annotations

from snnkit.data import DataConfig
from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, TaskConfig
from snnkit.recipes.recipe import recipe


@recipe(paper="own design", expected="86 % on the subset's 1,000 test images")
def demo() -> RunConfig:
    """Small enough for two CPU cores and a few minutes."""
    data = DataConfig(dataset="fashion_mnist", source="vendored", batch_size=32, shift_pixels=1)
    data.mixup, data.mix_probability = 0.2, 0.5  # 4,000 images are soon known by heart
    return RunConfig(
        model=ModelConfig(name="spiking_cnn_small", timesteps=4),
        data=data,
        task=TaskConfig(label_smoothing=0.05),
        optim=OptimConfig(lr=5e-3, weight_decay=0.05),
        epochs=14,
        threads=1,  # the same numbers on any number of cores, and hardly slower: the network is small
    )
