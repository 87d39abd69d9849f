"""Swin Transformer V2 on ImageNet. Source: microsoft/Swin-Transformer@f82860b, config.py and configs/swinv2."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.recipe import recipe


@recipe(paper="Liu et al., Swin Transformer V2, arXiv 2111.09883", expected="T, window 8: 81.8 % top-1 (published)")
def swinv2_imagenet() -> RunConfig:
    """Swin V2 tiny on ImageNet at 256 pixels: AdamW, cosine, 300 epochs; all rates are for 512 images."""
    return RunConfig(
        model=ModelConfig(name="swinv2_tiny_window8_256", sizes={"drop_path_rate": 0.2}),
        data=imagenet(128, 256, erase=0.25, mixup=0.8, cutmix=1.0),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="adamw", lr=5e-4, lr_per=512, weight_decay=0.05, clip=5.0),
        schedule=ScheduleConfig("cosine", warmup_epochs=20, warmup_lr=5e-7, min_lr=5e-6),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=300,
    )
