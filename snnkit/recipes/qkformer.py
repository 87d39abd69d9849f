"""QKFormer on ImageNet. Source: zhouchenlin2096/QKFormer@c2a00e8, imagenet/train.py."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.recipe import recipe


@recipe(paper="Zhou et al., QKFormer, arXiv 2403.16552", expected="10-768: 84.22 % top-1 at T = 4 (published)")
def qkformer_imagenet() -> RunConfig:
    """QKFormer on ImageNet: AdamW with layer decay 1, cosine, 200 epochs, no mixing of images."""
    return RunConfig(
        model=ModelConfig(name="qkformer_10_768", timesteps=4),
        data=imagenet(64, erase=0.25),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="adamw", lr=6e-4, lr_per=256, weight_decay=0.05),
        schedule=ScheduleConfig("cosine", warmup_epochs=5, min_lr=1e-6),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=200,
    )
