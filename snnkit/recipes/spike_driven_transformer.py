"""Spike-driven Transformer V1 on ImageNet. Source: BICLab/Spike-Driven-Transformer@3faa822, conf/imagenet."""

from __future__ import annotations

from snnkit.engine.config import ModelConfig, OptimConfig, RunConfig, RuntimeConfig, ScheduleConfig, TaskConfig
from snnkit.recipes.imagenet import imagenet
from snnkit.recipes.recipe import recipe


@recipe(paper="Yao et al., Spike-driven Transformer, arXiv 2307.01694", expected="8-512: 74.57 % top-1 (published)")
def sdt_v1_imagenet() -> RunConfig:
    """Spike-driven Transformer V1 8-512 on ImageNet: LAMB, cosine, 310 epochs, repeated augmentation."""
    return RunConfig(
        model=ModelConfig(name="sdt_v1_8_512", timesteps=4),
        data=imagenet(48, rand_augment="rand-m5-mstd0.5-inc1", repeats=3, mixup=0.2, cutmix=1.0, mix_probability=0.6),
        task=TaskConfig(label_smoothing=0.1),
        optim=OptimConfig(name="lamb", lr=1.5e-3, weight_decay=0.01),
        schedule=ScheduleConfig("cosine", warmup_epochs=20, warmup_lr=1e-5, min_lr=1.5e-5),
        runtime=RuntimeConfig(devices=8, precision="bf16-mixed"),
        epochs=310,
    )
