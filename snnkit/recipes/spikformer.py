"""Spikformer V1 on ImageNet. Source: ZK-Zhou/spikformer@6212689, imagenet."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.recipe import recipe


@recipe(paper="Zhou et al., Spikformer, arXiv 2209.15425", expected="8-768: 74.81 % top-1 at T = 4 (published)")
def spikformer_imagenet() -> RunConfig:
    """Spikformer V1 on ImageNet: AdamW, cosine, 310 epochs; the published runs crop at full scale."""
    return RunConfig(
        model=ModelConfig(name="spikformer_8_768", timesteps=4),
        data=imagenet(24, crop_scale=1.0, mixup=0.8, cutmix=1.0, erase=0.25),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="adamw", lr=5e-4, weight_decay=0.05),
        schedule=ScheduleConfig("cosine", warmup_epochs=20, warmup_lr=1e-6, min_lr=1e-5),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=310,
    )
