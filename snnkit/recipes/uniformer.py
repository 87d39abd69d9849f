"""UniFormer on ImageNet. Source: Sense-X/UniFormer@52a0415, image_classification (DeiT's recipe)."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.recipe import recipe


@recipe(paper="Li et al., UniFormer, arXiv 2201.09450", expected="small: 82.9 % top-1 (published)")
def uniformer_imagenet() -> RunConfig:
    """UniFormer small on ImageNet: AdamW, cosine, 300 epochs, repeated augmentation, averaged weights."""
    return RunConfig(
        model=ModelConfig(name="uniformer_small", sizes={"drop_path_rate": 0.1}),
        data=imagenet(128, erase=0.25, mixup=0.8, cutmix=1.0, repeats=3),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="adamw", lr=5e-4, lr_per=512, weight_decay=0.05, ema=0.99996),
        schedule=ScheduleConfig("cosine", warmup_epochs=5, warmup_lr=1e-6, min_lr=1e-5),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=300,
    )
